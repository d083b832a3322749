"""A small interpreter for the eBPF instructions that a device program consists of."""

from __future__ import annotations

import struct

MASK = (1 << 32) - 1


def run(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """What the program returns for one access, given as the kernel gives it."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    instructions = list(struct.iter_unpack("<BBhi", code))
    registers = {1: -1}
    at = 0
    while True:
        opcode, pair, offset, immediate = instructions[at]
        target, source = pair & 15, pair >> 4
        at += 1
        if opcode == 0x61:
            assert registers[source] == -1, "reads memory that is not the context"
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif opcode == 0xBF:
            registers[target] = registers[source]
        elif opcode == 0xB7:
            registers[target] = immediate
        elif opcode == 0x54:
            registers[target] = registers[target] & immediate & MASK
        elif opcode == 0x74:
            registers[target] = (registers[target] & MASK) >> immediate
        elif opcode in (0x16, 0x56):
            assert offset >= 0, "jumps back"
            equal = registers[target] & MASK == immediate & MASK
            if equal == (opcode == 0x16):
                at += offset
        elif opcode == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"unknown opcode {opcode:#x}")
