# shellcheck shell=bash
# The steps of a run, some beside others; a table of their times at the end. To be sourced.

# Each step is a process group, so that what it has started ends with it.
set -m
outputs=$(mktemp -d)
names=()
declare -A running=() began=() took=()
failed=

# begin NAME COMMAND...: starts a step beside the others. Its output is printed when it ends.
begin() {
  local name=$1
  shift
  printf '== %s: starts\n' "$name"
  names+=("$name")
  began[$name]=$SECONDS
  (set -euo pipefail; "$@") >"$outputs/$name" 2>&1 </dev/null &
  running[$name]=$!
}

# finish NAME...: waits for these steps. A step that fails meanwhile ends the run.
finish() {
  local name
  for name; do
    while [ -n "${running[$name]:-}" ]; do end_of_one; done
  done
}

# step NAME COMMAND...: the same at once.
step() {
  begin "$@"
  finish "$1"
}

end_of_one() {
  local pid='' status=0 name
  wait -n -p pid "${running[@]}" || status=$?
  if [ -z "$pid" ]; then
    # A step was ended by a signal before it was waited for.
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

# Ends what still runs.
stop_steps() {
  local name
  for name in "${!running[@]}"; do
    kill -TERM -- "-${running[$name]}" 2>/dev/null || true
  done
  wait
}

# report STATUS: the times of a run that ends with this status; then what has failed, with its output.
report() {
  local status=$1 name
  printf '\n%-16s %8s %8s\n' step began took
  for name in "${names[@]}"; do
    printf '%-16s %6d s %8s\n' "$name" "${began[$name]}" "${took[$name]:+${took[$name]} s}"
  done
  if [ "$status" = 0 ]; then
    printf '\nall is well after %d s\n' "$SECONDS"
  else
    # Of a run that was interrupted: whatever ran at that time.
    for name in ${failed:-${!running[*]}}; do
      printf '\n== %s: FAILED, with this output:\n' "$name"
      cat "$outputs/$name"
      printf '== %s: FAILED after %d s\n' "$name" $((SECONDS - began[$name]))
    done
  fi
  rm -rf "$outputs"
  exit "$status"
}
