#!/bin/sh
# Install what a make target needs and this machine lacks, and make .venv.
#
#     tools/setup.sh {venv|build|demo|test|snapshot|engines|vm}
#
# venv    /usr/bin/python3 with venv; .venv with the development packages
# build   + a C compiler and the headers of libc and the kernel
# demo    + a static busybox
# test    + what single tests ask for; those are optional: without them tests skip
# snapshot  build + the static libpython
# engines + Podman, Docker, containerd, buildah, and a gRPC client in .venv; all optional
# vm      build + what makes and runs the guest of tests/vm, and a gRPC client for it; Debian only
#
# Packages come from apt-get, and only the missing ones. Set OFFLINE=1 to forbid
# every download: then what is missing is named, and what is optional is left out.
set -u
cd "$(dirname "$0")/.." || exit 1

PYTHON=/usr/bin/python3
TRIES=3
apt_updated=

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# retry COMMAND...: up to $TRIES times, as mirrors have bad moments
retry() {
    attempt=1
    until "$@"; do
        [ "$attempt" -lt "$TRIES" ] || return 1
        say "failed (try $attempt of $TRIES), again in $((attempt * 3)) s: $*"
        sleep $((attempt * 3))
        attempt=$((attempt + 1))
    done
}

# apt_install PACKAGE...
apt_install() {
    [ -z "${OFFLINE:-}" ] || { say "OFFLINE is set; not installed: $*"; return 1; }
    command -v apt-get >/dev/null || { say "no apt-get here; not installed: $*"; return 1; }
    [ "$(id -u)" -eq 0 ] || { say "not root; run: apt-get install $*"; return 1; }
    if [ -z "$apt_updated" ]; then
        retry apt-get -q -o Acquire::Retries=3 update >/dev/null || say "apt-get update failed; trying on"
        apt_updated=1
    fi
    DEBIAN_FRONTEND=noninteractive retry apt-get -q -y -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" >/dev/null
}

# need TEST PACKAGES WHY: install PACKAGES unless TEST holds; end if it then does not
need() {
    "$1" && return 0
    say "installing $2: $3"
    # shellcheck disable=SC2086 # a list of packages
    apt_install $2 || fail "cannot go on without $2 ($3)"
    "$1" || fail "$2 installed, but still missing: $3"
}

# want COMMAND PACKAGE WHY: the same, but go on without it
want() {
    command -v "$1" >/dev/null && return 0
    say "installing $2 (optional): $3"
    apt_install "$2" || say "going on without $2: $3 will be skipped"
}

