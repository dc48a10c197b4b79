#!/usr/bin/env bash
# check_deb.sh FOLDER: installs the .deb of FOLDER (made by cpack) in a fresh Debian 12 that
# debootstrap makes, runs the program there on samples/tiny, builds tests/package against the
# development package, and removes both again. As root; packages come from the host's own sources.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "$0: needs root" >&2; exit 1; }
tools/install_deps.sh package
debs=$(cd "$1" && pwd)
root=$(mktemp -d)
chmod 755 "$root"
finish() {
  umount -l "$root/proc" 2>/dev/null || true
  rm -rf --one-file-system "$root"
}
trap finish EXIT
# shellcheck disable=SC1091
. /etc/os-release
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $VERSION_CODENAME" | head -1)}
echo "a fresh $VERSION_CODENAME from $mirror" >&2
debootstrap --variant=minbase "$VERSION_CODENAME" "$root" "$mirror" >"$root.log" 2>&1 ||
  { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# The host's way to the network: sources, keys and proxies.
rm -f "$root/etc/apt/sources.list"
cp -a /etc/apt/sources.list* /etc/apt/apt.conf.d "$root/etc/apt/"
cp -aL /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
cp -a /usr/local/share/ca-certificates /etc/ssl/certs "$root/tmp/" 2>/dev/null || true
mount -t proc proc "$root/proc"
mkdir "$root/debs" "$root/check"
cp "$debs"/*.deb "$root/debs/"
cp -r samples/tiny tests/package "$root/check/"
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
  http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" chroot "$root" "$@"; }
apt() { in_root apt-get -y -q --no-install-recommends "$@" >>"$root/apt.log" 2>&1 || { tail -20 "$root/apt.log" >&2; exit 1; }; }
deb() { in_root sh -c "echo /debs/$1_*.deb"; }
apt update
before=$(in_root dpkg-query -W -f '${Package}\n' | sort)
apt install "$(deb weightbridge)"
echo "installed with:" $(comm -13 <(echo "$before") <(in_root dpkg-query -W -f '${Package}\n' | sort))
in_root weightbridge --version
in_root weightbridge convert /check/tiny/tiny-deepseek.pt -o /check/out >/dev/null
in_root weightbridge verify /check/tiny/tiny-deepseek.pt /check/out | tail -3
in_root dpkg --verify weightbridge
echo "the program: installed, run, verified"
apt install "$(deb libweightbridge-dev)" cmake ninja-build g++ pkg-config
in_root cmake -G Ninja -S /check/package -B /check/build >/dev/null
in_root cmake --build /check/build >/dev/null
in_root /check/build/example /check/tiny/tiny-deepseek.pt /check/from-library
echo "the library: installed, built against, run"
apt purge weightbridge libweightbridge-dev
left=$(in_root find /usr /etc /var/lib/weightbridge -name '*weightbridge*' 2>/dev/null || true)
[ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
echo "removed, nothing left"
