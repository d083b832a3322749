"""Become a command for which some system calls do not exist, as on an older kernel.

    python without_calls.py FILTER COMMAND [ARGUMENT...]

FILTER is a program of seccomp(2) in hexadecimal digits, as `words_without` makes it: it answers
the calls with ENOSYS, and every child inherits it. As a program this file imports little, because
it runs before every command of a test.
"""

from __future__ import annotations

import _signal
import ctypes
import os
import sys

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
INSTRUCTION = 8  # bytes of a struct sock_filter
ENOSYS = 38


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def words_without(calls: str) -> list[str]:
    """The words to put before a command for which those calls (with commas) are missing."""
    return [sys.executable, "-IS", os.path.abspath(__file__), filter_without(calls).hex()]


def filter_without(calls: str) -> bytes:
    """A seccomp program that answers those calls with ENOSYS, and allows all others."""
    import tempfile

    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for call in calls.split(","):
        rules.add_rule(pyseccomp.ERRNO(ENOSYS), call)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def load(instructions: bytes) -> None:
    """Put this process under the filter; OSError without the right to do so.

    Root needs no promise of no new privileges, and containers under test may not have made it.
    """
    program = Program(len(instructions) // INSTRUCTION, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")


def main() -> None:
    instructions, command = bytes.fromhex(sys.argv[1]), sys.argv[2:]
    # Python ignores these, and the command would inherit that.
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    load(instructions)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
