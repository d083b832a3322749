"""The bundle that every benchmark runs: a static busybox and the defaults of `runc spec`.

The configuration is written out here instead of asking a runtime for it, so that a figure does not
change with the version of the runtime that is installed.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

NAMESPACES = ("pid", "ipc", "uts", "mount", "network")
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def _mount(destination: str, kind: str, source: str, options: str = "") -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = options.split(",")
    return mount


def default_mounts() -> list[dict[str, Any]]:
    """Return the seven mounts that `runc spec` writes."""
    shm = "nosuid,noexec,nodev,mode=1777,size=65536k"
    pts = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"
    return [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", shm),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ]


def _namespaces(without: tuple[str, ...]) -> list[dict[str, str]]:
    # `runc spec` asks for a cgroup namespace only where the whole hierarchy is version 2.
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    kinds = NAMESPACES + (("cgroup",) if unified else ())
    return [{"type": kind} for kind in kinds if kind not in without]


def config(
    args: list[str],
    memory_limit: int | None = None,
    without: tuple[str, ...] = (),
    cgroup: str | None = None,
) -> dict[str, Any]:
    """Return a config.json that runs `args`, limited to `memory_limit` bytes if one is given.

    `without` names the namespaces to leave out; `cgroup` is the cgroupsPath, if one is wanted.
    """
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if memory_limit is not None:
        resources["memory"] = {"limit": memory_limit}
    path = {"cgroupsPath": cgroup} if cgroup is not None else {}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: CAPABILITIES for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": default_mounts(),
        "linux": {
            **path,
            "resources": resources,
            "namespaces": _namespaces(without),
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    }


def write(directory: str, args: list[str], **choices: Any) -> str:
    """Make a bundle in `directory` and return its path; `choices` go to `config`.

    A bundle that is already there keeps its root file system and gets the new configuration.
    """
    rootfs = os.path.join(directory, "rootfs")
    if not os.path.isdir(rootfs):
        for name in ("bin", "proc", "dev", "sys"):
            os.makedirs(os.path.join(rootfs, name))
        shutil.copy("/bin/busybox", os.path.join(rootfs, "bin/busybox"))
        for applet in ("sleep", "true"):
            os.symlink("busybox", os.path.join(rootfs, "bin", applet))
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config(args, **choices), file)
    return directory
