"""Removing a container and everything that create made (R39, R307)."""

from __future__ import annotations

import posix
import time

from pyruntime import hooks, processes, state
from pyruntime.errors import CorruptState, PyruntimeError, StateError, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 10.0  # seconds until a killed process, or another command, must be gone


def delete(root: str, identifier: str, force: bool) -> list[str]:
    """Delete a container; what failed in its poststop hooks is returned.

    A stopped or created one, any with `force`. Raises StateError otherwise.
    """
    if force:
        state.sweep(root, identifier)
    try:
        container = state.load(root, identifier)
    except UnknownContainer:
        if force:
            return []
        raise
    except CorruptState as error:
        if not force:
            raise
        return _delete_torn(root, identifier, error)
    try:
        _take(container, force)
    except UnknownContainer:
        if force:
            return []
        raise
    try:
        return _delete(container, force)
    finally:
        container.release()


def _take(container: state.Container, force: bool) -> None:
    """The lock; with force, from a command that may itself wait for the container's process."""
    if not force:
        container.acquire()
        return
    deadline = time.monotonic() + PATIENCE
    while not container.acquire(wait=False):
        container.cgroup().kill()
        _end_creator(container)
        if time.monotonic() > deadline:
            raise StateError(f"another command still works on container {container.identifier}")
        time.sleep(0.01)


def _end_creator(container: state.Container) -> None:
    """End a create that is still at it, perhaps in a hook that never ends; the rest is ours."""
    pid, started = container.values.get("creator") or (0, 0)
    descriptor = processes.open_pidfd(pid, started) if pid else -1
    if descriptor != -1:
        processes.send(descriptor, 9)
        processes.await_exit(descriptor, int(PATIENCE * 1000))
        posix.close(descriptor)


def _delete(container: state.Container, force: bool) -> list[str]:
    container.values = state.load(_root(container), container.identifier).values
    status = container.status()
    if not force and status not in (state.STOPPED, state.CREATED, state.CREATING):
        raise StateError(
            f"cannot delete container {container.identifier} that is not stopped: {status}"
        )
    _stop(container)
    wanted = _poststop_hooks(container, force)
    container.cgroup().delete()
    if container.values.get("resctrl_made"):
        from pyruntime import resctrl

        resctrl.remove(container.values["resctrl_made"])
    container.remove()
    return hooks.run_all("poststop", wanted, container.oci_state(state.STOPPED, 0))


def _stop(container: state.Container) -> None:
    """Kill what is left: the first process, and those that share the host's pid namespace."""
    descriptor = processes.open_pidfd(container.pid, container.started) if container.pid else -1
    cgroup = container.cgroup()
    if descriptor != -1:
        processes.send(descriptor, 9)
        if cgroup.frozen():
            cgroup.thaw()
    if cgroup.processes():
        cgroup.kill()
    if descriptor != -1:
        gone = processes.await_exit(descriptor, int(PATIENCE * 1000))
        posix.close(descriptor)
        if not gone:
            raise StateError("container init still running: it does not die, perhaps in the kernel")


def _poststop_hooks(container: state.Container, force: bool) -> list[dict[str, Any]]:
    try:
        config = container.config()
    except PyruntimeError:
        if force:
            return []
        raise
    wanted: list[dict[str, Any]] = (config.get("hooks") or {}).get("poststop") or []
    return wanted


def _delete_torn(root: str, identifier: str, error: CorruptState) -> list[str]:
    """state.json is missing or damaged: remove the directory, that the id can be used again.

    Nothing is known of processes and cgroups, and nobody is killed on a guess.
    """
    container = state.Container(root, identifier, {})
    place = _cgroup_by_config(container)
    container.remove()
    return [f"{error}: its directory is removed; processes may be left in the cgroup {place}"]


def _cgroup_by_config(container: state.Container) -> str:
    from pyruntime.cgroups.paths import cgroup_path

    try:
        return cgroup_path(container.config(), container.identifier)
    except PyruntimeError:
        return "/" + container.identifier


def _root(container: state.Container) -> str:
    return container.directory.rpartition("/")[0]
