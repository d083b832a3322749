"""pyruntime kill: send a signal to a container's first process (R38)."""

from __future__ import annotations

import posix

from pyruntime import processes, signals, state
from pyruntime.errors import StateError
from pyruntime.matching import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request

SIGKILL = 9
DEFAULT = "SIGTERM"


def execute(request: Request) -> int:
    """Send the signal; to every process of the cgroup with --all."""
    arguments = request.arguments
    signal = signals.number(arguments[1] if len(arguments) > 1 else DEFAULT)
    for container in each(request):
        kill(container, signal, bool(request.options.get("all")))
    return 0


def kill(container: state.Container, signal: int, everybody: bool = False) -> None:
    """Signal one container. Raises StateError "container not running".

    Without a pid namespace of its own, the end of the first process would leave
    the others, so SIGKILL goes to all of them, as runc has it.
    """
    descriptor = processes.open_pidfd(container.pid, container.started) if container.pid else -1
    if everybody or (signal == SIGKILL and not _has_pid_namespace(container)):
        _signal_everybody(container, signal)
        if everybody or descriptor != -1:
            _close(descriptor)
            return
    if descriptor == -1 or not processes.send(descriptor, signal):
        _close(descriptor)
        raise StateError("container not running")
    _close(descriptor)
    if signal == SIGKILL and container.cgroup().frozen():
        container.cgroup().thaw()  # on v1 a frozen process dies only when it is thawed


def _signal_everybody(container: state.Container, signal: int) -> None:
    cgroup = container.cgroup()
    if signal == SIGKILL:
        cgroup.kill()  # one write of cgroup.kill, which nobody escapes by forking
    else:
        cgroup.signal(signal)


def _close(descriptor: int) -> None:
    if descriptor != -1:
        posix.close(descriptor)


def _has_pid_namespace(container: state.Container) -> bool:
    return bool(container.values.get("own_pids"))
