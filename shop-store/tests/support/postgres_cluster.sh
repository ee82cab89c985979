# Runs a private PostgreSQL cluster until the standard input ends, also when the test is killed. Prints the folder of its
# socket, then reads commands and answers each of them: kill (SIGKILL), start, pause, resume; for a hot standby, on
# port 5433: make_standby, kill_standby, start_standby, promote (the standby, without the primary), promote_beside (a
# primary that may come back), switch_over and switch_back (each stops the primary cleanly, promotes the other server,
# and makes the stopped one its standby); and with the size of a disk of its own, in MiB, as the argument: fill, free
# (the disk). Another argument is the folder of the data, with fsync, on a disk that has no power after: cut (SIGKILL of
# all processes).
set -eu
trap '' INT HUP
fail() { echo "$1"; exit 1; }
bin=
for folder in /usr/lib/postgresql/*/bin; do [ ! -x "$folder/initdb" ] || bin=$folder; done
[ -n "$bin" ] || fail "error: there is no /usr/lib/postgresql/*/bin/initdb"
# The server does not run as root.
as=
if [ "$(id -u)" = 0 ]; then
  id postgres >/dev/null 2>&1 || fail "error: there is no user postgres"
  as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
make_folder() {
  dir=$(mktemp -d "$1/pg.XXXXXX")
  [ -z "$as" ] || chown postgres "$dir"
}
make_folder "${TMPDIR:-/tmp}"
if ! $as test -w "$dir"; then
  rmdir "$dir"
  make_folder /tmp
fi
cd "$dir"
# fsync is for power cuts: what a killed process has written, the system keeps.
fsync=off init=-N mounted=
case ${1:-} in
  /*)
    ln -s "$1" "$dir/data"
    fsync=on init=--data-checksums
    ;;
  ?*)
    mkdir "$dir/data"
    mounted=$dir/data
    mount -t tmpfs -o "size=$1m" tmpfs "$mounted" 2>mount.log || {
      why=$(tail -n 1 mount.log)
      cd /
      rm -rf "$dir"
      fail "tmpfs: $why"
    }
    ;;
  *) mkdir "$dir/data" ;;
esac
[ -z "$as" ] || chown postgres "$dir/data"
$as "$bin/initdb" -D "$dir/data" -U postgres -A trust "$init" -E UTF8 --locale=C.UTF-8 >initdb.log 2>&1 ||
  fail "error: initdb: $(tail -n 1 initdb.log)"

start() {
  # The machine has lost its power: no server runs.
  [ "$fsync" = off ] || rm -f "$dir/data/postmaster.pid"
  run data 5432
  pid=$!
}
run() {
  $as "$bin/postgres" -D "$dir/$1" -k "$dir" -p "$2" -c listen_addresses= -c max_connections=300 -c "fsync=$fsync" \
    >>"$dir/log" 2>&1 </dev/null &
}
start_standby() {
  run standby 5433
  standby=$!
  until "$bin/pg_isready" -q -h "$dir" -p 5433; do kill -0 "$standby" && sleep 0.1; done
}
# After a kill, the server does not start until all its processes have ended.
start_until_ready() {
  start
  tries=0
  until "$bin/pg_isready" -q -h "$dir"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "error: $(tail -n 1 "$dir/log")"
    kill -0 "$pid" 2>/dev/null || start
    sleep 0.1
  done
}
end() {
  kill -CONT "$pid" 2>/dev/null || true
  kill -QUIT "$pid" ${standby:+"$standby"} 2>/dev/null || true
  wait || true
  cd /
  [ -z "$mounted" ] || umount "$mounted"
  rm -rf "$dir"
}
standby=
start_until_ready
trap end EXIT
echo "$dir"
while read -r command; do
  case $command in
    fill) dd if=/dev/zero of="$dir/data/ballast" bs=64k || true ;;
    free) rm "$dir/data/ballast" ;;
    kill) kill -KILL "$pid" || true; wait "$pid" || true ;;
    start) start_until_ready ;;
    make_standby)
      $as "$bin/pg_basebackup" -h "$dir" -U postgres -D "$dir/standby" -R -c fast >>"$dir/log" 2>&1
      start_standby
      ;;
    kill_standby) kill -KILL "$standby"; wait "$standby" || true ;;
    promote)
      kill -KILL "$pid"
      wait "$pid" || true
      kill -0 "$standby" || start_standby
      $as "$bin/pg_ctl" promote -w -D "$dir/standby" >>"$dir/log" 2>&1
      ;;
    start_standby) start_standby ;;
    switch_over)
      kill -INT "$pid"
      wait "$pid" || true
      $as "$bin/pg_ctl" promote -w -D "$dir/standby" >>"$dir/log" 2>&1
      echo "primary_conninfo = 'user=postgres host=$dir port=5433'" >>"$dir/data/postgresql.auto.conf"
      $as touch "$dir/data/standby.signal"
      start_until_ready
      ;;
    switch_back)
      kill -INT "$standby"
      wait "$standby" || true
      $as "$bin/pg_ctl" promote -w -D "$dir/data" >>"$dir/log" 2>&1
      $as touch "$dir/standby/standby.signal"
      start_standby
      ;;
    promote_beside) $as "$bin/pg_ctl" promote -w -D "$dir/standby" >>"$dir/log" 2>&1 ;;
    # The machine has lost its power: the sessions too, which wait for each other without their postmaster.
    cut)
      kill -KILL "$pid" $(cat "/proc/$pid/task/$pid/children") || true
      wait "$pid" || true
      ;;
    pause | resume)
      signal=STOP
      [ "$command" = pause ] || signal=CONT
      # All sessions are its children.
      for process in "$pid" $(cat "/proc/$pid/task/$pid/children"); do kill "-$signal" "$process" || true; done ;;
  esac 2>/dev/null
  echo "$command"
done
