"""Become a command for which some system calls do not exist, as on an older kernel.

    python without_calls.py CALL[,CALL...] COMMAND [ARGUMENT...]

A seccomp filter answers those calls with ENOSYS, and every child inherits it.
"""

from __future__ import annotations

import errno
import os
import sys

import pyseccomp


def main() -> None:
    calls, command = sys.argv[1].split(","), sys.argv[2:]
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # Root needs no such promise, and containers under test may not have made it.
    rules.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    for call in calls:
        rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), call)
    rules.load()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
