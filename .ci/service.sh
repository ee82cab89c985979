# shellcheck shell=bash
# Starts services on embedded backends, for the scripts that source this file. Built in `SHOP_BINARIES`, else here.

binaries=${SHOP_BINARIES:-}
if [ -z "$binaries" ]; then
  cargo build --quiet --locked -p shop-bins --bins
  binaries=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
fi
folder=$(mktemp -d)
started=()
end() {
  for id in "${started[@]}"; do
    kill "$id" 2>/dev/null || true
  done
  wait
  rm -rf "$folder"
}
trap end EXIT

# start SERVICE: starts a service on a free port, waits until it listens, and sets `url`.
start() {
  local log=$folder/$1.log attempts=600
  env -i PATH="$PATH" SHOP_DATA_DIR="$folder/data" SHOP_ROLES=purchases,users,orders PORT=0 LOG_FORMAT=json SHOP_DIALECT="${dialect:-default}" \
    "$binaries/$1" 2>"$log" >/dev/null &
  started+=($!)
  until url=$(grep -o '"http.address":"[^"]*"' "$log"); do
    if [ $((attempts -= 1)) = 0 ] || ! kill -0 "${started[-1]}" 2>/dev/null; then
      cat "$log" >&2
      exit 1
    fi
    sleep 0.1
  done
  url=http://$(cut -d '"' -f 4 <<<"$url")
}
