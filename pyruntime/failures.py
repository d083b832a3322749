"""What a failed operation is called: the operation, its place in the config, errno, and a hint."""

from __future__ import annotations

import errno as e
import posix

from pyruntime.errors import OperationError, PyruntimeError
from pyruntime.plan.operations import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyruntime.plan.operation import Argument

    Arguments = Sequence[Argument]

NEEDED = "5.14"  # the Linux release that has all that is needed (docs/kernel-features.md)

# The release of Linux that brought each system call which an older one may lack.
RELEASES = {
    "bpf": "4.15",  # older, but not for devices
    "clone3": "5.3",
    "close_range": "5.9",
    "fsconfig": "5.2",
    "fsmount": "5.2",
    "fsopen": "5.2",
    "memfd_create": "3.17",
    "mount_setattr": "5.12",
    "move_mount": "5.2",
    "open_tree": "5.2",
    "openat2": "5.6",
    "pidfd_getfd": "5.6",
    "pidfd_open": "5.3",
    "pidfd_send_signal": "5.1",
    "statx": "4.11",
}
# The operations that are not named as the call which may be missing.
CALLS = {
    "bpf_attach_device": "bpf",
    "clone": "clone3",
    "close_from": "close_range",
    "copy_mode": "fsconfig",
    "expect_device": "statx",
    "make_path": "openat2",
    "write_file": "openat2",
}

HINTS = {
    ("setns", e.EINVAL): "the file is not a namespace of this type",
    ("setns", e.EPERM): "joining it needs CAP_SYS_ADMIN in the user namespace that owns it",
    ("unshare", e.ENOSPC): "the limit in /proc/sys/user is reached",
    ("clone", e.ENOSPC): "a limit of namespaces in /proc/sys/user, or of their nesting, is reached",
    ("clone", e.EAGAIN): "pids.max of the cgroup, or RLIMIT_NPROC, is reached",
    ("clone", e.EBUSY): "its cgroup passes controllers on, and so takes no process",
    ("clone", e.EOPNOTSUPP): "its cgroup is below a threaded one, and so takes no process",
    ("clone", e.ENOMEM): "the pid namespace may be gone: its first process has exited",
    ("unshare", e.EINVAL): "the kernel may lack this type of namespace",
    ("open_tree", e.ENOENT): "the source does not exist",
    ("open_tree", e.EINVAL): "below the source is a mount that may not be cloned (unbindable)",
    ("fsopen", e.ENODEV): "the kernel has no such file system type",
    ("fsconfig", e.EINVAL): "the file system does not know an option, or its value",
    ("fsconfig", e.EPERM): "mounting it here needs privileges over the namespace it shows",
    ("move_mount", e.ENOTDIR): "a file can only be mounted on a file, a directory on a directory",
    ("move_mount", e.EINVAL): "the place or its parent may not take a mount (shared or locked)",
    ("mount_setattr", e.EOPNOTSUPP): "the file system cannot be idmapped",
    ("mount_setattr", e.EPERM): "a flag that the source has locked may not be cleared",
    ("mount_setattr", e.EINVAL): (
        "these options exclude each other, or it is to be idmapped and is so already, or its file"
        " system cannot be (tmpfs can since Linux 6.3)"
    ),
    ("umount2", e.EINVAL): "nothing is mounted there, or it is locked to what is below it",
    ("openat2", e.ELOOP): "there is a symbolic link where none may be",
    ("openat2", e.EXDEV): "the path leads out of the directory it must stay in",
    ("make_path", e.ENOTDIR): "a component of the path is a file",
    ("expect_device", e.EEXIST): "another file is there already, and it is not this device",
    ("expect_filesystem", e.EXDEV): "it is another file system than it must be",
    ("setresuid", e.EINVAL): "the id is not mapped in the user namespace",
    ("setresgid", e.EINVAL): "the id is not mapped in the user namespace",
    ("setgroups", e.EINVAL): "an id is not mapped in the user namespace",
    ("setgroups", e.EPERM): "setgroups is denied in this user namespace",
    ("capset", e.EPERM): "the runtime itself does not have one of these capabilities",
    ("prlimit", e.EPERM): "raising a hard limit needs CAP_SYS_RESOURCE outside of user namespaces",
    ("prlimit", e.EINVAL): "the soft limit is greater than the hard one",
    ("sched_setattr", e.EPERM): "it needs CAP_SYS_NICE, and no restricted cpuset for deadlines",
    ("sched_setattr", e.EINVAL): "the policy does not take these values",
    ("ioprio_set", e.EPERM): "the realtime class needs CAP_SYS_NICE or CAP_SYS_ADMIN",
    ("set_mempolicy", e.EINVAL): "a node does not exist, or is not in cpuset.mems",
    ("write_file", e.EACCES): "lowering it needs privileges that the runtime does not have",
    ("write_file", e.EINVAL): "the kernel does not take this value",
    ("write_file", e.ENOENT): "the kernel has no such parameter",
    ("write_file", e.ERANGE): "the value is out of range",
    ("execve", e.ENOEXEC): "it is neither a program for this machine nor a script with #!",
    ("execve", e.ENOENT): "or its interpreter, or its dynamic linker, is missing",
    ("execve", e.EAGAIN): "the user has more processes than RLIMIT_NPROC allows",
    ("execve", e.E2BIG): "args and env together are too long",
    ("seccomp", e.EINVAL): "the kernel does not know a flag or an action of the filter",
}


def reason(number: int) -> str:
    """strerror(3), with a small letter first as Go writes it: engines look for those words."""
    text = posix.strerror(number)
    return text[:1].lower() + text[1:]


