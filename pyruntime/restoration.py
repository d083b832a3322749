"""Making a container from a checkpoint, by CRIU: every step, and how each is undone (R296).

What create does around its init is done here around criu: the directory, the cgroup and its
limits, the hooks, the pid file. The processes, with their namespaces, mounts and rights, come
from the images.
"""

from __future__ import annotations

import _socket
import posix
import struct

from pyruntime import config as configs
from pyruntime import failures, hooks, notify, processes, state, stored
from pyruntime.cgroups.directory import read_text
from pyruntime.cgroups.layout import own_paths
from pyruntime.creation import Creation
from pyruntime.criu import asked, external, images, messages, program
from pyruntime.criu.conversation import Conversation
from pyruntime.descriptors import check_console, close_on_exec
from pyruntime.errors import CriuError, OperationError, PyruntimeError
from pyruntime.init_process import InitProcess
from pyruntime.plan import mounts, namespaces
from pyruntime.plan import restore as plans
from pyruntime.request import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.request import Request

LOG = "restore.log"
MASTER_NAME = b"/dev/ptmx"


class Restoration(Creation):
    """One restore, from the images to processes that run."""

    def __init__(self, request: Request, terminal: int = -1) -> None:
        super().__init__(request, terminal)
        self.kept: list[int] = []
        self.given: list[str] = []  # types of the namespaces that criu gets as descriptors
        self.console = -1
        self.conversation: Conversation | None = None

    def _run(self) -> state.Container:
        asked.check_user()
        state.check_identifier(self.identifier)
        self._take_paths()
        loaded = configs.load(self.bundle, None)
        self.settings = self._settings(loaded.document)
        self._check_terminal()
        options = asked.options(self.request.options, self.settings.config, LOG)
        criu = program.find()
        program.check_version(criu)
        options.update(self._directories())
        self.container = state.new(self.request.root, self.identifier, self._values())
        state.write_atomically(self.container.path("config.json"), loaded.text, 0o600)
        for name in (plans.ROOT, plans.SOURCES, notify.DIRECTORY):
            posix.mkdir(self.container.path(name), 0o755)
        self._plan_cgroup()
        if self.settings.process.get("terminal"):
            self.console = self._console()
        options.update(self._of_container())
        self._become_criu(criu, options)
        options["cg_root"] = self._cgroup_roots()
        self._restore(options)
        self._finish_restored(self.container)
        return self.container

    # --- what is asked for ------------------------------------------------------

    def _take_paths(self) -> None:
        """Those of CRIU's directories count from where the caller is, too."""
        options = self.request.options
        options["image_path"] = absolute(options["image_path"] or asked.DEFAULT_IMAGES)
        if options["work_path"]:
            options["work_path"] = absolute(options["work_path"])
        super()._take_paths()

    def _filter(self, config: dict[str, Any]) -> Any:
        """The filters of the processes are in the images."""
        return None

    def _proxy_notifications(self, settings: Any) -> None:
        """The container has said long ago that it is ready."""

    def _check_terminal(self) -> None:
        if self.terminal == -1:
            wanted = bool(self.settings.process.get("terminal"))
            check_console(wanted, self.request.options["console_socket"])

    def _directories(self) -> dict[str, Any]:
        path = self.request.options["image_path"]
        saved = self._keep(images.open_saved(path))
        self.streams = images.read_descriptors(saved, path)
        self.log_directory, self.log_place = saved, path
        if self.request.options["work_path"]:
            self.log_place = self.request.options["work_path"]
            self.log_directory = self._keep(images.make(self.log_place))
        return {"images_dir_fd": saved, "work_dir_fd": self.log_directory}

    def _keep(self, descriptor: int) -> int:
        self.kept.append(descriptor)
        return descriptor

    def _of_container(self) -> dict[str, Any]:
        assert self.container is not None
        mounted = external.restored_mounts(self.settings, self.container.directory)
        mounted.append({"key": notify.INSIDE, "val": self.container.path(notify.DIRECTORY)})
        found: dict[str, Any] = {
            "evasive_devices": True,
            "rst_sibling": True,
            # The newer way of CRIU's wants mounts of one peer group to lie in each other on the
            # host, too; the prepared sources do not.
            "mntns_compat_mode": True,
            "root": self.container.path(plans.ROOT),
            "ext_mnt": mounted,
            "inherit_fd": self._inherited_streams(),
            "join_ns": [],
        }
        for name in ("lsm_profile", "lsm_mount_context"):
            if self.request.options[name]:
                found[name] = self.request.options[name]
        self._pass_namespaces(found)
        self._map_owners()
        return found

    def _inherited_streams(self) -> list[dict[str, Any]]:
        """Pipes and files of the host that the standard streams were: now they are ours."""
        return [
            {"key": name, "fd": number}
            for number, name in enumerate(self.streams[:3])
            if name.startswith((external.PIPE, external.FILE))
        ]

    def _pass_namespaces(self, found: dict[str, Any]) -> None:
        """Those that are given by path: as descriptors, or by the path."""
        for kind, path in external.namespace_paths(self.settings.config).items():
            if kind in external.BY_NAME:
                number = plans.NAMESPACES + len(self.given)
                found["inherit_fd"].append({"key": external.BY_NAME[kind], "fd": number})
                self.inherited["namespace " + kind] = _open_namespace(path, kind)
                self.given.append(kind)
            elif kind in external.JOINED:
                found["join_ns"].append({"ns": external.JOINED[kind], "ns_file": path})
            else:
                raise PyruntimeError(
                    f"linux.namespaces: CRIU cannot restore into a {kind} namespace that exists"
                )

    def _map_owners(self) -> None:
        """User namespaces for idmapped mounts, and for the images."""
        mapped = any(mounts.idmapped(mount) for mount in self.settings.config.get("mounts") or ())
        if not mapped and not self.settings.is_new("user"):
            return
        from pyruntime import idmapped

        self.inherited.update(idmapped.open_all(self.settings))
        if self.settings.is_new("user"):
            images.let_group_read(self.kept[0], self.request.options["image_path"])
            maps = image_maps(self.settings.linux)
            self.inherited[plans.IMAGES_OWNER] = idmapped.make_namespace(maps, self.facts)

    # --- criu --------------------------------------------------------------------

    def _become_criu(self, criu: str, options: dict[str, Any]) -> None:
        """Start criu by way of an init, which prepares the mounts and waits for the cgroup."""
        assert self.container is not None
        ours, theirs = program.pair()
        self.conversation = Conversation(ours)
        self.settings.descriptors = {"criu": theirs.fileno(), **self.inherited}
        environment = [
            (name + b"=" + value).decode("utf-8", "surrogateescape")
            for name, value in program.environment().items()
        ]
        place, images_path = self.container.directory, self.request.options["image_path"]
        plan = plans.restore(self.settings, place, images_path, criu, environment, self.given)
        self.init = InitProcess(plan)
        close_on_exec(3)
        self.init.spawn(list(self.settings.descriptors.values()))
        theirs.close()
        while kind := self.init.receive_before_clone():
            if kind == namespaces.SYNC_DIRECTORIES:
                self._make_cgroup()
                self._make_rdt_class()
                self._apply_limits()
            else:
                self._reopen(options, self.init.outer)
                self._enter_cgroup(self.init.outer)
            self.init.answer()
        if self.init.has_failed():
            raise failures.name_destination(self.init.failure(), self.settings.config)

    def _reopen(self, options: dict[str, Any], pid: int) -> None:
        """CRIU mounts in its working directory, which must be one of its own mount namespace."""
        assert self.container is not None
        for name in ("images_dir_fd", "work_dir_fd"):
            place = posix.readlink(f"/proc/self/fd/{options[name]}")
            if name == "images_dir_fd" and plans.IMAGES_OWNER in self.inherited:
                place = plans.images_place(self.container.directory)
            before = posix.fstat(options[name])
            options[name] = self._keep(posix.open(f"/proc/{pid}/root{place}", images.FLAGS))
            after = posix.fstat(options[name])
            if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
                raise PyruntimeError(f"{place}: was moved meanwhile")

    def _enter_cgroup(self, pid: int) -> None:
        assert self.cgroup is not None
        self.cgroup.join(pid)
        if self.allocation is not None:
            from pyruntime import resctrl

            resctrl.join(self.allocation.tasks(), pid)
        unit = self._unit()
        if unit is not None:
            unit.settle()

    def _cgroup_roots(self) -> list[dict[str, str]]:
        """What stands for the cgroup that the container was saved in."""
        assert self.init is not None
        paths = own_paths(read_text(f"/proc/{self.init.outer}/cgroup"))
        return [{"ctrl": name, "path": path} for name, path in paths.items()]

    def _restore(self, options: dict[str, Any]) -> None:
        assert self.conversation is not None and self.init is not None
        acts = {
            "setup-namespaces": self._set_up_namespaces,
            "post-restore": self._note,
            "orphan-pts-master": self._send_master,
        }
        request = {"type": messages.RESTORE, "opts": options}
        answer = self.conversation.ask(request, acts)
        self.conversation.close()
        if not answer.get("success"):
            raise self._failure(answer)
        criu = self.init.outer
        self.init.outer = 0
        if posix.waitpid(criu, 0)[1]:
            raise self._failure(answer)

    def _failure(self, answer: dict[str, Any]) -> CriuError:
        errors = images.errors_in(self.log_directory, LOG)
        return asked.failure("restore", answer, errors, f"{self.log_place}/{LOG}")

    def _set_up_namespaces(self, pid: int, descriptors: list[int]) -> None:
        """The namespaces are there, and nobody runs in them: as for create's hooks (R50)."""
        assert self.container is not None and self.init is not None
        self.init.pid = pid
        self.container.values["pid"] = pid
        self.container.values["pid_start"] = processes.start_time(pid)
        self.container.save()  # a hook may take for ever; delete --force must know the pid
        if self.settings.is_new("network"):
            _bring_up_loopback(pid)
        self._move_devices(self.init)
        for kind in ("prestart", "createRuntime"):
            hooks.run(kind, self.settings.hooks(kind), self.container.oci_state(state.CREATING))

    def _note(self, pid: int, descriptors: list[int]) -> None:
        """Everybody is restored, and still waits: write down who that is."""
        assert self.container is not None and self.init is not None
        self.init.pid = pid
        values = self.container.values
        values["pid"] = pid
        values["pid_start"] = processes.start_time(pid)
        values["status"] = state.CREATED
        del values["creator"]
        for name in (plans.ROOT, plans.SOURCES):
            posix.rmdir(self.container.path(name))
        self.container.save()

    def _send_master(self, pid: int, descriptors: list[int]) -> None:
        """The master of the container's terminal goes to whoever is to have it."""
        if self.console == -1 or not descriptors:
            return
        receiver = _socket.socket(fileno=posix.dup(self.console))
        try:
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", descriptors[0]))]
            receiver.sendmsg([MASTER_NAME], rights)
        except OSError as error:
            why = failures.reason(error.errno or 0)
            raise PyruntimeError(f"console socket: {why}") from None
        finally:
            receiver.close()

    def _finish_restored(self, container: state.Container) -> None:
        stored.write(container, self.settings.config)
        pid_file = self.request.options["pid_file"]
        if pid_file:
            state.write_pid_file(pid_file, container.pid)

    def _close(self) -> None:
        super()._close()
        for descriptor in self.kept:
            posix.close(descriptor)
        self.kept = []
        if self.console != -1 and self.terminal == -1:
            posix.close(self.console)
        if self.conversation is not None:
            self.conversation.close()


def image_maps(linux: dict[str, Any]) -> dict[str, Any]:
    """How a user namespace's root is to see the images: not as its own, but as its group's.

    criu is the host's root when it begins in there, and the namespace's root later.
    """
    given = linux.get("gidMappings") or ()
    group = next((each["hostID"] for each in given if each["containerID"] == 0), 0)
    return {
        "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": group, "size": 1}],
    }


def _open_namespace(path: str, kind: str) -> int:
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        why = failures.reason(error.errno or 0)
        raise PyruntimeError(f"linux.namespaces: {kind}: open {path}: {why}") from None


def _bring_up_loopback(pid: int) -> None:
    """CRIU makes an empty namespace; create would have brought it up. Raises OperationError."""
    network = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
    init = InitProcess(plans.loopback(network))
    try:
        init.spawn([network])
        while init.receive_before_clone():
            pass
        if init.has_failed():
            raise init.failure()
        if init.reap():
            raise OperationError("the loopback could not be brought up")
    finally:
        init.kill()
        init.close()
        posix.close(network)
