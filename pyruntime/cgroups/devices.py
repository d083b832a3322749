"""Which device nodes a container may open, as the device rules of v1 and as a v2 program.

Rules are ordered and each changes what the ones before it left (row R170). `Access` follows
the v1 kernel: a default and a table of exceptions to it. Both versions are made from it, so
that a configuration means the same on both.
"""

from __future__ import annotations

import struct

from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANY = -1

# What every container may use after its own rules (rows R153, R154; engines count on it):
# make any node, and use null zero full random urandom tty ptmx, the ptys and net/tun.
IMPLICIT: tuple[tuple[str, int, int, str], ...] = (
    ("c", ANY, ANY, "m"),
    ("b", ANY, ANY, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, ANY, "rwm"),
    ("c", 10, 200, "rwm"),
)

# BPF_DEVCG_* of linux/bpf.h, which are DEVCG_ACC_* of the v1 controller as well.
BITS = {"m": 1, "r": 2, "w": 4}
_TYPES = {"b": 1, "c": 2}
_EVERY = 7

_RULES = "linux.resources.devices"


class Access:
    """What the rules so far allow: `default`, and `exceptions` {(type, major, minor): bits}."""

    __slots__ = ("default", "exceptions")

    def __init__(self) -> None:
        self.default = False
        self.exceptions: dict[tuple[str, int, int], int] = {}

    def reset(self, allow: bool) -> None:
        """A rule for all devices: it forgets everything before it, whatever its access."""
        self.default = allow
        self.exceptions.clear()

    def change(self, allow: bool, device: tuple[str, int, int], bits: int, path: str) -> None:
        """A rule for some devices. Raises CgroupError for a part of an earlier wildcard."""
        if allow != self.default:
            self.exceptions[device] = self.exceptions.get(device, 0) | bits
            return
        for other, had in self.exceptions.items():
            if had & bits and _overlap(other, device) and not _within(other, device):
                raise _hole(path, device, bits, other, had)
        for other in [one for one in self.exceptions if _within(one, device)]:
            self.exceptions[other] &= ~bits
            if not self.exceptions[other]:
                del self.exceptions[other]


def access(rules: list[dict[str, Any]] | None) -> Access:
    """What linux.resources.devices together with the implicit rules allows.

    A container starts with nothing allowed. Raises CgroupError for a rule that cannot be.
    """
    result = Access()
    for index, rule in enumerate(rules or ()):
        path = f"{_RULES}[{index}]"
        kind = rule.get("type") or "a"
        bits = _bits(rule, path)
        if kind == "a":
            result.reset(rule["allow"])
        elif kind in _TYPES:
            result.change(rule["allow"], (kind, *_numbers(rule, path)), bits, path)
        else:
            raise CgroupError(f"{path}.type: {kind!r} is not one of a, b, c")
    for kind, major, minor, letters in IMPLICIT:
        result.change(True, (kind, major, minor), _letters(letters), _RULES)
    return result


def v1_writes(rules: list[dict[str, Any]] | None) -> list[tuple[str, str]]:
    """(file, value) pairs in the order in which v1 wants them. Raises CgroupError."""
    target = access(rules)
    first, rest = ("allow", "deny") if target.default else ("deny", "allow")
    writes = [("devices." + first, "a")]
    for device, bits in target.exceptions.items():
        writes.append(("devices." + rest, _line(device, bits)))
    return writes


def _bits(rule: dict[str, Any], path: str) -> int:
    letters = rule.get("access")
    if not letters and (rule.get("type") or "a") == "a":
        return _EVERY
    if not letters or letters.strip("rwm"):
        raise CgroupError(f"{path}.access: {letters!r} is not made of r, w and m")
    return _letters(letters)


def _letters(letters: str) -> int:
    bits = 0
    for letter in letters:
        bits |= BITS[letter]
    return bits


def _numbers(rule: dict[str, Any], path: str) -> tuple[int, int]:
    numbers = []
    for name in ("major", "minor"):
        number = rule.get(name)
        if number is None:
            number = ANY
        elif not ANY <= number < 1 << 32:
            raise CgroupError(f"{path}.{name}: {number} is not a device number")
        numbers.append(number)
    return numbers[0], numbers[1]


