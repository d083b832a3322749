"""The init as the host side sees it: started sealed, spoken with, and its results read."""

from __future__ import annotations

import _socket
import fcntl
import posix
import struct
import sys

from pyruntime import failures
from pyruntime.errors import OperationError, PyruntimeError
from pyruntime.plan.encode import OUTCOME, RESULTS_HEADER, encode, results_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.builder import Plan
    from pyruntime.plan.operation import Operation

F_ADD_SEALS = 1033
SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE
MFD_CLOEXEC = 1
MFD_ALLOW_SEALING = 2
MESSAGE = struct.Struct("<IIq")
CLONED = 1
BAD_PLAN = 2  # STATUS_BAD_PLAN of init.c
BEFORE_CLONE = (2, 7)  # what the parent asks for: the id maps, and the cgroup
IMAGE = __file__.rpartition("/")[0] + "/init/pyruntime-init"


class InitProcess:
    """A started init: `outer` is the pid of the process that makes the namespaces,
    `pid` that of the container's first process once it is cloned (0 before),
    `value` what came with the last message.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outer = 0
        self.pid = 0
        self.results = -1
        self.early: list[tuple[int, int]] = []
        self.value = 0
        self.socket: _socket.socket | None = None

    def spawn(self, inherited: list[int]) -> None:
        """Start the init with its plan and with the descriptors that the plan names.

        The program is a sealed copy in memory, so nobody who gets hold of
        /proc/PID/exe can change what the next container runs (CVE-2019-5736).
        """
        image = sealed("pyruntime-init", _read_image())
        plan = sealed("plan", encode(self.plan.operations, len(self.plan.slots), _injected()))
        self.results = posix.memfd_create("results", MFD_CLOEXEC)
        # Written, not truncated to size: these pages are to be charged to the host.
        posix.write(self.results, _empty_results(self.plan.operations))
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.socket = ours
        numbers = [plan, self.results, theirs.fileno()]
        for descriptor in (*numbers, *inherited):
            posix.set_inheritable(descriptor, True)
        self._start(image, numbers)
        for descriptor in (*numbers[:2], *inherited):
            posix.set_inheritable(descriptor, False)
        theirs.close()
        posix.close(plan)
        posix.close(image)

    def _start(self, image: int, numbers: list[int]) -> None:
        arguments = ["pyruntime-init", *map(str, numbers)]
        path = f"/proc/self/fd/{image}"
        self.outer = posix.posix_spawn(path, arguments, {})

    def receive(self) -> int:
        """The kind of the next message, 0 when the init has left. Notes the pid of the clone.

        Two processes write to the socket: the child's first message may come before
        its parent's word of the child's pid, and is kept back until then.
        """
        if self.early and self.pid:
            kind, self.value = self.early.pop(0)
            return kind
        kind, value = self._read()
        self.value = value
        if kind == CLONED:
            self.pid = value
            posix.waitpid(self.outer, 0)
            self.outer = 0
        elif kind and not self.pid and kind not in BEFORE_CLONE:
            self.early.append((kind, value))
            return self.receive()
        return kind

    def receive_before_clone(self) -> int:
        """The kind of the next message of an init that clones nothing, 0 when it has left."""
        return self._read()[0]

    def _read(self) -> tuple[int, int]:
        assert self.socket is not None
        try:
            data = self.socket.recv(MESSAGE.size)
        except ConnectionResetError:
            return 0, 0
        if len(data) < MESSAGE.size:
            return 0, 0
        kind, _, value = MESSAGE.unpack(data)
        return kind, value

    def answer(self) -> None:
        """Let the init go on after a sync."""
        assert self.socket is not None
        try:
            self.socket.send(b".")
        except (BrokenPipeError, ConnectionResetError):
            raise self.failure() from None

    def failure(self) -> PyruntimeError:
        """Why the init left, from its results. It is reaped."""
        status = self.reap()
        header = RESULTS_HEADER.unpack(posix.pread(self.results, RESULTS_HEADER.size, 0))
        _, index, errno, detail = header
        if index < 0:
            return OperationError(f"the container's init ended early: {_ending(status)}")
        operation = self.plan.operations[index]
        name = failures.name_of(operation.number)
        return failures.describe(name, operation.at, operation.arguments, errno, detail)

    def has_failed(self) -> bool:
        """Did an operation fail? Known once the socket has been closed at the other end."""
        header = posix.pread(self.results, RESULTS_HEADER.size, 0)
        return bool(RESULTS_HEADER.unpack(header)[1] >= 0)

    def reap(self) -> int:
        """Wait for whichever process is left; its wait status."""
        status = 0
        for pid in (self.outer, self.pid):
            if pid:
                try:
                    status = posix.waitpid(pid, 0)[1]
                except ChildProcessError:
                    continue
        self.outer = 0
        return status

    def kill(self) -> None:
        """End and reap it."""
        for pid in (self.outer, self.pid):
            if pid:
                try:
                    posix.kill(pid, 9)
                except ProcessLookupError:
                    continue
        self.reap()

    def close(self) -> None:
        """Close the socket and the results."""
        if self.socket is not None:
            self.socket.close()
        if self.results != -1:
            posix.close(self.results)
            self.results = -1

    def outcomes(self) -> tuple[int, list[tuple[int, int, int]]]:
        """When the init began (ns, CLOCK_MONOTONIC), and (value, errno, end) of each operation.

        The end of an operation that was not reached, or that came after a seccomp filter, is 0.
        """
        content = posix.pread(self.results, results_size(self.plan.operations), 0)
        begin = RESULTS_HEADER.unpack_from(content)[0]
        rows = []
        for index in range(len(self.plan.operations)):
            offset = RESULTS_HEADER.size + index * OUTCOME.size
            value, errno, _, end = OUTCOME.unpack_from(content, offset)
            rows.append((value, errno, end))
        return begin, rows


def sealed(name: str, content: bytes) -> int:
    """A file in memory with that content, which nobody can change any more."""
    try:
        descriptor = posix.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)
    except OSError as error:
        raise failures.refusal("memfd_create", error) from None
    posix.write(descriptor, content)
    fcntl.fcntl(descriptor, F_ADD_SEALS, SEALS)
    return descriptor


def _read_image() -> bytes:
    try:
        descriptor = posix.open(IMAGE, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PyruntimeError(f"{IMAGE} is missing; `make build` makes it") from error
    try:
        return posix.read(descriptor, 1 << 20)
    finally:
        posix.close(descriptor)


def _empty_results(operations: list[Operation]) -> bytes:
    return RESULTS_HEADER.pack(0, -1, 0, 0) + bytes(OUTCOME.size * len(operations))


def _injected() -> tuple[int, int]:
    """For tests only: PYRUNTIME_FAIL=INDEX:ERRNO makes that operation fail."""
    value = posix.environ.get(b"PYRUNTIME_FAIL")
    if not value:
        return -1, 0
    index, _, errno = value.decode().partition(":")
    return int(index), int(errno)


def _ending(status: int) -> str:
    if status & 0x7F == 9:
        return "killed by signal 9 (the memory limit may be too small for it)"
    if status >> 8 == BAD_PLAN:
        return "it could not read its plan (a seccomp filter around the runtime may be too narrow)"
    return failures.wait_status(status)


if sys.byteorder != "little":
    raise ImportError("plans are little endian; so must the machine be")
