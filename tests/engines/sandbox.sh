#!/bin/bash
# The private world of one engine: run by run.py as process 1 of new mount, network, pid,
# ipc, uts and cgroup namespaces. All that an engine writes goes to file systems which
# end with this process; run.py removes the cgroups.
#
#     RESULTS=DIRECTORY RUNTIME=PATH IMAGE_FILE=TAR BUSYBOX=PATH sandbox.sh SCRIPT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
trap 'echo "cannot make a private world: $BASH_COMMAND" >"$RESULTS/unable"; exit 0' ERR
set -E
export WORK=/run/work # short, as Podman refuses long paths

# A second mount of each hierarchy shows the cgroup namespace's part of it only.
private_cgroups() {
    local point kind options
    while read -r _ point kind options _; do
        case $kind in cgroup | cgroup2) echo "$point $kind $options" ;; esac
    done </proc/self/mounts >"$WORK/cgroups"
    if [ "$(cut -d' ' -f1 "$WORK/cgroups" | head -n 1)" = /sys/fs/cgroup ]; then
        umount -R /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        delegate_v2
        return
    fi
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    while read -r point kind options; do
        mkdir -p "$point"
        mount -t "$kind" -o "$(controllers "$options")" cgroup "$point"
    done <"$WORK/cgroups"
}

# controllers OPTIONS: without the flags of the mount
controllers() {
    local name list=
    for name in ${1//,/ }; do
        case $name in
        rw | ro | nosuid | nodev | noexec | relatime | nsdelegate | memory_recursiveprot | favordynmods) ;;
        *) list=${list:+$list,}$name ;;
        esac
    done
    echo "${list:-rw}"
}

# A group of version 2 with processes in it cannot hand controllers on.
delegate_v2() {
    local pid controller
    mkdir /sys/fs/cgroup/engine
    while read -r pid; do
        echo "$pid" >/sys/fs/cgroup/engine/cgroup.procs 2>/dev/null || true
    done </sys/fs/cgroup/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    done
}

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$WORK" /run/lock /run/netns
private_cgroups
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /var/lib/cni # CNI's leases and results are nowhere else
for directory in /var/lib/cni /var/lib/containers /var/lib/docker /var/lib/containerd /etc/cni; do
    [ ! -d "$directory" ] || mount -t tmpfs -o mode=755 tmpfs "$directory"
done
ip link set lo up
cd "$WORK"
exec bash "$here/$1"
