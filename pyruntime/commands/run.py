"""pyruntime run: create and start a container, and stay with it unless told not to."""

from __future__ import annotations

import posix

from pyruntime import deletion, starting, state
from pyruntime.creation import Creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyruntime.foreground import Signals, Terminal
    from pyruntime.notify import Proxy
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """The program's exit status, 128 + signal; 0 with --detach."""
    if request.options.get("detach"):
        _start(request, Creation(request).run(), starting.start_and_wait)
        return 0
    return in_foreground(request, _stay)


def in_foreground(request: Request, stay: Callable[[Request, Signals], int]) -> int:
    """Stay with a container while signals are caught, to be passed on; what `stay` returns."""
    from pyruntime.foreground import Signals

    signals = Signals()
    signals.catch()
    try:
        return stay(request, signals)
    finally:
        signals.release()


def _stay(request: Request, signals: Signals) -> int:
    from pyruntime.foreground import serve

    terminal = terminal_of(request)
    container = Creation(request, terminal.theirs if terminal else -1).run()
    if terminal is not None:
        terminal.receive()
    proxy = _proxy(container)
    _start(request, container, starting.start)
    try:
        return serve(container.pid, signals, terminal, proxy)
    finally:  # whatever happens here, nobody else would look after the container
        if not request.options.get("keep"):
            delete(request, container)


def terminal_of(request: Request) -> Terminal | None:
    """The runtime's own terminal, if the config asks for one."""
    from pyruntime import config as configs
    from pyruntime.foreground import Terminal

    bundle, path = request.options.get("bundle") or ".", request.options.get("config") or None
    document = configs.load(bundle, path).document
    wanted = (document.get("process") or {}).get("terminal")
    return Terminal() if wanted and not request.options.get("console_socket") else None


def _proxy(container: state.Container) -> Proxy | None:
    """The socket for the container's readiness, if a service manager asks for it (R297)."""
    if not posix.environ.get(b"NOTIFY_SOCKET"):
        return None
    from pyruntime import notify

    return notify.open_proxy(container)


def _start(
    request: Request, container: state.Container, start: Callable[[state.Container], None]
) -> None:
    """Start it; if that fails, nothing is left of it (R1)."""
    container.release()
    try:
        start(container)
    except BaseException:
        delete(request, container)
        raise


def delete(request: Request, container: state.Container) -> None:
    """Delete the container, whatever it does; what goes wrong is a warning."""
    for warning in deletion.delete(request.root, container.identifier, True):
        request.log.warning(warning)