def describe(name: str, at: str, arguments: Arguments, errno: int, detail: int) -> OperationError:
    """The error for a failed operation of a plan.

    `arguments` are the operation's; `detail` is a hook's wait status.
    """
    special = SPECIAL.get(name)
    message = special(at, arguments, errno, detail) if special else None
    if errno == e.ENOSYS and CALLS.get(name, name) in RELEASES:
        subject = _subject(arguments)
        message = f"{at.removeprefix('.') or 'init'}: {name}{subject}: {lacking(name)}"
    if message is None:
        hint = HINTS.get((name, errno))
        subject = _subject(arguments)
        message = f"{at.removeprefix('.') or 'init'}: {name}{subject}: {reason(errno)}"
        message += f" ({hint})" if hint else ""
    return OperationError(message, at, errno)


def name_destination(error: PyruntimeError, config: dict[str, Any]) -> PyruntimeError:
    """The same error, which says where the mount was to be if it is about one of mounts[]."""
    at = getattr(error, "path", "")
    number = at.removeprefix(".mounts[").removesuffix("]")
    mounts = config.get("mounts") or []
    if not isinstance(error, OperationError) or not number.isdigit() or int(number) >= len(mounts):
        return error
    place, text = mounts[int(number)]["destination"], str(error)
    name = at.removeprefix(".")
    if place not in text and text.startswith(name + ": "):
        return OperationError(f"{name} {place}{text.removeprefix(name)}", at, error.errno)
    return error


def lacking(name: str) -> str:
    """The reason of ENOSYS, for an operation or a system call of that name."""
    call = CALLS.get(name, name)
    return (
        f"{reason(e.ENOSYS)} ({call}(2) came with Linux {RELEASES[call]}, pyruntime needs"
        f" {NEEDED}; or a seccomp filter hides it)"
    )


def refusal(call: str, error: OSError) -> PyruntimeError | OSError:
    """What to raise for a system call of Python's that failed: ENOSYS is explained."""
    if error.errno != e.ENOSYS:
        return error
    return PyruntimeError(f"{call}: {lacking(call)}")


def name_of(number: int) -> str:
    """The name of an operation."""
    return NAMES[number]


def _subject(arguments: Arguments) -> str:
    """The first text among the arguments says most about what was tried."""
    for argument in arguments:
        if isinstance(argument, str) and argument not in ("", "."):
            return f" {argument}"
    return ""


def _text(arguments: Arguments) -> str:
    return str(arguments[0])


def _not_found(at: str, arguments: Arguments, errno: int, detail: int) -> str | None:
    file = _text(arguments)
    if errno == e.EISDIR:
        return f'exec: "{file}": permission denied (it is a directory)'
    if errno == e.ENOENT and "/" not in file:
        return f'exec: "{file}": executable file not found in $PATH'
    if errno == e.ENOENT:
        return f'exec: "{file}": stat {file}: {reason(errno)}'
    return f'exec: "{file}": {reason(errno)}'


def _not_executed(at: str, arguments: Arguments, errno: int, detail: int) -> str | None:
    args = arguments[1]
    file = str(args[0]) if isinstance(args, list) and args else "?"
    hint = HINTS.get(("execve", errno))
    return f"exec {file}: {reason(errno)}" + (f" ({hint})" if hint else "")


def _not_entered(at: str, arguments: Arguments, errno: int, detail: int) -> str | None:
    if at != ".process.cwd":
        return None
    return f'chdir to cwd ("{_text(arguments)}") set in config.json failed: {reason(errno)}'


def _outside(at: str, arguments: Arguments, errno: int, detail: int) -> str | None:
    if errno != e.EXDEV:
        return None
    return (
        "process.cwd: current working directory is outside of container mount namespace root "
        "-- possible container breakout detected"
    )


def _hook_failed(at: str, arguments: Arguments, errno: int, detail: int) -> str | None:
    path = _text(arguments)
    if errno == e.ETIME:
        return f"{at.removeprefix('.')}: hook {path}: not finished after its timeout, killed"
    if errno != e.EREMOTEIO:
        return None
    return f"{at.removeprefix('.')}: hook {path}: {wait_status(detail)}"


def _not_labelled(at: str, arguments: Arguments, errno: int, detail: int) -> str | None:
    """A profile or label that was not taken, by its name (R72, R73)."""
    hints = LABEL_HINTS.get(at)
    content = arguments[2]
    if hints is None or not isinstance(content, bytes):
        return None
    name = content.decode("utf-8", "replace").removeprefix("exec ")
    hint = hints.get(errno)
    return f'{at.removeprefix(".")}: set "{name}": {reason(errno)}' + (f" ({hint})" if hint else "")


LABEL_HINTS = {
    ".process.apparmorProfile": {
        e.ENOENT: "no AppArmor profile of this name is loaded",
        e.EACCES: "the profile that the runtime itself is under does not allow this change",
        e.EPERM: "no_new_privs is set, and this profile allows more than the runtime's own",
        e.EINVAL: "this is not the name of a profile",
    },
    ".process.selinuxLabel": {
        e.EINVAL: "the SELinux policy has no such label",
        e.EACCES: "the SELinux policy does not let the runtime set it",
    },
}


def wait_status(status: int) -> str:
    """What a wait status says: exit status or signal."""
    if status & 0x7F:
        return f"killed by signal {status & 0x7F}"
    code = status >> 8
    hint = {127: " (it does not exist, or cannot be executed)"}.get(code, "")
    return f"exit status {code}{hint}"


SPECIAL = {
    "find_executable": _not_found,
    "execve": _not_executed,
    "chdir": _not_entered,
    "check_cwd": _outside,
    "run_hook": _hook_failed,
    "write_file": _not_labelled,
}