def _overlap(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return one[0] == other[0] and all(
        a in (ANY, b) or b == ANY for a, b in zip(one[1:], other[1:], strict=True)
    )


def _within(inner: tuple[str, int, int], outer: tuple[str, int, int]) -> bool:
    return inner[0] == outer[0] and all(
        b in (ANY, a) for a, b in zip(inner[1:], outer[1:], strict=True)
    )


def _line(device: tuple[str, int, int], bits: int) -> str:
    kind, major, minor = device
    letters = "".join(letter for letter in "rwm" if bits & BITS[letter])
    return f"{kind} {_star(major)}:{_star(minor)} {letters}"


def _star(number: int) -> str:
    return "*" if number == ANY else str(number)


def _hole(
    path: str, device: tuple[str, int, int], bits: int, other: tuple[str, int, int], had: int
) -> CgroupError:
    return CgroupError(
        f"{path}: {_line(device, bits)!r} takes a part out of the wildcard rule"
        f" {_line(other, had)!r} (cannot punch hole in it)"
    )


# One eBPF instruction: opcode, registers (source << 4 | destination), offset, immediate.
_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_WORD = 0x61  # r[dst] = *(u32 *)(r[src] + offset)
_MOVE = 0xBF  # r[dst] = r[src]
_MOVE_IMMEDIATE = 0xB7  # r[dst] = immediate
_AND_32 = 0x54  # w[dst] &= immediate
_SHIFT_RIGHT_32 = 0x74  # w[dst] >>= immediate
_JUMP_EQUAL_32 = 0x16  # if w[dst] == immediate
_JUMP_NOT_EQUAL_32 = 0x56  # if w[dst] != immediate
_EXIT = 0x95

_Code = tuple[int, int, int, int]


def program(rules: list[dict[str, Any]] | None) -> bytes:
    """The instructions of a BPF_PROG_TYPE_CGROUP_DEVICE program that has v1's meaning.

    Returns 1 from it for an allowed access, 0 for a refused one. Raises CgroupError.
    """
    target = access(rules)
    codes = _prologue()
    for device, bits in target.exceptions.items():
        codes += _exception(device, bits, target.default)
    codes += _verdict(target.default)
    return b"".join(_INSTRUCTION.pack(*code) for code in codes)


def _prologue() -> list[_Code]:
    """r2 = type, r3 = access, r4 = major, r5 = minor; an access of no bits is let through.

    access(2) with F_OK asks for no bits, and v1 never asks the controller then.
    """
    return [
        (_LOAD_WORD, 0x12, 0, 0),
        (_AND_32, 2, 0, 0xFFFF),
        (_LOAD_WORD, 0x13, 0, 0),
        (_SHIFT_RIGHT_32, 3, 0, 16),
        (_LOAD_WORD, 0x14, 4, 0),
        (_LOAD_WORD, 0x15, 8, 0),
        (_JUMP_NOT_EQUAL_32, 3, 2, 0),
        *_verdict(True),
    ]


def _exception(device: tuple[str, int, int], bits: int, default: bool) -> list[_Code]:
    """Leave with the opposite of the default if the device and its access match."""
    kind, major, minor = device
    tests = [(_JUMP_NOT_EQUAL_32, 2, _TYPES[kind])]
    for register, number in ((4, major), (5, minor)):
        if number != ANY:
            tests.append((_JUMP_NOT_EQUAL_32, register, _signed(number)))
    body = _access_test(bits, default) + _verdict(not default)
    end = len(tests) + len(body)
    jumps = [
        (code, register, end - index - 1, value)
        for index, (code, register, value) in enumerate(tests)
    ]
    return jumps + body


def _access_test(bits: int, default: bool) -> list[_Code]:
    """Skip the verdict (two instructions) unless the access matches.

    To allow, one exception must hold every bit asked for; to refuse, one bit is enough.
    """
    if default:
        return [(_MOVE, 0x31, 0, 0), (_AND_32, 1, 0, bits), (_JUMP_EQUAL_32, 1, 2, 0)]
    if bits == _EVERY:
        return []
    missing = ~bits & _EVERY
    return [(_MOVE, 0x31, 0, 0), (_AND_32, 1, 0, missing), (_JUMP_NOT_EQUAL_32, 1, 2, 0)]


def _verdict(allow: bool) -> list[_Code]:
    return [(_MOVE_IMMEDIATE, 0, 0, int(allow)), (_EXIT, 0, 0, 0)]


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
