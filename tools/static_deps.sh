#!/usr/bin/env bash
# static_deps.sh DIR: static archives of the libraries of which Debian has only shared ones
# (Highway, Oniguruma), and cpp-httplib's header as it is before Debian splits it, from Debian's own
# source packages, into DIR/lib and DIR/include. For the preset "static".
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
if [ -f "$out/done" ]; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists" "$out/lib" "$out/include"
. /etc/os-release
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $VERSION_CODENAME" | head -1)}
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $VERSION_CODENAME main" >"$work/sources.list"
options=(-q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
         -o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
cd "$work"
apt-get "${options[@]}" update >&2
apt-get "${options[@]}" source highway libonig cpp-httplib >&2
build() {  # SOURCE TARGET OPTIONS...: what its own build makes of it
  cmake -G Ninja -S "$1" -B "build-$2" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O2 \
    -DCMAKE_C_FLAGS_RELEASE=-O2 -DBUILD_SHARED_LIBS=OFF "${@:3}" >&2
  cmake --build "build-$2" --target "$2" >&2
}
build highway-*/ hwy -DBUILD_TESTING=OFF -DHWY_ENABLE_EXAMPLES=OFF
build libonig-*/ onig -DBUILD_TEST=OFF
find . -name libhwy.a -exec cp {} "$out/lib/" \;
find . -name libonig.a -exec cp {} "$out/lib/" \;
cp cpp-httplib-*/httplib.h "$out/include/"
for file in lib/libhwy.a lib/libonig.a include/httplib.h; do
  [ -f "$out/$file" ] || { echo "$0: $file was not made" >&2; exit 1; }
done
touch "$out/done"