has_python() { "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; }
has_compiler() { command -v "${CC:-cc}" >/dev/null; }
has_headers() {
    printf '#include <unistd.h>\n#include <linux/mount.h>\n#include <sys/syscall.h>\nint main(void){return 0;}\n' |
        "${CC:-cc}" -x c -fsyntax-only - 2>/dev/null
}
# What tools/snapshot.py links; there is one for each version of Python
has_static_python() {
    "$PYTHON" - <<'PROGRAM'
import os
import sys
from sysconfig import get_config_var

library = os.path.join(get_config_var("LIBPL") or "", get_config_var("LIBRARY") or "none")
sys.exit(not os.path.exists(library))
PROGRAM
}
has_busybox() { tools/demo.sh --find-busybox >/dev/null 2>&1; }
has_cni() { [ -x /usr/lib/cni/bridge ]; }
is_debian() { grep -qx 'ID=debian' /etc/os-release 2>/dev/null; }
has_vm_tools() {
    for tool in qemu-system-x86_64 qemu-img mmdebstrap mke2fs cpio busybox depmod xz zstd lz4; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || return 1
    done
    [ -r /usr/share/keyrings/debian-archive-keyring.gpg ]
}
has_libseccomp() { ls /usr/lib/*/libseccomp.so.2 /usr/lib*/libseccomp.so.2 /lib/*/libseccomp.so.2 2>/dev/null | grep -q .; }

# The packages that pyproject.toml names in an extra, one a line; with dev, those of pyruntime too
python_packages() {
    "$PYTHON" - "$1" <<'PROGRAM'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
own = project["dependencies"] if sys.argv[1] == "dev" else []
print(*own, *project["optional-dependencies"][sys.argv[1]], sep="\n")
PROGRAM
}

# pip_install MARK PACKAGES [PLACE OPTION...]: into .venv or as the options say, unless the
# file MARK says that they are there
pip_install() {
    mark=$1 wanted=$2 place=${3:-into .venv}
    shift 2
    [ $# -eq 0 ] || shift
    [ "$(cat "$mark" 2>/dev/null)" = "$wanted" ] && return 0
    # shellcheck disable=SC2086 # one word a package
    say "installing $place:" $wanted
    [ -z "${OFFLINE:-}" ] || { say "OFFLINE is set, and packages $place are lacking"; return 1; }
    # shellcheck disable=SC2086 # one word a package
    retry .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 5 "$@" \
        $wanted || return 1
    printf '%s\n' "$wanted" >"$mark"
}

setup_venv() {
    if [ -x "$PYTHON" ] && ! has_python; then
        fail "$PYTHON is $("$PYTHON" -V 2>&1); 3.11 or newer is needed (Debian 12, Ubuntu 24.04)"
    fi
    need has_python python3 "pyruntime runs on the system's Python"
    need has_venv python3-venv "makes .venv for the development packages"
    packages=$(python_packages dev) || fail "cannot read pyproject.toml"
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv || fail "cannot make .venv"
    pip_install .venv/.packages "$packages" || fail "cannot install the development packages"
}

setup_build() {
    need has_compiler gcc "compiles the init, a static C program"
    need has_headers libc6-dev "headers of libc and the kernel for the init"
}

setup_demo() {
    need has_busybox busybox-static "the demo's container is one static busybox"
}

setup_test() {
    has_static_python || want libpython.a libpython3-dev "the snapshot of the interpreter"
    has_libseccomp || want libseccomp.so.2 libseccomp2 "tests of seccomp profiles"
    want runc runc "comparing our answers with runc's"
    want crun crun "comparing our answers with crun's"
}

setup_snapshot() {
    need has_static_python libpython3-dev "the snapshot of the interpreter is linked with it"
}

setup_engines() {
    want podman podman "Podman's steps"
    want conmon conmon "Podman's steps"
    want buildah buildah "buildah's steps"
    want containerd containerd "the steps of containerd and its Kubernetes interface"
    want dockerd docker.io "Docker's steps"
    want docker-init tini "steps with an init in the container"
    want iptables iptables "the steps of Docker, Podman and pods"
    want newuidmap uidmap "the step of an automatic user namespace"
    want ip iproute2 "the networks of containers"
    want pgrep procps "a look at processes"
    has_cni || want /usr/lib/cni/bridge containernetworking-plugins "the networks of Podman and pods"
    packages=$(python_packages engines) || fail "cannot read pyproject.toml"
    pip_install .venv/.packages-engines "$packages" ||
        say "going on without: the steps of containerd's Kubernetes interface will be skipped"
}

setup_vm() {
    is_debian || fail "the guest is built with Debian's tools and keys, and this is not Debian"
    need has_vm_tools "qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring e2fsprogs cpio busybox-static kmod xz-utils zstd lz4" \
        "builds and runs the guest with cgroup v2"
    packages=$(python_packages engines) || fail "cannot read pyproject.toml"
    pip_install build/vm-packages/.packages "$packages" "for the guest" \
        --target build/vm-packages --upgrade --python-version 3.13 --only-binary=:all: ||
        say "going on without: the guest's tests of containerd's Kubernetes interface will be skipped"
}

case ${1:-} in
venv) setup_venv ;;
build) setup_venv; setup_build ;;
demo) setup_venv; setup_build; setup_demo ;;
test) setup_venv; setup_build; setup_demo; setup_test ;;
snapshot) setup_venv; setup_build; setup_snapshot ;;
engines) setup_venv; setup_build; setup_demo; setup_test; setup_engines ;;
vm) setup_venv; setup_build; setup_vm ;;
*) fail "usage: tools/setup.sh {venv|build|demo|test|snapshot|engines|vm}" ;;
esac
