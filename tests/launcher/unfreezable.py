"""A process that no freezer can stop: it waits for a lock of a file
system that does not answer.

    unshare -m python3 unfreezable.py DIRECTORY

Prints the pid of that process once it waits, and lets it go at the end of standard input.
The status is 77, with a reason, where no such file system can be mounted.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)


def mount(directory: str) -> int:
    """A FUSE mount whose daemon is whoever reads the descriptor: nobody does."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        print(f"needs /dev/fuse: {error.strerror}")
        sys.exit(77)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if LIBC.mount(b"none", directory.encode(), b"fuse", 0, options) != 0:
        print(f"needs a mount of fuse: {os.strerror(ctypes.get_errno())}")
        sys.exit(77)
    return device


def ask(directory: str, device: int) -> int:
    """The pid of a new process that makes a directory there, once it waits."""
    pid = os.fork()
    if pid == 0:
        try:
            os.close(device)
            os.mkdir(f"{directory}/{os.getpid()}")
        finally:
            os._exit(0)
    end = time.monotonic() + 30
    while not waits(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return pid


def waits(pid: int) -> bool:
    """Whether the process is in a wait that only its end interrupts."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "D"


def main() -> None:
    """Until standard input ends."""
    device = mount(sys.argv[1])
    # Who waits for an answer may be freezable; who waits for the lock that he holds is not.
    asked = [ask(sys.argv[1], device) for _ in range(2)]
    print(asked[1], flush=True)
    # Nobody waits for their end: by then somebody may have frozen them.
    sys.stdin.read()


if __name__ == "__main__":
    main()
