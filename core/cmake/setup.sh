# Sourced by examples/compare.sh and tests/run.sh, which set `root` first. Installs what is missing,
# after saying so, and builds quietly. POSIX sh; nothing is installed or downloaded when all is there.

build=$root/build
log=$build/build.log
may_install=yes

say() { printf '%s\n' "$*"; }
fail() {  # code, lines...
  code=$1
  shift
  printf '%s\n' "$@" >&2
  exit "$code"
}

{ mkdir -p "$build" && : >"$log"; } 2>/dev/null || fail 3 "cannot write to $build"

# The packages among "$@" that are not installed. A compiler or a cmake from elsewhere will do as well.
missing_packages() {
  for package; do
    case $package in
      g++) command -v c++ >/dev/null 2>&1 && continue ;;
      cmake) command -v cmake >/dev/null 2>&1 && continue ;;
      ninja-build) command -v ninja >/dev/null 2>&1 && continue ;;
    esac
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
      installed) ;;
      *) printf ' %s' "$package" ;;
    esac
  done
}

# install_packages g++ cmake ... prints the command that installs what is missing, and runs it.
install_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    command -v cmake >/dev/null 2>&1 && command -v c++ >/dev/null 2>&1 && return
    fail 3 "Install a C++20 compiler and CMake 3.22 or newer, then run this again." \
      "(This script installs packages on Debian and Ubuntu only. Libraries that CMake does not find" \
      "are downloaded, see core/cmake/dependencies.cmake.)"
  fi
  missing=$(missing_packages "$@")
  [ -z "$missing" ] && return
  command="apt-get install -y --no-install-recommends$missing"
  if [ "$may_install" = no ]; then
    fail 3 "Missing, and --no-install was given. As root:" "  $command"
  elif [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
      fail 3 "Missing, and this is neither root nor is there sudo. As root:" "  $command"
    command="sudo $command"
  fi
  say "Installing what is missing:"
  say "  $command"
  export DEBIAN_FRONTEND=noninteractive
  # Fresh systems and containers come without package lists, hence the second try.
  $command >>"$log" 2>&1 && return
  say "  (the package lists are missing or old: apt-get update)"
  case $command in sudo*) sudo apt-get update ;; *) apt-get update ;; esac >>"$log" 2>&1
  $command >>"$log" 2>&1 || fail_with_log 3 "The installation failed."
}

fail_with_log() {  # code, sentence
  tail -n 20 "$log" >&2
  fail "$1" "" "$2 The last lines of $log are above."
}

# As many compilers at once as there are processors and gigabytes of free memory.
job_count() {
  processors=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  awk -v n="$processors" '/^MemAvailable/ { m = int($2 / 1048576); if (m < n) n = m }
    END { print n < 1 ? 1 : n }' /proc/meminfo 2>/dev/null || echo "$processors"
}

# configure FOLDER -DOPTION=... makes or refreshes a build folder.
configure() {
  folder=$1
  shift
  mkdir -p "$folder" || fail 3 "cannot write to $folder"
  if [ -f "$folder/CMakeCache.txt" ] &&
     ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$folder/CMakeCache.txt"; then
    rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles"  # the checkout has moved since
  fi
  if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja >/dev/null 2>&1; then
    set -- -G Ninja "$@"
  fi
  cmake -S "$root" -B "$folder" -DCMAKE_BUILD_TYPE=Release -DTAPESTRY_WERROR="${TAPESTRY_WERROR:-OFF}" \
    "$@" >>"$log" 2>&1 ||
    fail_with_log 1 "CMake could not configure the build."
}

# build_targets FOLDER TARGET... (no target: everything)
build_targets() {
  folder=$1
  shift
  cmake --build "$folder" --parallel "$(job_count)" ${1:+--target "$@"} >>"$log" 2>&1 ||
    fail_with_log 1 "The build failed."
}
