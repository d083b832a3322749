"""pyruntime pause: stop every process of a container where it is."""

from __future__ import annotations

from pyruntime import state
from pyruntime.errors import StateError
from pyruntime.locking import load_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Return once nothing of the container runs any more."""
    container = load_locked(request.root, request.arguments[0])
    try:
        if container.status() not in (state.CREATED, state.RUNNING):
            raise StateError("container not running")
        container.cgroup().freeze()
    finally:
        container.release()
    return 0
