"""pyruntime mounts: add mounts to a running container, and remove them (as crun has it)."""

from __future__ import annotations

from pyruntime import documents, mounting
from pyruntime.commands.update import read
from pyruntime.errors import ConfigError, PyruntimeError, UsageError
from pyruntime.locking import load_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyruntime.request import Request

    Check = Callable[[object, dict[str, Any]], mounting.Mounts]

ACTIONS = ("add", "remove")


def execute(request: Request) -> int:
    """`add ID FILE` or `remove ID FILE`. Raises UsageError, StateError, OperationError."""
    action, identifier, path = request.arguments
    if action not in ACTIONS:
        raise UsageError(f"mounts: {action!r} is neither add nor remove")
    container = load_locked(request.root, identifier)
    try:
        change = mounting.Mounting(container)
        if action == "add":
            change.add(_load(path, change.config, mounting.additions))
        else:
            change.remove(_load(path, change.config, mounting.destinations))
    finally:
        container.release()
    return 0


def _load(path: str, config: dict[str, Any], check: Check) -> mounting.Mounts:
    """The mounts that a file asks for. Raises PyruntimeError with every fault."""
    text = read(path)
    try:
        return check(documents.loads(text), config)
    except documents.DocumentError as error:
        raise PyruntimeError(f"{path}: {error}") from None
    except ConfigError as error:
        raise PyruntimeError(f"{path}: " + "; ".join(error.faults)) from None
