"""pyruntime resume: let the processes of a paused container run again."""

from __future__ import annotations

from pyruntime import state
from pyruntime.errors import StateError
from pyruntime.locking import load_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Thaw a paused container; any other is refused."""
    container = load_locked(request.root, request.arguments[0])
    try:
        if container.status() != state.PAUSED:
            raise StateError("container not paused")
        container.cgroup().thaw()
    finally:
        container.release()
    return 0
