"""Saving a running container as files, by CRIU (R296)."""

from __future__ import annotations

import fcntl
import posix

from pyruntime import deletion, facts, notify, state
from pyruntime.criu import asked, external, images, messages, program
from pyruntime.errors import CgroupError, CriuError, PyruntimeError, StateError, UsageError
from pyruntime.locking import load_locked
from pyruntime.request import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.criu.conversation import Act
    from pyruntime.request import Request

LOG = "dump.log"


class Checkpoint:
    """One checkpoint. If it fails the container goes on as it was."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.options = request.options
        self.pre_dump = bool(request.options["pre_dump"])
        self.stays = self.pre_dump or bool(request.options["leave_running"])
        self.status_fd = int(request.options["status_fd"])
        self.descriptors: list[int] = []

    def run(self) -> None:
        """Save the container, then delete it unless it is to run on.

        Raises StateError, UsageError, CriuError, PyruntimeError.
        """
        asked.check_user()
        identifier = self.request.arguments[0]
        container = load_locked(self.request.root, identifier)
        try:
            if container.status() not in (state.RUNNING, state.PAUSED):
                raise StateError(f"Container cannot be checkpointed in {container.status()} state")
            self._save(container)
        finally:
            for descriptor in self.descriptors:
                posix.close(descriptor)
            container.release()
        if not self.stays:
            for warning in deletion.delete(self.request.root, identifier, True):
                self.request.log.warning(warning)

    def _save(self, container: state.Container) -> None:
        config = container.config()
        self._check(container)
        options = asked.options(self.options, config, LOG)
        options.update(asked.page_server(self.options["page_server"]))
        path = program.find()
        program.check_version(path)
        options.update(self._directories())
        options.update(self._of_container(container, config))
        self._dump(container, path, options)

    def _check(self, container: state.Container) -> None:
        """What CRIU would do by halves, or to us. Raises PyruntimeError, UsageError."""
        if "mount" not in facts.foreign_namespaces(container.pid):
            raise PyruntimeError(
                "a container without a mount namespace of its own cannot be checkpointed"
            )
        if self.options["lazy_pages"] and self.status_fd != -1:
            try:
                flags = fcntl.fcntl(self.status_fd, fcntl.F_GETFL)
            except (OSError, OverflowError):
                raise UsageError(f"invalid --status-fd argument {self.status_fd}") from None
            if not flags & posix.O_ACCMODE:
                raise UsageError(f"invalid --status-fd argument {self.status_fd}: not writable")

    def _directories(self) -> dict[str, Any]:
        """Those for the images and for the log, and the one that the images add to."""
        self.place = absolute(self.options["image_path"] or asked.DEFAULT_IMAGES)
        self.images = self._keep(images.make(self.place))
        self.log_directory, self.log_place = self.images, self.place
        found: dict[str, Any] = {"images_dir_fd": self.images}
        if self.options["work_path"]:
            self.log_place = absolute(self.options["work_path"])
            self.log_directory = self._keep(images.make(self.log_place))
            found["work_dir_fd"] = self.log_directory
        parent = self.options["parent_path"]
        if parent:
            images.check_parent(self.images, self.place, parent)
            found["parent_img"] = parent
        if parent or self.pre_dump:
            found["track_mem"] = True
        return found

    def _keep(self, descriptor: int) -> int:
        self.descriptors.append(descriptor)
        return descriptor

    def _of_container(self, container: state.Container, config: dict[str, Any]) -> dict[str, Any]:
        bundle, rootfs = container.values["bundle"], container.values["rootfs"]
        found: dict[str, Any] = {
            "pid": container.pid,
            "root": rootfs,
            "external": external.saved_namespaces(config, container.pid),
            **{name: True for name in asked.FLAGS_OF_CHECKPOINT if self.options[name]},
        }
        paths = container.values.get("cgroup_paths") or {}
        freezer = paths.get("freezer") or paths.get("")
        if freezer:
            found["freeze_cgroup"] = freezer
        if not self.pre_dump:
            found["ext_mnt"] = external.saved_mounts(config, bundle, rootfs, container.pid)
            if state.exists(container.path(notify.DIRECTORY)):  # it is not in config.json
                point = external.resolve(rootfs, notify.INSIDE)
                found["ext_mnt"].append({"key": point, "val": notify.INSIDE})
            created = container.values.get("external_descriptors") or []
            streams = external.saved_streams(container.pid, created)
            found["external"] += [name for name in streams if name.startswith(external.FILE)]
            images.write_descriptors(self.images, streams)
        return found

    def _dump(self, container: state.Container, path: str, options: dict[str, Any]) -> None:
        frozen = container.cgroup().frozen()
        kind = messages.PRE_DUMP if self.pre_dump else messages.DUMP
        pid, conversation = program.start(path)
        try:
            answer = conversation.ask({"type": kind, "opts": options}, self._acts())
            if not answer.get("success"):
                raise self._failure(answer)
        except BaseException:
            program.end(pid, conversation)
            if not frozen:
                _thaw(container)
            raise
        status = program.end(pid, conversation)
        # After a pre-dump CRIU waits for another request, and takes our leaving for a failure.
        if status and not self.pre_dump:
            raise self._failure(answer)

    def _acts(self) -> dict[str, Act]:
        return {"status-ready": self._tell_ready} if self.status_fd != -1 else {}

    def _tell_ready(self, pid: int, descriptors: list[int]) -> None:
        """Memory can be fetched now: whoever waits for that starts the other side."""
        posix.write(self.status_fd, b"\0")
        posix.close(self.status_fd)

    def _failure(self, answer: dict[str, Any]) -> CriuError:
        errors = images.errors_in(self.log_directory, LOG)
        what = "pre-dump" if self.pre_dump else "dump"
        return asked.failure(what, answer, errors, f"{self.log_place}/{LOG}")


def _thaw(container: state.Container) -> None:
    """CRIU may have been killed while it held the container."""
    try:
        if container.cgroup().frozen():
            container.cgroup().thaw()
    except CgroupError:
        pass  # what went wrong first is to be told
