"""A plan as people read it, and as JSON: names of slots and flags in place of numbers."""

from __future__ import annotations

import struct

from pyruntime import capabilities
from pyruntime.plan import constants as c
from pyruntime.plan import namespaces, operations
from pyruntime.plan.operations import KINDS, NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.builder import Plan
    from pyruntime.plan.operation import Argument, Operation

AT_FDCWD = "AT_FDCWD"
LONGEST_BYTES = 96
ERRNOS = {
    1: "EPERM",
    2: "ENOENT",
    9: "EBADF",
    13: "EACCES",
    16: "EBUSY",
    17: "EEXIST",
    19: "ENODEV",
    20: "ENOTDIR",
    22: "EINVAL",
    30: "EROFS",
    38: "ENOSYS",
    40: "ELOOP",
    95: "EOPNOTSUPP",
    97: "EAFNOSUPPORT",
}


def _bits(*prefixes: str) -> dict[str, int]:
    """The constants whose names begin so; masks of several bits are left out."""
    return {
        name: value
        for name, value in vars(c).items()
        if name.startswith(prefixes) and value and value & (value - 1) == 0
    }


OPEN = _bits("O_")
RESOLVE = _bits("RESOLVE_")
CLONE = _bits("CLONE_")
AT = {name: value for name, value in _bits("AT_").items() if name != "AT_REMOVEDIR"}
TREE = AT | _bits("OPEN_TREE_")
ATTRIBUTES = _bits("MOUNT_ATTR_")
PROPAGATION = _bits("MS_")
FORMATS = {
    ("openat2", "flags"): OPEN,
    ("openat2", "resolve"): RESOLVE,
    ("write_file", "resolve"): RESOLVE,
    ("open_tree", "flags"): TREE,
    ("move_mount", "flags"): _bits("MOVE_MOUNT_"),
    ("mount_setattr", "flags"): AT,
    ("fchownat", "flags"): AT,
    ("unlinkat", "flags"): _bits("AT_REMOVEDIR"),
    ("fsmount", "attributes"): ATTRIBUTES,
    ("clone", "flags"): CLONE,
    ("unshare", "flags"): CLONE,
    ("setns", "type"): CLONE,
    ("umount2", "flags"): _bits("MNT_"),
    ("tiocgptpeer", "flags"): OPEN,
}
SYNCS = {
    value: name.removeprefix("SYNC_")
    for name, value in vars(namespaces).items()
    if name.startswith("SYNC_")
}
EXACT = {
    ("fsconfig", "command"): {
        getattr(c, name): name for name in vars(c) if name.startswith("FSCONFIG_")
    },
    ("prctl", "option"): {getattr(c, name): name for name in vars(c) if name.startswith("PR_")},
    ("sync", "kind"): SYNCS,
    ("sync_slot", "kind"): SYNCS,
    ("expect_device", "type"): {c.S_IFCHR: "S_IFCHR", c.S_IFBLK: "S_IFBLK"},
}
CAPABILITIES = {
    ("drop_bounding", "keep"),
    ("capset", "effective"),
    ("capset", "permitted"),
    ("capset", "inheritable"),
    ("raise_ambient", "capabilities"),
}
OCTAL = {"mode", "mask"}
HEXADECIMAL = {("expect_filesystem", "magic"), ("ioctl", "request"), ("ioctl_value", "request")}


def lines(plan: Plan, aligned: bool = True) -> list[str]:
    """One line for each operation: the place in the config, the operation, its pardons.

    A pardon `ENOENT: +3` reads: if it fails with ENOENT, go on past the next three operations.
    Not `aligned`, a line depends on nothing but its own operation.
    """
    rows = as_json(plan)
    width = max((len(each["at"]) for each in rows), default=0) if aligned else 0
    return [_line(each, width) for each in rows]


def as_json(plan: Plan) -> list[dict[str, Any]]:
    """The operations as objects with `at`, `operation`, `arguments` and, if any, `pardons`."""
    slots = {number: name for name, number in plan.slots.items()}
    return [_as_object(operation, slots) for operation in plan.operations]


