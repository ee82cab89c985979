# shellcheck shell=bash
# Installs pinned tools for the checks of deploy/. To be sourced.

tools=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/shop-deploy-tools
helm_version=v3.22.0

# missing WHAT: skips a check whose tools are not available; fails with CI=true.
missing() {
  echo "skipped: $1"
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}

# Sets HELM to the pinned version unless it is set.
find_helm() {
  if [ -n "${HELM:-}" ]; then return; fi
  command -v go >/dev/null || missing "helm: requires go to install it, or HELM"
  HELM=$tools/helm-$helm_version/helm
  if [ ! -x "$HELM" ]; then
    echo "installing helm $helm_version (some minutes)"
    GOBIN=${HELM%/*} nice -n 15 go install "helm.sh/helm/v3/cmd/helm@$helm_version"
  fi
}

# go_module_folder MODULE VERSION FOLDER: downloads a folder of a Go module and prints its path.
go_module_folder() {
  local cached from
  cached=$tools/$(tr -cs 'A-Za-z0-9.\n' - <<<"$1-$2-$3")
  if [ ! -e "$cached/complete" ]; then
    # Outside of a module, which could replace the version.
    from=$(cd / && go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    rm -rf "$cached"
    mkdir -p "$cached"
    find "${from:?$1 could not be downloaded}/$3" -maxdepth 1 -type f -exec install -m 644 -t "$cached" {} + || return 1
    touch "$cached/complete"
  fi
  echo "$cached"
}

# python_with PACKAGE==VERSION...: creates a Python environment with the packages and prints its bin folder.
python_with() {
  local cached
  cached=$tools/python-$(tr -cs 'A-Za-z0-9.\n' - <<<"$*")
  if [ ! -e "$cached/complete" ]; then
    python3 -m venv --clear "$cached" >&2 || return 1
    "$cached/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 || return 1
    touch "$cached/complete"
  fi
  echo "$cached/bin"
}
