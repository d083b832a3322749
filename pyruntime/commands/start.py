"""pyruntime start: run the program of a created container (R37)."""

from __future__ import annotations

import posix

from pyruntime import starting, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request

REPORT = b"PYRUNTIME_REPORT"


def execute(request: Request) -> int:
    """Return once the program runs."""
    container = state.load(request.root, request.arguments[0])
    report = posix.environ.get(REPORT)
    if report:  # the launcher has released the init, and this came of it
        starting.tell(container, bytes.fromhex(report.decode()))
    starting.start_and_wait(container)
    return 0
