# shellcheck shell=bash disable=SC2154  # $root is set by the script that sources this
# What ./run and ./test share: installing what is missing, configuring, building. To be sourced.
#
# Everything said here goes to stderr: stdout belongs to the program that is started in the end.

say() { printf '%s\n' "$*" >&2; }

# Is the package there, however it came? Looks for the file that the build needs, so that nothing is started when all is well
# and a compiler or library that was not installed by apt counts too.
have_package() {
  local file
  case $1 in
    g++) command -v c++ || command -v g++ || command -v "${CXX:-}" ;;
    cmake) command -v cmake ;;
    ninja-build) command -v ninja ;;
    pkg-config) command -v pkg-config ;;
    python3) command -v python3 ;;
    libpcre2-dev) file=pcre2.h ;;
    libcli11-dev) file=CLI/CLI.hpp ;;
    nlohmann-json3-dev) file=nlohmann/json.hpp ;;
    libedit-dev) file=histedit.h ;;
    libmimalloc-dev) file=mimalloc.h ;;
    liburing-dev) file=liburing.h ;;
    libsimde-dev) file=simde/x86/avx512.h ;;
    doctest-dev) file=doctest/doctest.h ;;
    *) say "bootstrap.sh does not know the package $1"; exit 1 ;;
  esac >/dev/null || return 1
  [[ -z ${file:-} || -e /usr/include/$file || -e /usr/local/include/$file ]]
}

# Sets `missing` to those of the packages that are not there.
find_missing() {
  local package
  missing=()
  for package in "$@"; do
    have_package "$package" || missing+=("$package")
  done
}

# Runs a command as root, or fails. sudo may ask for a password only where someone can type it.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 && -z ${CI:-} ]]; }; then
    sudo "$@"
  else
    return 1
  fi
}

apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  # A new machine has no package lists yet, and old lists name versions that the server no longer has.
  if apt-get -s -q install "$@" >/dev/null 2>&1; then
    as_root "${apt[@]}" install --no-install-recommends "$@" </dev/null >&2 && return
  fi
  as_root "${apt[@]}" update </dev/null >&2 && as_root "${apt[@]}" install --no-install-recommends "$@" </dev/null >&2
}

# install_packages REQUIRED... -- OPTIONAL...
# Ends the script when a required package is missing and cannot be installed; does without the optional ones.
install_packages() {
  local required=() optional=() missing=()
  while [[ $# -gt 0 && $1 != -- ]]; do required+=("$1"); shift; done
  shift || true
  find_missing "$@"
  optional=("${missing[@]}")
  find_missing "${required[@]}"
  required=("${missing[@]}")
  # Optional packages are tried once, before the first build: who has none then has decided, or has no way.
  if [[ -e $root/build/.without-optional ]]; then optional=(); fi
  if [[ ${#required[@]} == 0 && ${#optional[@]} == 0 ]]; then return; fi

  local wanted=("${required[@]}" "${optional[@]}") reason
  if ! command -v apt-get >/dev/null; then
    reason="this machine has no apt-get"
  elif ! as_root true; then
    reason="that takes root, and neither is this root nor does sudo work here"
  else
    say "Installing with apt: ${wanted[*]}"
    if apt_install "${wanted[@]}"; then return; fi
    # An optional package may be the one that the distribution does not have.
    if [[ ${#required[@]} -gt 0 && ${#optional[@]} -gt 0 ]] && apt_install "${required[@]}"; then required=(); fi
    reason="apt-get failed, see above"
  fi
  if [[ ${#required[@]} -gt 0 ]]; then
    say "error: these packages are missing and cannot be installed ($reason): ${required[*]}"
    say "Install them, then start this again:"
    say "    sudo apt-get update && sudo apt-get install ${wanted[*]}"
    exit 1
  fi
  mkdir -p "$root/build" && touch "$root/build/.without-optional"
  say "Going on without the optional ${optional[*]} ($reason)."
}

# Shows a build's output: on a terminal one line that counts up, elsewhere a line now and then; compiler messages always.
show_build() {
  local line last=-1 done_count total tenth width counting=no
  width=$(stty size <&2 2>/dev/null | cut -d' ' -f2)
  [[ ${width:-0} -gt 10 ]] || width=80
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\ (.*) ]]; then
      done_count=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]}
      [[ ${BASH_REMATCH[3]} == Re-* ]] && continue # looking whether there is anything to do
      if [[ -t 2 ]]; then
        line="[$done_count/$total] ${BASH_REMATCH[3]}"
        printf '\r\033[K%s' "${line:0:width - 1}" >&2
        counting=yes
      else
        tenth=$((done_count * 10 / total))
        [[ $tenth == "$last" ]] || say "building: $done_count of $total"
        last=$tenth
      fi
    elif [[ $line != "ninja: no work to do." && $line != "-- "* ]]; then
      if [[ $counting == yes ]]; then printf '\r\033[K' >&2; counting=no; fi
      say "$line"
    fi
  done
  if [[ $counting == yes ]]; then printf '\r\033[K' >&2; fi
}

# configure PRESET [-DNAME=VALUE...]: only when that has not been done with these presets and arguments; the build looks itself
# for changes of CMakeLists.txt. A preset's value replaces what the folder remembers, as it does when `cmake --preset` is typed.
configure() {
  local preset=$1 log
  shift
  # A folder that was moved or copied holds the paths of its old place.
  if [[ -e $root/build/$preset/CMakeCache.txt ]] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$root/build/$preset/CMakeCache.txt"; then
    say "build/$preset was made for another folder: starting it anew"
    rm -rf "$root/build/$preset"
  fi
  local made_with=$root/build/$preset/.configured-with wanted
  wanted=$(cksum <"$root/CMakePresets.json") || exit 1
  wanted+=" $*"
  # An nvcc that was installed meanwhile is to be found.
  wanted+=" $(PATH=$PATH:/usr/local/cuda/bin command -v nvcc || true)"
  if [[ -e $root/build/$preset/CMakeCache.txt && -e $root/build/$preset/build.ninja &&
    -e $made_with && $(<"$made_with") == "$wanted" ]]; then return; fi
  say "Configuring build/$preset"
  if ! log=$(cd "$root" && cmake --preset "$preset" "$@" 2>&1 </dev/null); then
    say "$log"
    say "error: CMake could not configure build/$preset, see above"
    exit 1
  fi
  printf '%s\n' "$wanted" >"$made_with"
  # CMake's own small talk is of no interest; what the build has to say of this machine is.
  grep '^-- CUDA: ' <<<"$log" >&2 || true
}

# build PRESET TARGET...
build() {
  local preset=$1
  shift
  if ! cmake --build "$root/build/$preset" --target "$@" 2>&1 </dev/null | show_build; then
    say "error: the build failed, see above"
    exit 1
  fi
}

# One script at a time configures and builds; the lock ends with the shell that called this, or with unlock_build.
lock_build() {
  mkdir -p "$root/build"
  exec {build_lock}>"$root/build/.lock"
  command -v flock >/dev/null || return 0
  flock -n "$build_lock" || { say "Waiting for another build of this folder to end"; flock "$build_lock"; }
}
unlock_build() { exec {build_lock}>&-; }