def _as_object(operation: Operation, slots: dict[int, str]) -> dict[str, Any]:
    name = NAMES[operation.number]
    arguments = {
        field: _value(name, field, kind, value, slots)
        for field, kind, value in zip(
            fields(name), _kinds(operation.number), operation.arguments, strict=True
        )
    }
    shown: dict[str, Any] = {"at": operation.at, "operation": name, "arguments": arguments}
    if operation.pardons:
        shown["pardons"] = {ERRNOS.get(errno, str(errno)): n for errno, n in operation.pardons}
    return shown


def fields(name: str) -> tuple[str, ...]:
    """The names of an operation's arguments, in order."""
    code = getattr(operations, name).__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names


def _kinds(number: int) -> str:
    return KINDS[number].replace("bn", "b")


def _value(name: str, field: str, kind: str, value: Argument, slots: dict[int, str]) -> Any:
    if isinstance(value, bytes):
        return _bytes(name, value)
    if not isinstance(value, int):
        return value
    if kind in "os":
        return slots.get(value, str(value)) if value >= 0 else _no_slot(name, field)
    return _number(name, field, value)


def _no_slot(name: str, field: str) -> str | None:
    return AT_FDCWD if field == "directory" or name == "open_tree" else None


def _number(name: str, field: str, value: int) -> int | str:
    if (name, field) in FORMATS:
        return _flags(FORMATS[name, field], value)
    if (name, field) in EXACT:
        return EXACT[name, field].get(value, value)
    if (name, field) in CAPABILITIES:
        return _capabilities(value)
    if field in OCTAL and name != "set_mempolicy":
        return f"{value:#o}" if value else "0"
    if (name, field) in HEXADECIMAL:
        return f"{value:#x}"
    return value


def _flags(names: dict[str, int], value: int) -> str:
    shown = [name for name, bit in names.items() if value & bit]
    rest = value & ~sum(names.values())
    if rest:
        shown.append(f"{rest:#x}")
    return "|".join(shown) or "0"


def _capabilities(mask: int) -> str:
    if mask == capabilities.ALL:
        return "all"
    return "|".join(name.removeprefix("CAP_") for name in capabilities.names(mask)) or "none"


def _bytes(name: str, value: bytes) -> str:
    if name == "mount_setattr":
        return _mount_attr(value)
    if name == "setgroups":
        return ",".join(map(str, struct.unpack(f"<{len(value) // 4}I", value)))
    if name == "seccomp":
        return f"{len(value) // 8} instructions"
    if name == "sched_setaffinity" and value.strip(b"\xff") == b"":
        return f"all {len(value) * 8}"
    text = value.decode("latin-1")
    if not text.replace("\n", "").isprintable():
        text = value.hex()
    return text if len(text) <= LONGEST_BYTES else f"{text[:LONGEST_BYTES]}... ({len(value)} bytes)"


def _mount_attr(value: bytes) -> str:
    add, remove, propagation, _ = struct.unpack("<4Q", value)
    parts = [f"+{_flags(ATTRIBUTES, add)}"] if add else []
    if remove & c.MOUNT_ATTR__ATIME == c.MOUNT_ATTR__ATIME:
        parts.append("-MOUNT_ATTR__ATIME")
        remove &= ~c.MOUNT_ATTR__ATIME
    if remove:
        parts.append(f"-{_flags(ATTRIBUTES, remove)}")
    if propagation:
        parts.append(_flags(PROPAGATION, propagation))
    return " ".join(parts) or "nothing"


def _line(each: dict[str, Any], width: int) -> str:
    arguments = ", ".join(f"{name}={_shown(value)}" for name, value in each["arguments"].items())
    text = f"{(each['at'] or '-').ljust(width)}  {each['operation']}({arguments})"
    pardons = ", ".join(f"{errno}: +{count}" for errno, count in each.get("pardons", {}).items())
    return f"{text}  [{pardons}]" if pardons else text


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace("\n", "\\n")
        return f'"{text}"' if text == "" or set(text) & set(" ,()[]") else text
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "-" if value is None else str(value)
