"""Compile a seccomp profile with libseccomp (slow lane: ctypes and the pyseccomp package).

libseccomp knows the system calls of every architecture and writes good BPF; the flags
of seccomp(2), the defaults and the answer to newer system calls are ours.
"""

from __future__ import annotations

import ctypes
import errno
import os

from pyruntime.errors import ConfigError, PyruntimeError
from pyruntime.packages import import_package
from pyruntime.seccomp import names, newer
from pyruntime.seccomp.filter import Filter, is_program
from pyruntime.seccomp.profile import Profile, Rule, read_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_UNKNOWN = -1  # libseccomp's __NR_SCMP_ERROR
_BINARY_TREE = 2  # of SCMP_FLTATR_CTL_OPTIMIZE
_TREE_THRESHOLD = 32
_SET_MODE_FILTER = 1


def compile_filter(seccomp: dict[str, Any]) -> Filter:
    """Return the filter of a `linux.seccomp` object (R230 to R240).

    Raises ConfigError with the JSON path of what is wrong or what this kernel or
    libseccomp does not have, PyruntimeError if libseccomp or pyseccomp is missing.
    """
    profile = read_profile(seccomp)
    binding = load_binding()
    flags = _flags(binding, profile)
    warnings: list[str] = []
    program = _program(binding, profile, warnings)
    if profile.refuses_newer():
        program = newer.prefix(_newest(binding, profile)) + program
    if not is_program(program):
        raise ConfigError(["linux.seccomp.syscalls: the filter is larger than the kernel takes"])
    return Filter(program, flags, profile.listener, warnings, library_path())


def load_binding() -> Any:
    """Return the pyseccomp module. Raises PyruntimeError naming what is not installed."""
    try:
        return import_package("pyseccomp")
    except ModuleNotFoundError:
        raise PyruntimeError(
            "linux.seccomp: the Python package pyseccomp is not installed"
        ) from None
    except (RuntimeError, OSError, AttributeError) as error:
        raise PyruntimeError(f"linux.seccomp: libseccomp.so.2 cannot be used: {error}") from None


def library_path() -> str:
    """Return the path of the libseccomp in this process; "" if it cannot be told."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                path = line.rstrip("\n").partition("/")[2]
                if "/libseccomp.so" in "/" + path:
                    return "/" + path
    except OSError:
        return ""
    return ""


def supported_flags() -> list[str]:
    """Return the names of the flags that this kernel's seccomp(2) takes (R233, R267)."""
    binding = load_binding()
    return [name for name, flag in names.FLAGS.items() if _kernel_takes(binding, flag)]


def _kernel_takes(binding: Any, flag: int) -> bool:
    """Ask the kernel: with a null program it says EFAULT for flags it knows, else EINVAL."""
    if flag == names.WAIT_KILLABLE_RECV:
        flag |= names.NEW_LISTENER  # refused on its own
    number = binding.resolve_syscall(binding.Arch.NATIVE, "seccomp")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(
        ctypes.c_long(number), ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(flag), None
    )
    return ctypes.get_errno() == errno.EFAULT


def _flags(binding: Any, profile: Profile) -> int:
    """Return the flags of seccomp(2); a profile that says nothing gets SPEC_ALLOW (R233)."""
    if profile.flags is None:
        flags = names.SPEC_ALLOW if _kernel_takes(binding, names.SPEC_ALLOW) else 0
    else:
        flags = 0
        for index, name in enumerate(profile.flags):
            flags |= _flag(binding, profile, name, f"linux.seccomp.flags[{index}]")
    if profile.listener:
        flags |= names.NEW_LISTENER
        if flags & names.TSYNC:
            # Both want the return value: without this flag the kernel refuses the pair.
            flags |= names.TSYNC_ESRCH
    return flags


def _flag(binding: Any, profile: Profile, name: Any, path: str) -> int:
    flag = names.FLAGS.get(name) if isinstance(name, str) else None
    if flag is None:
        raise ConfigError([f"{path}: unknown flag {name!r}"])
    if flag == names.WAIT_KILLABLE_RECV and not profile.listener:
        raise ConfigError([f"{path}: {name} needs a rule with action SCMP_ACT_NOTIFY"])
    if not _kernel_takes(binding, flag):
        raise ConfigError([f"{path}: {name} is not supported by this kernel"])
    return flag


def _program(binding: Any, profile: Profile, warnings: list[str]) -> bytes:
    try:
        filter_ = binding.SyscallFilter(profile.default_action)
    except OSError as error:
        raise _refused("linux.seccomp.defaultAction", error) from None
    _add_architectures(filter_, profile)
    if sum(len(rule.names) for rule in profile.rules) > _TREE_THRESHOLD:
        _optimise(binding, filter_)
    for rule in profile.rules:
        _add_rule(binding, filter_, profile, rule, warnings)
    return _export(filter_)


def _add_architectures(filter_: Any, profile: Profile) -> None:
    """Add what the profile lists; libseccomp has the native architecture already (R232)."""
    for index, token in enumerate(profile.architectures):
        try:
            filter_.add_arch(token)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise _refused(f"linux.seccomp.architectures[{index}]", error) from None


def _optimise(binding: Any, filter_: Any) -> None:
    """Search the system calls by halves: some ten comparisons instead of hundreds."""
    try:
        filter_.set_attr(binding.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    except OSError:
        return  # libseccomp before 2.5: slower, not wrong


def _add_rule(
    binding: Any, filter_: Any, profile: Profile, rule: Rule, warnings: list[str]
) -> None:
    if rule.action == profile.default_action:
        return  # libseccomp refuses it with EACCES, and it says nothing new
    for index, name in enumerate(rule.names):
        number = _resolve(binding, binding.Arch.NATIVE, name)
        path = f"{rule.path}.names[{index}]"
        if number == _UNKNOWN:
            warnings.append(f"{path}: system call {name!r} is unknown to libseccomp: skipped")
            continue
        try:
            for arguments in _comparisons(binding, rule):
                filter_.add_rule(rule.action, number, *arguments)
        except OSError as error:
            raise _refused(f"{path} {name}", error) from None


def _comparisons(binding: Any, rule: Rule) -> Iterator[list[Any]]:
    for alternative in rule.alternatives:
        yield [
            binding.Arg(item.index, item.operator, item.value, item.value_two)
            for item in alternative
        ]


def _resolve(binding: Any, token: int, name: str) -> int:
    # A NUL byte would end the name early in C, and a surrogate cannot be encoded.
    if not name.isascii() or "\0" in name:
        return _UNKNOWN
    number: int = binding.resolve_syscall(token, name)
    return number


def _newest(binding: Any, profile: Profile) -> dict[int, int]:
    """Return the greatest system call number that the profile names, by architecture."""
    called = {name for rule in profile.rules for name in rule.names}
    tokens = dict.fromkeys([binding.system_arch(), *profile.architectures])
    return {
        token: newer.greatest(token, [_resolve(binding, token, name) for name in called])
        for token in tokens
    }


def _export(filter_: Any) -> bytes:
    with open(os.memfd_create("seccomp-bpf", os.MFD_CLOEXEC), "w+b") as file:
        filter_.export_bpf(file)
        file.seek(0)
        return file.read()


def _refused(path: str, error: OSError) -> ConfigError:
    if error.errno == errno.EEXIST:
        return ConfigError([f"{path}: another rule gives the same calls another action"])
    return ConfigError([f"{path}: refused by libseccomp: {error.strerror}"])
