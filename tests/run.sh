#!/bin/sh
# Installs what is missing, builds everything, and runs all tests; those that check gradients run a
# second time in a double-precision build, where finite differences are sharp.
#
#   sh tests/run.sh                 everything; further options go to ctest, for example -R conv
#   sh tests/run.sh --no-install    never call the package manager
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
. "$root/core/cmake/setup.sh"

for argument; do
  shift
  case $argument in
    --no-install) may_install=no ;;
    *) set -- "$@" "$argument" ;;
  esac
done

start=$(date +%s)
install_packages g++ cmake ninja-build libhwy-dev libstb-dev nlohmann-json3-dev libcli11-dev doctest-dev
installed=$(date +%s)
say "Building the libraries, the program and the tests (some minutes the first time) ..."
configure "$build" -DTAPESTRY_TESTS=ON -DTAPESTRY_SLOW_TESTS="${TAPESTRY_SLOW_TESTS:-OFF}"
build_targets "$build"
say "Building the gradient checks in double precision ..."
configure "$build/double" -DTAPESTRY_REAL=double -DTAPESTRY_PROGRAMS=OFF \
  -DTAPESTRY_TEST_FILTER='^(core/ops|layers|support)/'
build_targets "$build/double" tests
built=$(date +%s)

# One run over both builds: a test folder that only lists them.
mkdir -p "$build/both"
printf 'subdirs("%s" "%s")\n' "$build" "$build/double" >"$build/both/CTestTestfile.cmake"
result=0
{
  ctest --test-dir "$build/both" --parallel "$(job_count)" --output-on-failure --progress "$@" ||
    echo $? >"$build/both/failed"
} | tee "$build/tests.log"
if [ -f "$build/both/failed" ]; then
  result=$(cat "$build/both/failed")
  rm "$build/both/failed"
fi

now=$(date +%s)
say ""
say "Wall time: $((now - start)) s (installing $((installed - start)), building $((built - installed)), testing $((now - built)))"
grep 'tests passed, .* tests failed out of' "$build/tests.log" || result=1
exit "$result"
