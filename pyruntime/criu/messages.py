"""The messages of CRIU's RPC: the few fields that are needed, and protobuf's wire format.

Numbers and types are those of rpc.proto (criu(8), "criu swrk"). An enumeration, a bool and an
integer look the same on the wire; a message is a dict of its fields, a repeated field a list.
"""

from __future__ import annotations

from pyruntime.errors import CriuError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Fields = dict[str, tuple[int, str]]

NUMBER = "number"
TEXT = "text"
MANY = "*"  # ends the kind of a repeated field

MESSAGES: dict[str, Fields] = {
    "request": {
        "type": (1, NUMBER),
        "opts": (2, "options"),
        "notify_success": (3, NUMBER),
    },
    "options": {
        "images_dir_fd": (1, NUMBER),
        "pid": (2, NUMBER),
        "leave_running": (3, NUMBER),
        "ext_unix_sk": (4, NUMBER),
        "tcp_established": (5, NUMBER),
        "evasive_devices": (6, NUMBER),
        "shell_job": (7, NUMBER),
        "file_locks": (8, NUMBER),
        "log_level": (9, NUMBER),
        "log_file": (10, TEXT),
        "ps": (11, "page_server"),
        "notify_scripts": (12, NUMBER),
        "root": (13, TEXT),
        "parent_img": (14, TEXT),
        "track_mem": (15, NUMBER),
        "auto_dedup": (16, NUMBER),
        "work_dir_fd": (17, NUMBER),
        "link_remap": (18, NUMBER),
        "ext_mnt": (23, "external_mount" + MANY),
        "manage_cgroups": (24, NUMBER),
        "cg_root": (25, "cgroup_root" + MANY),
        "rst_sibling": (26, NUMBER),
        "inherit_fd": (27, "inherited" + MANY),
        "manage_cgroups_mode": (34, NUMBER),
        "external": (37, TEXT + MANY),
        "empty_ns": (38, NUMBER),
        "join_ns": (39, "joined_namespace" + MANY),
        "freeze_cgroup": (44, TEXT),
        "tcp_skip_in_flight": (46, NUMBER),
        "lazy_pages": (48, NUMBER),
        "orphan_pts_master": (50, NUMBER),
        "config_file": (51, TEXT),
        "lsm_profile": (53, TEXT),
        "lsm_mount_context": (63, TEXT),
        "mntns_compat_mode": (65, NUMBER),
    },
    "page_server": {"address": (1, TEXT), "port": (2, NUMBER)},
    "external_mount": {"key": (1, TEXT), "val": (2, TEXT)},
    "cgroup_root": {"ctrl": (1, TEXT), "path": (2, TEXT)},
    "inherited": {"key": (1, TEXT), "fd": (2, NUMBER)},
    "joined_namespace": {"ns": (1, TEXT), "ns_file": (2, TEXT)},
    "response": {
        "type": (1, NUMBER),
        "success": (2, NUMBER),
        "restore": (4, "restored"),
        "notify": (5, "notification"),
        "cr_errno": (7, NUMBER),
        "cr_errmsg": (9, TEXT),
        "version": (10, "version"),
    },
    "restored": {"pid": (1, NUMBER)},
    "notification": {"script": (1, TEXT), "pid": (2, NUMBER)},
    "version": {"major_number": (1, NUMBER), "minor_number": (2, NUMBER), "sublevel": (4, NUMBER)},
}

# criu_req_type
DUMP = 1
RESTORE = 2
PRE_DUMP = 4
NOTIFY = 6
VERSION = 10

# criu_cg_mode; "" lets CRIU decide, which takes soft.
CGROUP_MODES = {"": 6, "ignore": 0, "soft": 3, "full": 4, "strict": 5}

_VARINT = 0
_FIXED_64 = 1
_LENGTH = 2
_FIXED_32 = 5


def encode(message: str, values: dict[str, Any]) -> bytes:
    """A message with those fields, in the order in which they are given."""
    content = b""
    for name, value in values.items():
        number, kind = MESSAGES[message][name]
        each = value if kind.endswith(MANY) else [value]
        for one in each:
            content += _field(number, kind.removesuffix(MANY), one)
    return content


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind == NUMBER:
        return _varint(number << 3 | _VARINT) + _varint(int(value))
    content: bytes
    if kind == TEXT:
        content = value.encode("utf-8", "surrogateescape")
    else:
        content = encode(kind, value)
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the least first; a negative number is one of 64 bits."""
    value &= (1 << 64) - 1
    content = b""
    while value > 0x7F:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


def decode(message: str, content: bytes) -> dict[str, Any]:
    """The known fields of a message; of one that comes twice the last. Raises CriuError."""
    names = {number: (name, kind) for name, (number, kind) in MESSAGES[message].items()}
    values: dict[str, Any] = {}
    for number, value in _fields(content):
        name, kind = names.get(number, ("", ""))
        if not name:
            continue
        if isinstance(value, int) != (kind == NUMBER):
            raise CriuError(f"criu: the field {message}.{name} of its answer is of another type")
        if isinstance(value, int):
            values[name] = value
        elif kind == TEXT:
            values[name] = value.decode("utf-8", "surrogateescape")
        else:
            values[name] = decode(kind, value)
    return values


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and content of every field."""
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _read_varint(content, at)
            yield key >> 3, value
            continue
        if wire == _LENGTH:
            size, at = _read_varint(content, at)
        elif wire in (_FIXED_32, _FIXED_64):
            size = 4 if wire == _FIXED_32 else 8
        else:
            raise _torn()
        if at + size > len(content):
            raise _torn()
        yield key >> 3, content[at : at + size]
        at += size


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise _torn()
        value |= (content[at] & 0x7F) << shift
        at += 1
        if not content[at - 1] & 0x80:
            return value, at
        shift += 7


def _torn() -> CriuError:
    return CriuError("criu: its answer is not a message of its RPC")
