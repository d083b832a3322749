"""pyruntime start: run the program of a created container (R37)."""

from __future__ import annotations

from pyruntime import starting, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Return once the program runs."""
    starting.start_and_wait(state.load(request.root, request.arguments[0]))
    return 0
