"""Letting a created container run (R37, R53, R54)."""

from __future__ import annotations

import errno
import posix
import select
import struct

from pyruntime import deletion, failures, hooks, processes, state
from pyruntime.errors import HookError, OperationError, PyruntimeError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

REPORT = struct.Struct("<qqq")
REFUSALS = {
    state.RUNNING: "cannot start an already running container",
    state.PAUSED: "cannot start an already running container",
    state.STOPPED: "cannot start a container that has stopped",
    state.CREATING: "cannot start a container that is being created",
}


def start_and_wait(container: state.Container) -> None:
    """`start`, and with NOTIFY_SOCKET wait until the container says that it is ready (R297)."""
    proxy = None
    if posix.environ.get(b"NOTIFY_SOCKET"):
        from pyruntime import notify

        proxy = notify.open_proxy(container)
    try:
        start(container)
        if proxy is not None:
            proxy.wait(container.pid, container.started)
    finally:
        if proxy is not None:
            proxy.close()


def start(container: state.Container) -> None:
    """Release the init, wait until its exec has happened, run the poststart hooks.

    The lock is held until the program runs. Raises StateError without any effect
    unless the container is created, and OperationError, with the container stopped,
    if the exec failed. After a failed hook the container is destroyed, its poststop
    hooks too having run (R40, R54).
    """
    try:
        _start(container)
    except PyruntimeError as error:
        if isinstance(error, HookError) or getattr(error, "path", "").startswith(".hooks"):
            root = container.directory.rpartition("/")[0]
            deletion.delete(root, container.identifier, True)
        raise


def _start(container: state.Container) -> None:
    container.acquire()
    try:
        status = container.status()
        if status in REFUSALS:
            raise StateError(REFUSALS[status])
        config = container.config()
        if not config.get("process"):
            raise StateError("cannot start a container whose config.json has no process")
        _release(container)
    finally:
        container.release()
    _run_poststart(container, config)


def _release(container: state.Container) -> None:
    """Write the byte that the init waits for, and read its report until it is closed."""
    report = posix.open(container.path("report"), posix.O_RDONLY | posix.O_NONBLOCK)
    try:
        _let_go(container)
        data = _read_report(report)
    finally:
        posix.close(report)
    try:
        posix.unlink(container.path("start"))
    except OSError:
        pass  # the program runs; that the init waits no longer is seen by what it executes
    if data:
        tell(container, data)


def tell(container: state.Container, report: bytes) -> NoReturn:
    """Raise the OperationError that the init's report is, once its process has ended."""
    _await_end(container)
    raise _failure(container, report)


def _let_go(container: state.Container) -> None:
    try:
        start = posix.open(container.path("start"), posix.O_WRONLY | posix.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody has it open for reading
            raise StateError(REFUSALS[state.STOPPED]) from None
        raise
    posix.write(start, b".")
    posix.close(start)


def _read_report(report: int) -> bytes:
    """What the init says before it becomes the program, nothing if all went well.

    The end of file comes with exec, for the init's end is close-on-exec, or with its death.
    """
    poll = select.poll()
    poll.register(report, select.POLLIN)
    data = b""
    while True:
        poll.poll()
        try:
            more = posix.read(report, REPORT.size)
        except BlockingIOError:
            continue
        if not more:
            return data
        data += more


def _await_end(container: state.Container) -> None:
    descriptor = processes.open_pidfd(container.pid, container.started)
    if descriptor != -1:
        processes.await_exit(descriptor, 10_000)
        posix.close(descriptor)


def _failure(container: state.Container, data: bytes) -> PyruntimeError:
    index, error_number, detail = REPORT.unpack(data[: REPORT.size])
    tail = container.values.get("tail") or {"first": 0, "operations": []}
    place = index - tail["first"]
    if not 0 <= place < len(tail["operations"]):
        return OperationError(f"init: operation {index}: {failures.reason(error_number)}")
    number, at, subject = tail["operations"][place]
    arguments: Any = (subject, [subject])
    name = failures.name_of(number)
    return failures.describe(name, at, arguments, error_number, detail)


def _run_poststart(container: state.Container, config: dict[str, Any]) -> None:
    """A failing poststart hook stops the container (R54, since 1.3)."""
    wanted = (config.get("hooks") or {}).get("poststart") or []
    if not wanted:
        return
    try:
        hooks.run("poststart", wanted, container.oci_state(state.RUNNING))
    except PyruntimeError:
        descriptor = processes.open_pidfd(container.pid, container.started)
        if descriptor != -1:
            processes.send(descriptor, 9)
            processes.await_exit(descriptor, 10_000)
            posix.close(descriptor)
        raise
