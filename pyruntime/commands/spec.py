"""`spec`: write a config.json to start from, the same as runc's."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from pyruntime.errors import PyruntimeError
from pyruntime.options import SPECIFICATION

if TYPE_CHECKING:
    from pyruntime.request import Request

_FILE = "config.json"
_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED_PATHS = (
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
)
_READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


def execute(request: Request) -> int:
    """Write config.json into the bundle. Raises PyruntimeError if there is one."""
    text = json.dumps(specification(bool(request.options["rootless"])), indent="\t")
    _write(request.options["bundle"] or ".", text)
    return 0


def specification(rootless: bool) -> dict[str, Any]:
    """A configuration that runs sh on a terminal, for a container without privileges or with."""
    return {
        "ociVersion": SPECIFICATION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyruntime",
        "mounts": _mounts(rootless),
        "linux": {
            **(_id_mappings() if rootless else _resources()),
            "namespaces": [{"type": kind} for kind in _namespaces(rootless)],
            "maskedPaths": list(_MASKED_PATHS),
            "readonlyPaths": list(_READONLY_PATHS),
        },
    }


def _process() -> dict[str, Any]:
    # No inheritable capabilities: CVE-2022-29162.
    sets = ("bounding", "effective", "permitted", "ambient")
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM=xterm",
        ],
        "cwd": "/",
        "capabilities": {name: list(_CAPABILITIES) for name in sets},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    # The group of terminals, 5, has no mapping in a container that maps one id only.
    group = [] if rootless else ["gid=5"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            " ".join(["nosuid noexec newinstance ptmxmode=0666 mode=0620", *group]),
        ),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        _sys(rootless),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ]


def _sys(rootless: bool) -> dict[str, Any]:
    """/sys: without a network namespace of one's own, the kernel allows no new sysfs."""
    if rootless:
        return _mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")
    return _mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro")


def _mount(destination: str, type: str, source: str, options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": type,
        "source": source,
        "options": options.split(),
    }


def _namespaces(rootless: bool) -> list[str]:
    kinds = (
        ["pid", "ipc", "uts", "mount"] if rootless else ["pid", "network", "ipc", "uts", "mount"]
    )
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        kinds.append("cgroup")
    if rootless:
        kinds.append("user")
    return kinds


def _resources() -> dict[str, Any]:
    return {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}


def _id_mappings() -> dict[str, Any]:
    return {
        "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
    }


def _write(bundle: str, text: str) -> None:
    if not os.path.isdir(bundle):
        reason = "not a directory" if os.path.exists(bundle) else "no such file or directory"
        raise PyruntimeError(f"chdir {bundle}: {reason}")
    try:
        with open(os.path.join(bundle, _FILE), "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise PyruntimeError(f"File {_FILE} exists. Remove it first") from error
