#!/usr/bin/env bash
# install_deps.sh GROUP...: installs what the named groups need and is not there yet.
# Debian 12 (apt) as root or with sudo; says nothing when nothing is missing.
# macOS (brew) is written down but has not been run by the project's tests.
set -euo pipefail

debian() {
  case $1 in
    build) echo g++ cmake ninja-build pkg-config libcli11-dev libfmt-dev nlohmann-json3-dev \
             libtomlplusplus-dev libxxhash-dev libssl-dev zlib1g-dev libdeflate-dev libonig-dev \
             libhwy-dev libopenblas0-pthread libcpp-httplib-dev libedit-dev \
             libgtest-dev libgmock-dev ;;
    test) echo python3-torch python3-numpy python3-jinja2 chromium libopenmpi-dev openmpi-bin
          # Node.js from elsewhere brings its own npm, beside which Debian's does not install.
          command -v npm >/dev/null || echo npm ;;
    lint) echo clang-14 clang-format-14 clang-tidy-14 ;;
    fuzz) echo clang-14 libclang-rt-14-dev llvm-14 python3 ;;
    bench) echo libbenchmark-dev python3-torch python3-numpy ;;
    package) echo debootstrap dpkg-dev ;;
    check) echo valgrind gcovr ;;
    *) return 1 ;;
  esac
}
brew_names() {
  case $1 in
    build) echo cmake ninja pkg-config cli11 fmt nlohmann-json tomlplusplus xxhash openssl@3 \
             libdeflate oniguruma highway openblas cpp-httplib googletest ;;
    test) echo numpy pytorch jinja2 open-mpi ;;
    lint | fuzz) echo llvm@14 ;;
    bench) echo google-benchmark ;;
  esac
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "Installing packages needs root or sudo. Run as root: $*" >&2
    exit 1
  fi
}

install_debian() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "Installing: ${missing[*]}" >&2
  local options=(-y -q --no-install-recommends)
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "${missing[@]}" >&2
}

install_brew() {
  local missing=() package
  for package in "$@"; do
    brew list --formula --versions "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "Installing: ${missing[*]}" >&2
  brew install --quiet "${missing[@]}" >&2
}

[ $# -gt 0 ] || { echo "usage: $0 build|test|lint|fuzz|bench|package|check ..." >&2; exit 2; }
for group in "$@"; do
  debian "$group" >/dev/null || { echo "$0: there is no group $group" >&2; exit 2; }
done
if command -v apt-get >/dev/null; then
  install_debian $(for group in "$@"; do debian "$group"; done | tr ' ' '\n' | sort -u)
elif command -v brew >/dev/null; then
  install_brew $(for group in "$@"; do brew_names "$group"; done | tr ' ' '\n' | sort -u)
else
  echo "Neither apt-get nor brew is here. Install what these Debian packages hold:" >&2
  for group in "$@"; do debian "$group" >&2; done
  exit 1
fi
