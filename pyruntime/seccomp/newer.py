"""ENOSYS for system calls that a profile cannot have known (R240): pure BPF, no libseccomp.

A C library tries the newest system call first and falls back on ENOSYS. Under a
profile older than the call it would get the default action, EPERM or death, and not
fall back. So a prefix of the program answers ENOSYS to every number above the
greatest one that the profile names for that architecture.
"""

from __future__ import annotations

import errno
import struct

from pyruntime.seccomp.names import ARCHITECTURES, ERRNO

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP = 0x05  # BPF_JMP | BPF_JA
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_GREATER_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER_OFFSET = 0  # struct seccomp_data.nr
_ARCHITECTURE_OFFSET = 4  # struct seccomp_data.arch

_X86_64 = ARCHITECTURES["SCMP_ARCH_X86_64"]
_X32 = ARCHITECTURES["SCMP_ARCH_X32"]
_ARM = ARCHITECTURES["SCMP_ARCH_ARM"]
_X32_BIT = 0x40000000
_ARM_PRIVATE = 0x0F0000
_LAST = 0xFFFFFFFF


def private_floor(token: int) -> int:
    """Return the number from which on an architecture's calls are not in order of age.

    32-bit ARM has calls of its own at 0x0f0000 (cacheflush, set_tls): they say nothing
    about how new a profile is. Numbers with bit 30 belong to x32 on x86-64.
    """
    return {_X86_64: _X32_BIT, _ARM: _ARM_PRIVATE}.get(token, _LAST + 1)


def greatest(token: int, numbers: list[int]) -> int:
    """Return the newest of the numbers on an architecture; -1 if none counts.

    Negative numbers are libseccomp's for calls which that architecture does not have.
    """
    floor = private_floor(token)
    return max((number for number in numbers if 0 <= number < floor), default=-1)


def prefix(limits: dict[int, int]) -> bytes:
    """Return the instructions to put before a filter program.

    `limits` maps an architecture's libseccomp token to the greatest number its profile
    names; -1 leaves the architecture as it is. What is not answered with ENOSYS runs
    on into the program behind.
    """
    ranges = _ranges(limits)
    blocks = [_block(architecture, ranges[architecture]) for architecture in ranges]
    if not blocks:
        return b""
    following = sum(len(block) + 1 for block in blocks)
    instructions = [_instruction(_LOAD, _ARCHITECTURE_OFFSET)]
    for block in blocks:
        following -= len(block) + 1
        instructions += [*block, _instruction(_JUMP, following)]
    return b"".join(instructions)


def _ranges(limits: dict[int, int]) -> dict[int, list[tuple[int, int]]]:
    """Return the numbers to refuse, first and last, by what the kernel calls the architecture."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    for token, newest in limits.items():
        if newest >= 0:
            last = private_floor(token) - 1
            audit = _X86_64 if token == _X32 else token
            ranges.setdefault(audit, []).append((newest + 1, last))
    return ranges


def _block(architecture: int, ranges: list[tuple[int, int]]) -> list[bytes]:
    refuse = ERRNO | errno.ENOSYS
    block = [_instruction(_LOAD, _NUMBER_OFFSET)]
    for first, last in ranges:
        block += [
            _instruction(_JUMP_GREATER_EQUAL, first, 0, 2),
            _instruction(_JUMP_GREATER, last, 1, 0),
            _instruction(_RETURN, refuse),
        ]
    # Past the block and the jump behind it: the next block finds the architecture loaded.
    return [_instruction(_JUMP_EQUAL, architecture, 0, len(block) + 1), *block]


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
