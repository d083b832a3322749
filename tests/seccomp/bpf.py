"""A small machine for seccomp's classic BPF: says what a filter program would answer.

It knows the instructions that libseccomp and pyruntime write and refuses all others,
jumps out of the program and loads from outside struct seccomp_data, as the kernel does.
"""

from __future__ import annotations

import struct

DATA_SIZE = 64  # struct seccomp_data


class Answer:
    """What a program returned, and after how many instructions."""

    def __init__(self, value: int, steps: int) -> None:
        self.value = value
        self.steps = steps


def seccomp_data(architecture: int, number: int, arguments: tuple[int, ...] = ()) -> bytes:
    """Return struct seccomp_data as the kernel fills it; `architecture` is AUDIT_ARCH_*."""
    values = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    return struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *values)


def run(program: bytes, data: bytes) -> Answer:
    """Run a program on one system call."""
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = position = steps = 0
    while True:
        operation, if_true, if_false, operand = code[position]
        position += 1
        steps += 1
        if operation == 0x06:
            return Answer(operand, steps)
        if operation == 0x20:
            assert operand % 4 == 0 and operand < DATA_SIZE, f"load from {operand}"
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x05:
            position += operand
        else:
            position += if_true if _holds(operation, accumulator, operand) else if_false
        assert position < len(code), "jump out of the program"


def _holds(operation: int, accumulator: int, operand: int) -> bool:
    if operation == 0x15:
        return accumulator == operand
    if operation == 0x25:
        return accumulator > operand
    if operation == 0x35:
        return accumulator >= operand
    if operation == 0x45:
        return bool(accumulator & operand)
    raise AssertionError(f"unknown instruction {operation:#x}")
