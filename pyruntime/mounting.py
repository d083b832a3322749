"""Changing the mounts of a running container: `mounts add` and `mounts remove`."""

from __future__ import annotations

import posix

from pyruntime import config as configs
from pyruntime import facts as host
from pyruntime import failures, idmapped, processes, semantics, state
from pyruntime.descriptors import close_on_exec
from pyruntime.errors import ConfigError, OperationError, PyruntimeError, StateError
from pyruntime.init_process import InitProcess
from pyruntime.plan import live_mounts
from pyruntime.plan.exec import ExecSettings
from pyruntime.plan.operations import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.builder import Plan

    Mounts = list[dict[str, Any]]

CGROUP_TYPES = ("cgroup", "cgroup2")


class Mounting:
    """A change of the mounts of a container that is there and holds its lock."""

    def __init__(self, container: state.Container) -> None:
        if container.status() in (state.STOPPED, state.CREATING):
            raise StateError("container not running")
        self.container = container
        self.config = container.config()

    def add(self, mounts: Mounts) -> None:
        """Mount all of them in order, or none. Raises OperationError, StateError."""
        settings = self._settings(mounts)
        try:
            settings.descriptors.update(idmapped.open_all(settings))
            init = self._perform(live_mounts.add(settings), settings)
            try:
                self._expect_success(init)
            except OperationError:
                self._take_back(mounts, init)
                raise
            finally:
                init.close()
        finally:
            _close(settings)

    def remove(self, mounts: Mounts) -> None:
        """Unmount what is at their destinations. Raises OperationError, StateError."""
        settings = self._settings(mounts)
        try:
            init = self._perform(live_mounts.remove(settings), settings)
            try:
                self._expect_success(init)
            finally:
                init.close()
        finally:
            _close(settings)

    def _settings(self, mounts: Mounts) -> ExecSettings:
        pidfd = processes.open_pidfd(self.container.pid, self.container.started)
        if pidfd == -1:
            raise StateError("container not running")
        config = {**self.config, "mounts": mounts}
        settings = ExecSettings(config, host.gather(), [])
        settings.descriptors = {"init": pidfd}
        settings.bundle = self.container.values["bundle"]
        settings.rootfs = self.container.values["rootfs"]
        try:
            settings.joins = foreign_namespaces(self.container.pid)
            if "mount" not in settings.joins:
                raise PyruntimeError("the container has no mount namespace of its own")
        except BaseException:
            _close(settings)
            raise
        return settings

    def _perform(self, plan: Plan, settings: ExecSettings) -> InitProcess:
        """Run a plan to its end."""
        init = InitProcess(plan)
        try:
            close_on_exec(3)
            init.spawn(list(settings.descriptors.values()))
            while init.receive():
                pass
        except BaseException:
            init.kill()
            init.close()
            raise
        return init

    def _expect_success(self, init: InitProcess) -> None:
        status = init.reap()
        if init.has_failed():
            raise init.failure()
        if status:
            raise OperationError(f"the init ended early: {failures.wait_status(status)}")

    def _take_back(self, mounts: Mounts, init: InitProcess) -> None:
        """Remove what was attached before the failure."""
        done = [index for index, place in enumerate(_places(mounts)) if place in _attached(init)]
        try:
            if done:
                self.remove([mounts[index] for index in done])
        except PyruntimeError:
            pass  # what failed first is what the caller must hear of


def foreign_namespaces(pid: int) -> list[str]:
    """The types of namespace that a process has and this one is not in.

    Raises StateError if the process is gone.
    """
    try:
        return host.foreign_namespaces(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise StateError("container not running") from None


def destinations(document: object, config: dict[str, Any]) -> Mounts:
    """The mounts of a document of which nothing but the destinations counts.

    `document` is an object with `mounts`, or the array itself; it is checked as a
    part of the container's `config`. Raises ConfigError.
    """
    mounts = document.get("mounts") if isinstance(document, dict) else document
    if not isinstance(mounts, list):
        raise ConfigError([".mounts: missing; it must be a list"])
    checked = configs.checked({**config, "mounts": mounts})
    _refuse(semantics.nul_faults(checked))
    result: Mounts = checked["mounts"]
    return result


def additions(document: object, config: dict[str, Any]) -> Mounts:
    """The mounts of a document, sound in every member. Raises ConfigError."""
    mounts = destinations(document, config)
    _refuse(semantics.faults({**config, "mounts": mounts}))
    _refuse(
        [
            f"{place}.type: a cgroup cannot be mounted in a running container"
            for place, mount in zip(_places(mounts), mounts, strict=True)
            if mount.get("type") in CGROUP_TYPES
        ]
    )
    return mounts


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ConfigError(faults)


def _places(mounts: Mounts) -> list[str]:
    return [f".mounts[{index}]" for index in range(len(mounts))]


def _attached(init: InitProcess) -> set[str]:
    """The places in the config of the mounts that were attached."""
    _, outcomes = init.outcomes()
    return {
        operation.at
        for operation, (_, errno, end) in zip(init.plan.operations, outcomes, strict=True)
        if end and not errno and NAMES[operation.number] == "move_mount"
    }


def _close(settings: ExecSettings) -> None:
    for descriptor in settings.descriptors.values():
        posix.close(descriptor)
    settings.descriptors = {}
