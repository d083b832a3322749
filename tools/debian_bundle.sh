#!/bin/sh
# Make a bundle whose root is a small Debian, for trying programs that busybox lacks.
#
#     tools/debian_bundle.sh BUNDLE [SUITE]
#
# Needs root and debootstrap. SUITE is a release of Debian, by default stable; set
# MIRROR for another archive. The config.json is the one that `pyruntime spec` writes.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
bundle=${1:?usage: tools/debian_bundle.sh BUNDLE [SUITE]}
suite=${2:-stable}
mirror=${MIRROR:-http://deb.debian.org/debian}

command -v debootstrap >/dev/null || {
    echo "debootstrap is missing: apt-get install debootstrap" >&2
    exit 1
}
mkdir -p "$bundle"
debootstrap --variant=minbase "$suite" "$bundle/rootfs" "$mirror"
[ -e "$bundle/config.json" ] || "$here/bin/pyruntime" spec --bundle "$bundle"
echo "made $bundle; try: bin/pyruntime run --bundle $bundle debian"
