#!/bin/sh
# Seeds one fault after the other (faults.txt) and sees whether the tests notice. Needs a finished
# build with tests, made with Ninja.
#
#   sh tests/mutation/run.sh [BUILD] [PATTERN]    only faults whose line matches PATTERN
#
# Each faulty file is compiled apart and linked before the library, so neither the source tree nor
# the build changes. Exit code 1 when a fault survives or the list is out of date.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd -P)
build=$(cd "${1:-$root/build}" && pwd -P)
pattern=${2:-.}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
caught=0 survived=0 broken=0

trim() { printf '%s' "$1" | sed 's/^ *//; s/ *$//'; }

if ! grep -v '^#' "$root/tests/mutation/faults.txt" | grep -e "$pattern" >"$scratch/faults"; then
  echo "No fault matches $pattern."
  exit 2
fi
while IFS= read -r line; do
  file=$(trim "${line%%|*}")
  program=$(trim "${line##*|}")
  edit=${line#*|}
  edit=$(trim "${edit%|*}")
  sed "$edit" "$root/$file" >"$scratch/fault.cc"
  if cmp -s "$root/$file" "$scratch/fault.cc"; then
    echo "OUT OF DATE  $file: $edit"
    broken=$((broken + 1))
    continue
  fi
  compile=$(ninja -C "$build" -t commands core/libtapestry_core.a | grep -F -e "-c $root/$file" |
    sed "s|-o [^ ]*|-o $scratch/fault.o|; s|-MF [^ ]*|-MF $scratch/fault.d|; s|-c [^ ]*|-c $scratch/fault.cc|; s|-O[23]|-O1|; s|^ccache ||")
  link=$(ninja -C "$build" -t commands "tests/$program" | tail -n 1 |
    sed "s|-o tests/$program|$scratch/fault.o -o $scratch/test|; s|&& cd .*||")
  if ! (cd "$build" && sh -c "$compile" && sh -c "$link") >"$scratch/log" 2>&1; then
    echo "NOT BUILT    $file: $edit"
    tail -n 3 "$scratch/log"
    broken=$((broken + 1))
  elif timeout 120 "$scratch/test" >"$scratch/log" 2>&1; then
    echo "SURVIVED     $file: $edit"
    survived=$((survived + 1))
  else
    caught=$((caught + 1))
  fi
done <"$scratch/faults"

echo "$caught of $((caught + survived)) faults caught, $survived survived, $broken not tried."
[ $((survived + broken)) -eq 0 ]
