"""A container with its lock, for the commands that change a living one."""

from __future__ import annotations

from pyruntime import state


def load_locked(root: str, identifier: str) -> state.Container:
    """The container with its lock taken, its state read after that.

    One that is still being created comes without the lock: its create holds it, and may
    be waiting for a hook that called us. Raises StateError if it does not exist.
    """
    container = state.load(root, identifier)
    if container.status() == state.CREATING:
        return container
    container.acquire()
    try:
        container.values = state.load(root, identifier).values
    except BaseException:
        container.release()
        raise
    return container
