"""pyruntime restore: let a container go on that checkpoint has saved (R296)."""

from __future__ import annotations

from pyruntime.commands import run
from pyruntime.restoration import Restoration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.foreground import Signals
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """The program's exit status, 128 + signal; 0 with --detach."""
    if request.options["detach"]:
        Restoration(request).run().release()
        return 0
    return run.in_foreground(request, _stay)


def _stay(request: Request, signals: Signals) -> int:
    """As `run` does."""
    from pyruntime.foreground import serve

    terminal = run.terminal_of(request)
    container = Restoration(request, terminal.theirs if terminal else -1).run()
    container.release()
    try:
        if terminal is not None:
            terminal.receive()
        return serve(container.pid, signals, terminal)
    finally:
        run.delete(request, container)
