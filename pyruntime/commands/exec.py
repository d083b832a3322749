"""pyruntime exec: run one more process in a container (R291)."""

from __future__ import annotations

from pyruntime.exec_process import Execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """The process's exit status, 128 + signal; with --detach 0 as soon as it runs."""
    execution = Execution(request)
    if request.options.get("detach"):
        execution.run()
        return 0
    return _stay(execution)


def _stay(execution: Execution) -> int:
    from pyruntime.foreground import Signals, Terminal, serve

    signals = Signals()
    signals.catch()
    try:
        terminal = Terminal() if execution.process.get("terminal") else None
        return serve(execution.run(terminal), signals, terminal)
    finally:
        signals.release()
