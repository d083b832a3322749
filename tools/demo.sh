#!/bin/sh
# Make a bundle from the static busybox and run it.
#
#     tools/demo.sh [BUNDLE]           make the bundle (build/demo) and run a container
#     tools/demo.sh --bundle BUNDLE    only make the bundle
#     tools/demo.sh --find-busybox     print the path of a static busybox
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)

find_busybox() {
    for candidate in /bin/busybox /usr/bin/busybox /usr/local/bin/busybox; do
        [ -x "$candidate" ] || continue
        # A dynamic busybox would not find its libraries in the container's root.
        is_static "$candidate" && { echo "$candidate"; return 0; }
    done
    echo "no static busybox (Debian: busybox-static)" >&2
    return 1
}

is_static() { LC_ALL=C ldd "$1" 2>&1 | grep -q 'not a dynamic executable\|statically linked'; }

make_bundle() {
    bundle=$1
    mkdir -p "$bundle"/rootfs/bin "$bundle"/rootfs/proc "$bundle"/rootfs/sys \
        "$bundle"/rootfs/dev "$bundle"/rootfs/tmp "$bundle"/rootfs/etc
    cp "$(find_busybox)" "$bundle/rootfs/bin/busybox"
    for applet in $("$bundle/rootfs/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$bundle/rootfs/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\n' >"$bundle/rootfs/etc/passwd"
    write_config >"$bundle/config.json"
}

write_config() {
    cat <<'CONFIG'
{
  "ociVersion": "1.0.2",
  "hostname": "pyruntime-demo",
  "root": {"path": "rootfs", "readonly": true},
  "process": {
    "user": {"uid": 0, "gid": 0},
    "cwd": "/",
    "env": ["PATH=/bin", "HOME=/"],
    "args": ["/bin/sh", "-c", "echo \"hostname: $(hostname)\"; echo \"PID 1:    $(tr '\\0' ' ' </proc/1/cmdline)\"; echo mounts:; cut -d' ' -f1-4 /proc/mounts"],
    "noNewPrivileges": true,
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}
  },
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
    "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
CONFIG
}

run_demo() {
    make_bundle "$1"
    id=demo-$$
    # An interrupted run must not leave its container behind; this is silent when there is none.
    trap '"$here/bin/pyruntime" delete --force "$id"' EXIT
    echo "+ bin/pyruntime run --bundle $1 $id"
    "$here/bin/pyruntime" run --bundle "$1" "$id"
}

case ${1:-} in
--find-busybox) find_busybox ;;
--bundle) make_bundle "$2" ;;
*) run_demo "${1:-$here/build/demo}" ;;
esac
