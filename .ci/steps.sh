# shellcheck shell=bash
# Runs steps, concurrently if requested, and prints a table of their durations. To be sourced.

# Each step is a process group, so its child processes end with it.
set -m
outputs=$(mktemp -d)
names=()
declare -A running=() began=() took=()
failed=
# The names of the only steps that run; empty for all.
only=

# begin NAME COMMAND...: starts a step in the background. Its output is printed when it ends.
begin() {
  local name=$1
  shift
  if [[ -n $only && " $only " != *" $name "* ]]; then return; fi
  printf '== %s: starts\n' "$name"
  names+=("$name")
  began[$name]=$SECONDS
  (set -euo pipefail; trap 'times >"$outputs/$name.times"' EXIT; "$@") >"$outputs/$name" 2>&1 </dev/null &
  running[$name]=$!
}

# finish NAME...: waits for these steps. The run ends if any step fails meanwhile.
finish() {
  local name
  for name; do
    while [ -n "${running[$name]:-}" ]; do wait_for_one; done
  done
}

# finish_all: waits for all steps that have begun.
finish_all() {
  while [ ${#running[@]} -gt 0 ]; do wait_for_one; done
}

# with_niceness NICENESS COMMAND...: for a step beside one whose processes must respond in time.
with_niceness() {
  renice -n "$1" -p "$BASHPID" >/dev/null
  "${@:2}"
}

# step NAME COMMAND...: begins a step and waits for it.
step() {
  begin "$@"
  finish "$1"
}

wait_for_one() {
  local pid='' status=0 name
  wait -n -p pid "${running[@]}" || status=$?
  if [ -z "$pid" ]; then
    # A signal ended a step before `wait`.
    failed=${!running[*]}
    exit 1
  fi
  for name in "${!running[@]}"; do
    [ "${running[$name]}" != "$pid" ] || break
  done
  unset "running[$name]"
  took[$name]=$((SECONDS - began[$name]))
  if [ "$status" != 0 ]; then
    failed=$name
    exit 1
  fi
  printf '\n== %s\n' "$name"
  cat "$outputs/$name"
  printf '== %s: ok, %d s\n' "$name" "${took[$name]}"
}

# check_names NAME...: fails if a name is of no step.
check_names() {
  local name
  for name; do
    if [[ " ${names[*]} " != *" $name "* ]]; then
      echo "There is no step $name. The table of a whole run has their names." >&2
      return 1
    fi
  done
}

# Ends the running steps.
stop_steps() {
  local name
  for name in "${!running[@]}"; do
    kill -TERM -- "-${running[$name]}" 2>/dev/null || true
  done
  wait
}

# processor_seconds NAME: the processor time of a step, without that of processes which it has left running.
processor_seconds() {
  awk '{ for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += 60 * part[1] + part[2] } } END { printf "%d s", sum }' \
    "$outputs/$1.times" 2>/dev/null || true
}

# count_skipped FILE...: prints how many tests were skipped for each reason. A test binary prints a number again when it
# has grown, so a smaller one is of the next binary.
count_skipped() {
  awk '
    match($0, /[0-9]+ tests? skipped: /) {
      count = substr($0, RSTART) + 0
      reason = substr($0, RSTART + RLENGTH)
      if (count <= last[reason]) total[reason] += last[reason]
      last[reason] = count
    }
    END {
      for (reason in last) print total[reason] + last[reason] " tests skipped: " reason
    }' "$@"
}

# report STATUS: prints the durations and the output of failed steps, and exits with this status.
report() {
  local status=$1 name
  printf '\n%-16s %8s %8s %10s\n' step began took processor
  for name in "${names[@]}"; do
    printf '%-16s %6d s %8s %10s\n' "$name" "${began[$name]}" "${took[$name]:+${took[$name]} s}" "$(processor_seconds "$name")"
  done
  # Tests that say so are not among those that passed.
  count_skipped "$outputs"/*
  if [ "$status" = 0 ]; then
    printf '\nall steps passed after %d s\n' "$SECONDS"
  else
    # If the run was interrupted, the steps that were running.
    for name in ${failed:-${!running[*]}}; do
      printf '\n== %s: FAILED, with this output:\n' "$name"
      cat "$outputs/$name"
      # Once more at the end: what reads this may keep only that.
      printf '\n'
      grep -h -A 3 ' panicked at ' "$outputs/$name" | cut -c 1-500 | tail -n 60 || true
      mkdir -p "$CARGO_TARGET_DIR/ci"
      cp "$outputs/$name" "$CARGO_TARGET_DIR/ci/$name.log"
      printf '== %s: FAILED after %d s. Its output is in %s. Repeat it with: .ci/run only %s\n' \
        "$name" $((SECONDS - began[$name])) "$CARGO_TARGET_DIR/ci/$name.log" "$name"
    done
  fi
  rm -rf "$outputs"
  exit "$status"
}
