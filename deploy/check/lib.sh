# shellcheck shell=bash
# Pinned tools for the checks of deploy/, each fetched once. To be sourced.

tools=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/shop-deploy-tools
helm_version=v3.22.0

# missing WHAT: what cannot be had on this machine; a failure where CI runs.
missing() {
  echo "skipped: $1"
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}

# The program that HELM names, or the pinned one.
find_helm() {
  if [ -n "${HELM:-}" ]; then return; fi
  command -v go >/dev/null || missing "helm: there is no go to install it with, and HELM names none"
  HELM=$tools/helm-$helm_version/helm
  if [ ! -x "$HELM" ]; then
    echo "installing helm $helm_version, which takes some minutes"
    GOBIN=${HELM%/*} nice -n 15 go install "helm.sh/helm/v3/cmd/helm@$helm_version"
  fi
}

# of_module MODULE VERSION FOLDER: prints where the files of a folder of a Go module are kept.
of_module() {
  local kept from
  kept=$tools/$(tr -cs 'A-Za-z0-9.\n' - <<<"$1-$2-$3")
  if [ ! -e "$kept/complete" ]; then
    # Not from within a module, which could say that it is to be another version.
    from=$(cd / && go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    rm -rf "$kept"
    mkdir -p "$kept"
    find "${from:?$1 could not be fetched}/$3" -maxdepth 1 -type f -exec install -m 644 -t "$kept" {} + || return 1
    touch "$kept/complete"
  fi
  echo "$kept"
}

# python_with PACKAGE==VERSION...: prints the folder of the programs of a Python environment that has them.
python_with() {
  local kept
  kept=$tools/python-$(tr -cs 'A-Za-z0-9.\n' - <<<"$*")
  if [ ! -e "$kept/complete" ]; then
    python3 -m venv --clear "$kept" >&2 || return 1
    "$kept/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 || return 1
    touch "$kept/complete"
  fi
  echo "$kept/bin"
}
