#!/usr/bin/env bash
# Sets up system 004, shopping-system-k8s, in the cluster of the current context, for a trial: KEDA, unless the cluster has
# it, and a release of the chart with Kafka and MongoDB. Can be run again. Requires helm and kubectl.
#
# usage: deploy/setup-env.sh [--dry-run] [HELM-ARGUMENT...]
#
# --dry-run      print the commands instead of running them
# HELM-ARGUMENT  of the release, such as --set image.repository=registry.example.com/team/shop
#
# environment:
#   RELEASE       name of the release (default my-assignment)
#   NAMESPACE     its namespace (default shopping-system)
#   KEDA_VERSION  of the chart of KEDA (default 2.21.0)
set -euo pipefail
case ${1:-} in
  -h | --help)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"
    exit
    ;;
esac
chart=$(cd "$(dirname "$0")" && pwd)/helm/shop
release=${RELEASE:-my-assignment} namespace=${NAMESPACE:-shopping-system}
dry_run=''
if [ "${1:-}" = --dry-run ]; then
  dry_run=yes
  shift
fi

run() {
  printf '+'
  printf ' %q' "$@"
  echo
  [ -n "$dry_run" ] || "$@"
}

if [ -z "$dry_run" ]; then
  for program in helm kubectl; do
    command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
  done
  kubectl version >/dev/null || { echo "kubectl does not reach a cluster: check its context" >&2; exit 1; }
fi
if [ -z "$dry_run" ] && kubectl get crd scaledobjects.keda.sh >/dev/null 2>&1; then
  echo "the cluster has KEDA"
else
  run helm upgrade --install keda keda --repo https://kedacore.github.io/charts --version "${KEDA_VERSION:-2.21.0}" \
    --namespace keda --create-namespace --wait --timeout 5m
fi
run helm upgrade --install "$release" "$chart" --namespace "$namespace" --create-namespace \
  --values "$chart/presets/values-shopping-system.yaml" \
  --set kafka.internal.enabled=true,mongodb.internal.enabled=true --wait --timeout 10m "$@"
cat <<END

Connect to it:
  kubectl --namespace $namespace port-forward svc/$release-shopping-system-web-server 8081:8081
  kubectl --namespace $namespace port-forward svc/$release-shopping-system-management-api 8080:8080
and open http://localhost:8081/docs
END
