"""pyruntime create: make a container that waits for start (R36)."""

from __future__ import annotations

from pyruntime.creation import Creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Make the container, print nothing."""
    creation = Creation(request)
    if request.options.get("trace"):
        from pyruntime.trace import Trace

        creation.trace = Trace()
    creation.run().release()
    return 0
