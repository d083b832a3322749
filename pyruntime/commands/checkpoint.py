"""pyruntime checkpoint: save a running container as files (R296)."""

from __future__ import annotations

from pyruntime.checkpointing import Checkpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Save it, print nothing."""
    Checkpoint(request).run()
    return 0
