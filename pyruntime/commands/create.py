"""pyruntime create: make a container that waits for start (R36)."""

from __future__ import annotations

from pyruntime.creation import Creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Make the container, print nothing."""
    Creation(request).run().release()
    return 0
