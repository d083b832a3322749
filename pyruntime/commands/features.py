"""`features`: what this runtime can do, whatever the host but for CRIU (R260 to R274)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from pyruntime.criu import program
from pyruntime.errors import CriuError
from pyruntime.options import SPECIFICATION

if TYPE_CHECKING:
    from pyruntime.request import Request

# What is not built yet; each becomes True together with the code that does it.
SECCOMP = True
SYSTEMD = True
INTEL_RDT = True
IDMAPPED_MOUNTS = True
NET_DEVICES = True

CHECKPOINT = "org.opencontainers.runc.checkpoint.enabled"  # runc's name, which readers look for

# Those that this runtime acts on (R253); a key with a dot at its end stands for all below.
_UNSAFE_ANNOTATIONS = (
    "org.criu.config",
    "org.systemd.property.",
    "run.oci.hooks.",
    "run.oci.keep_original_groups",
    "run.oci.mount_context_type",
    "run.oci.seccomp_fail_unknown_syscall",
)
_HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)

# R100 to R117. What a filesystem understands by itself (mode=, size=) is not listed (R263).
_MOUNT_OPTIONS = (
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand "
    "noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime "
    "nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime "
    "rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate "
    "rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared "
    "silent slave strictatime suid symfollow sync tmpcopyup unbindable"
)

_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")

# In the order of their numbers in the kernel.
_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
    "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
    "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
    "CHECKPOINT_RESTORE"
)

_SECCOMP_ACTIONS = "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP"
_SECCOMP_OPERATORS = "EQ GE GT LE LT MASKED_EQ NE"
_SECCOMP_ARCHITECTURES = (
    "AARCH64 ARM LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC "
    "PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB X32 X86 X86_64"
)
_SECCOMP_FLAGS = ("LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV")

_MEMORY_POLICY_MODES = (
    "DEFAULT",
    "PREFERRED",
    "BIND",
    "INTERLEAVE",
    "LOCAL",
    "PREFERRED_MANY",
    "WEIGHTED_INTERLEAVE",
)
_MEMORY_POLICY_FLAGS = ("NUMA_BALANCING", "RELATIVE_NODES", "STATIC_NODES")


def execute(request: Request) -> int:
    """Write the features as JSON to standard output."""
    sys.stdout.write(json.dumps(features(), indent=4) + "\n")
    return 0


def features() -> dict[str, Any]:
    """The features structure of the OCI runtime specification."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPECIFICATION,
        "hooks": list(_HOOKS),
        "mountOptions": _mount_options(),
        "linux": _linux(),
        "annotations": {CHECKPOINT: "true" if _has_criu() else "false"},
        "potentiallyUnsafeConfigAnnotations": list(_UNSAFE_ANNOTATIONS),
    }


def _has_criu() -> bool:
    """Checkpoint and restore are there as soon as CRIU is."""
    try:
        program.find()
    except CriuError:
        return False
    return True


def _mount_options() -> list[str]:
    options = _MOUNT_OPTIONS.split()
    return sorted([*options, "idmap", "ridmap"]) if IDMAPPED_MOUNTS else options


def _linux() -> dict[str, Any]:
    return {
        "namespaces": list(_NAMESPACES),
        "capabilities": _prefixed("CAP_", _CAPABILITIES.split()),
        "cgroup": {
            "v1": True,
            "v2": True,
            "systemd": SYSTEMD,
            "systemdUser": SYSTEMD,
            "rdma": True,
        },
        "seccomp": _seccomp() if SECCOMP else {"enabled": False},
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": INTEL_RDT, "schemata": INTEL_RDT, "monitoring": INTEL_RDT},
        "memoryPolicy": {
            "modes": _prefixed("MPOL_", _MEMORY_POLICY_MODES),
            "flags": _prefixed("MPOL_F_", _MEMORY_POLICY_FLAGS),
        },
        "mountExtensions": {"idmap": {"enabled": IDMAPPED_MOUNTS}},
        "netDevices": {"enabled": NET_DEVICES},
    }


def _seccomp() -> dict[str, Any]:
    flags = _prefixed("SECCOMP_FILTER_FLAG_", _SECCOMP_FLAGS)
    return {
        "enabled": True,
        "actions": _prefixed("SCMP_ACT_", _SECCOMP_ACTIONS.split()),
        "operators": _prefixed("SCMP_CMP_", _SECCOMP_OPERATORS.split()),
        "archs": _prefixed("SCMP_ARCH_", _SECCOMP_ARCHITECTURES.split()),
        "knownFlags": flags,
        "supportedFlags": flags,
    }


def _prefixed(prefix: str, names: list[str] | tuple[str, ...]) -> list[str]:
    return [prefix + name for name in names]
