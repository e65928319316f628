#!/bin/sh
# Installs what is missing, builds, and compares normalizers:
#
#   sh examples/compare.sh                 six normalizers in a DCGAN, a few minutes on two cores
#   sh examples/compare.sh --fast          the same in well under a minute, to see that it works
#   sh examples/compare.sh FILE.json ...   another comparison; further options go to `tapestry compare`
#   sh examples/compare.sh --no-install    never call the package manager
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
. "$root/core/cmake/setup.sh"

config=
preset=quick
for argument; do
  shift
  case $argument in
    --no-install) may_install=no; continue ;;
    --fast) preset=fast; continue ;;
    --preset | --preset=*) preset= ;;
    -*) ;;
    *.json) config=$argument ;;
  esac
  set -- "$@" "$argument"
done
[ -n "$preset" ] && set -- --preset "$preset" "$@"
[ -n "$config" ] || set -- "$root/examples/configs/dcgan_norms.json" "$@"

install_packages g++ cmake ninja-build libhwy-dev libstb-dev nlohmann-json3-dev libcli11-dev
say "Building the program (about two minutes the first time) ..."
if [ -f "$build/CMakeCache.txt" ]; then
  configure "$build"
else
  configure "$build" -DTAPESTRY_TESTS=OFF  # tests need one package more
fi
build_targets "$build" tapestry
exec "$build/bin/tapestry" compare "$@"
