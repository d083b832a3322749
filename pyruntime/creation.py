"""Making a container: every step in order, and how each is undone (R36, R40, R300 to R305)."""

from __future__ import annotations

import posix
import time

from pyruntime import config as configs
from pyruntime import facts as host
from pyruntime import failures, home, hooks, id_maps, processes, state, stored
from pyruntime.descriptors import (
    check_console,
    check_preserved,
    close_on_exec,
    connect,
    listen_fds,
    listen_names,
    send_pidfd,
)
from pyruntime.errors import ConfigError, PyruntimeError
from pyruntime.init_process import InitProcess
from pyruntime.plan import compile as compiler
from pyruntime.plan import mounts, namespaces
from pyruntime.plan.hooks import INSIDE
from pyruntime.plan.operations import KINDS
from pyruntime.plan.settings import Settings
from pyruntime.request import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.manager import Cgroup, NoCgroup
    from pyruntime.cgroups.systemd import UnitCgroup
    from pyruntime.net_devices import Transfer
    from pyruntime.request import Request
    from pyruntime.resctrl import Allocation
    from pyruntime.trace import Trace

FIFO_MODE = 0o600
SPECIFICATION = "1.3.0"
WAIT_START = 51


class Creation:
    """One create, from the bundle to an init that waits for start."""

    def __init__(self, request: Request, terminal: int = -1) -> None:
        self.request = request
        self.identifier = request.arguments[0]
        self.terminal = terminal
        self.trace = _trace(request)
        self.facts = host.gather()
        self.inherited: dict[str, int] = {}
        self.container: state.Container | None = None
        self.init: InitProcess | None = None
        self.cgroup: Cgroup | NoCgroup | None = None
        self.allocation: Allocation | None = None
        self.transfer: Transfer | None = None
        self.agent: Any = None  # connection to the seccomp agent
        self.warned = False

    def run(self) -> state.Container:
        """Make the container. After an error nothing of it is left (R1)."""
        try:
            return self._run()
        except BaseException:
            self.undo()
            raise
        finally:
            self._close()

    def _run(self) -> state.Container:
        self._mark("validate")
        state.check_identifier(self.identifier)
        self._take_paths()
        loaded = configs.load(self.bundle, self.request.options.get("config") or None)
        if (loaded.document.get("linux") or {}).get("netDevices"):
            from pyruntime import resumed

            resumed.leave()
        self.settings = self._settings(loaded.document)
        self._check_terminal()
        self._mark("directory")
        self.container = state.new(self.request.root, self.identifier, self._values())
        self._plan_cgroup()
        self._open_descriptors()
        self._mark("compile")
        plan = compiler.create(self.settings)
        self._warn(plan.warnings)
        if self.settings.config.get("annotations"):
            from pyruntime import annotation_rules

            self._warn(annotation_rules.warnings(self.settings.config))
        self._mark("spawn")
        self.init = InitProcess(plan)
        close_on_exec(3 + self.settings.preserve)
        self.init.spawn(list(self.inherited.values()))
        # Beside the init, which opens what it needs of the host meanwhile.
        state.write_atomically(self.container.path("config.json"), loaded.text, 0o600)
        self._mark("cgroup")
        self._make_cgroup()
        self._make_rdt_class()
        self._apply_limits()
        self._converse(self.init)
        self._finish(self.container, self.init)
        return self.container

    # --- before the init ------------------------------------------------------

    def _take_paths(self) -> None:
        """Make the paths of the options absolute, then go to the bundle as runc does."""
        options = self.request.options
        for name in ("pid_file", "console_socket", "pidfd_socket", "config", "trace"):
            if options.get(name):
                options[name] = absolute(options[name])
        bundle = options.get("bundle") or "."
        try:
            posix.chdir(bundle)
        except OSError as error:
            raise PyruntimeError(f"chdir {bundle}: {failures.reason(error.errno or 0)}") from None
        self.bundle = posix.getcwd()

    def _settings(self, document: dict[str, Any]) -> Settings:
        settings = Settings(document, self.facts)
        settings.identifier = self.identifier
        settings.bundle = self.bundle
        settings.rootfs = self._rootfs(document)
        settings.home = home.directory(document, settings.rootfs)
        options = self.request.options
        settings.no_pivot = bool(options.get("no_pivot"))
        settings.umask = posix.umask(0)
        posix.umask(settings.umask)
        settings.no_new_keyring = bool(options.get("no_new_keyring"))
        settings.listen_fds = listen_fds()
        settings.listen_names = listen_names()
        settings.preserve = settings.listen_fds + int(options.get("preserve_fds") or 0)
        check_preserved(settings.listen_fds, int(options.get("preserve_fds") or 0))
        self._check_sysctl(settings)
        if posix.environ.get(b"NOTIFY_SOCKET") and settings.is_new("mount"):
            self._proxy_notifications(settings)
        if settings.linux.get("seccomp"):
            settings.seccomp = self._filter(document)
        return settings

    def _proxy_notifications(self, settings: Settings) -> None:
        """The container gets a socket of ours for its readiness (R297)."""
        from pyruntime import notify

        directory = absolute(f"{self.request.root}/{self.identifier}")
        mounts = settings.config.get("mounts") or []
        settings.config["mounts"] = [*mounts, notify.mount(directory)]
        settings.notify = notify.ADDRESS_INSIDE

    def _rootfs(self, document: dict[str, Any]) -> str:
        """The root's path: it must exist, be a directory, and have no link in it (R13)."""
        path = document["root"]["path"]
        wanted = absolute(path if path.startswith("/") else self.bundle + "/" + path)
        try:
            flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
            descriptor = posix.open(wanted, flags)
        except OSError as error:
            why = failures.reason(error.errno or 0)
            raise ConfigError([f".root.path: invalid rootfs {wanted}: {why}"]) from None
        try:
            real = posix.readlink(f"/proc/self/fd/{descriptor}")
        finally:
            posix.close(descriptor)
        if real != wanted:
            hint = f"its real path is {real}; name that one"
            raise ConfigError([f".root.path: invalid rootfs: {wanted} is a symlink ({hint})"])
        return wanted

    def _check_sysctl(self, settings: Settings) -> None:
        """net.* must not reach the host, by way of its own namespace given as a path (R213)."""
        path = settings.namespaces().get("network")
        wanted = [key for key in settings.linux.get("sysctl") or () if key[:4] in ("net.", "net/")]
        if not path or not wanted:
            return
        try:
            about = posix.stat(path)
        except OSError:
            return  # joining it will say so
        if (about.st_dev, about.st_ino) == host.own_namespace("network"):
            raise ConfigError(
                [
                    f".linux.sysctl[{key}]: the network namespace {path} is the host's"
                    for key in wanted
                ]
            )

    def _filter(self, config: dict[str, Any]) -> Any:
        """The compiled seccomp filter, from the cache if it was compiled before."""
        seccomp = config["linux"]["seccomp"]
        from pyruntime.seccomp.filter import UNKNOWN_CALL, filter_for

        state.make_directories(self.request.root, 0o711)
        found = filter_for(seccomp, self.request.root + "/~seccomp")
        unknown = [line for line in found.warnings if UNKNOWN_CALL in line]
        if unknown:
            from pyruntime import annotation_rules

            annotation_rules.refuse_unknown_calls(config, unknown)
        self._warn(found.warnings)
        if found.listener:
            from pyruntime.seccomp import agent

            self.agent = agent.connect(seccomp)
        return found if found.program else None

    def _check_terminal(self) -> None:
        if self.terminal == -1:
            wanted = bool(self.settings.process.get("terminal"))
            check_console(wanted, self.request.options.get("console_socket"))

    def _values(self) -> dict[str, Any]:
        """The first state: enough for `delete --force` to clean up after us."""
        document = self.settings.config
        self.cgroup = self._find_cgroup()
        paths = self.cgroup.paths()
        values = {
            "ociVersion": SPECIFICATION,
            "id": self.identifier,
            "pid": 0,
            "creator": [posix.getpid(), processes.start_time(posix.getpid())],
            "bundle": _shown(self.bundle),
            "rootfs": _shown(self.settings.rootfs),
            "created": state.timestamp(time.time_ns()),
            "annotations": document.get("annotations") or {},
            "owner": posix.geteuid(),
            "own_pids": "pid" in self.settings.namespaces(),
            "no_new_keyring": self.settings.no_new_keyring,
            "cgroup_paths": paths,
            # Until it is known which were made: never one that somebody else had (R39).
            "cgroup_made": [each for each in set(paths.values()) if not state.exists(each)],
            # What checkpoint must know of them, for they may be closed by then (R296).
            "external_descriptors": standard_streams(),
            **self._unit_values(),
        }
        if self.settings.linux.get("intelRdt") is not None:
            from pyruntime import resctrl

            rdt = self.settings.linux["intelRdt"]
            self.allocation = resctrl.prepare(rdt, self.identifier)
            values["resctrl_made"] = self.allocation.removable
        return values

    def _unit_values(self) -> dict[str, Any]:
        """What names the container's systemd unit, if it has one."""
        unit = self._unit()
        return {} if unit is None else unit.values()

    def _unit(self) -> UnitCgroup | None:
        """The cgroup as a systemd unit's, None under another manager."""
        if self.request.cgroup_manager != "systemd":
            return None
        from pyruntime.cgroups.systemd import UnitCgroup

        assert isinstance(self.cgroup, UnitCgroup)
        return self.cgroup

    def _find_cgroup(self) -> Cgroup | NoCgroup:
        from pyruntime.cgroups import layout, paths
        from pyruntime.cgroups.manager import Cgroup, NoCgroup

        manager = self.request.cgroup_manager
        if manager == "disabled":
            return NoCgroup()
        found = layout.detect()
        if manager == "systemd":
            from pyruntime.cgroups.systemd import UnitCgroup

            config, root = self.settings.config, self.request.root
            return UnitCgroup.of_config(found, config, self.identifier, self.facts, root)
        rootless = self.request.rootless == "true" or not self.facts.privileged
        if rootless and not self.settings.linux.get("cgroupsPath"):
            return NoCgroup()
        path = paths.cgroup_path(self.settings.config, self.identifier)
        return Cgroup(found, path, rootless)

    def _plan_cgroup(self) -> None:
        """Say where the cgroups will be. Without privileges only making them can tell."""
        from pyruntime.cgroups.manager import Cgroup

        cgroup = self.cgroup
        if not isinstance(cgroup, Cgroup):
            self._stay()
            return
        if cgroup.rootless:
            cgroup.create(self._resources())
        directories = cgroup.paths()
        self.settings.cgroups = {
            name: (root, directories[name])
            for name, root in cgroup.roots.items()
            if name in directories
        }
        if cgroup.rootless:
            self._stay()
        self._limit_devices(set(directories))

    def _stay(self) -> None:
        """Where the container gets no cgroup of its own it is shown the one that it stays in."""
        from pyruntime.cgroups import layout

        if self.settings.shows_cgroups():
            own = layout.own_directories(layout.detect())
            joined = self.settings.cgroups
            self.settings.staying = {name: own[name] for name in own if name not in joined}

    def _make_cgroup(self) -> None:
        cgroup = self.cgroup
        assert cgroup is not None and self.container is not None
        if self.request.cgroup_manager == "systemd":
            self._make_unit()
        elif not getattr(cgroup, "rootless", False):
            cgroup.create(self._resources())
        self.container.values["cgroup_paths"] = cgroup.paths()
        self.container.values["cgroup_made"] = list(cgroup.made)

    def _make_unit(self) -> None:
        """systemd makes a cgroup only around a process: the init, before it clones (R161)."""
        unit, init = self._unit(), self.init
        assert unit is not None and init is not None
        unit.first = init.outer
        try:
            unit.create(self._resources())
        except PyruntimeError:
            if init.has_failed():
                raise init.failure() from None
            raise

    def _make_rdt_class(self) -> None:
        """linux.intelRdt: the class exists, with its schemata, before the process joins it."""
        if self.allocation is None:
            return
        assert self.container is not None
        self.allocation.create()
        self.container.values["resctrl_made"] = self.allocation.removable
        self.container.values["resctrl_tasks"] = self.allocation.tasks()

    def _open_descriptors(self) -> None:
        """The fifos between init and start, the console, and the files for hooks."""
        assert self.container is not None
        start, report = self.container.path("start"), self.container.path("report")
        for path in (start, report):
            try:
                posix.mkfifo(path, FIFO_MODE)
            except OSError as error:  # it does not say which
                raise OSError(error.errno, error.strerror, path) from None
        self.inherited["start"] = posix.open(start, posix.O_RDWR | posix.O_CLOEXEC)
        # Non-blocking only while there is no reader; the init never waits on it.
        flags = posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC
        both = posix.open(report, flags)
        self.inherited["report"] = posix.open(report, posix.O_WRONLY | posix.O_CLOEXEC)
        posix.close(both)
        if self.settings.notify:
            posix.mkdir(self.container.path("notify"), 0o755)
        if self.settings.process.get("terminal"):
            self.inherited["console"] = self._console()
        self._open_for_hooks()
        if any(mounts.idmapped(mount) for mount in self.settings.config.get("mounts") or ()):
            from pyruntime import idmapped

            self.inherited.update(idmapped.open_all(self.settings))
        self.settings.descriptors = self.inherited

    def _open_for_hooks(self) -> None:
        """For the hooks that the init runs: their stdin, and the files for what they write."""
        assert self.container is not None
        inside = [kind for kind in INSIDE if self.settings.hooks(kind)]
        for kind in inside:
            self.inherited["state " + kind] = hooks.state_file(None)
        if inside:
            self.inherited.update(hooks.open_outputs(self.container.oci_state(state.CREATING)))

    def _console(self) -> int:
        if self.terminal != -1:
            return self.terminal
        return connect(self.request.options["console_socket"])

    def _limit_devices(self, controllers: set[str]) -> None:
        """Where v1 has no devices controller, a program takes its place (R170)."""
        if "" in controllers and "devices" not in controllers:
            from pyruntime.cgroups.devices import program

            rules = (self.settings.linux.get("resources") or {}).get("devices")
            self.settings.device_program = program(rules)

    def _resources(self) -> dict[str, Any] | None:
        """linux.resources as the config's version of the specification means them."""
        from pyruntime.cgroups.conversions import as_of

        return as_of(self.settings.linux.get("resources"), self.settings.config["ociVersion"])

    # --- beside the init ------------------------------------------------------

    def _apply_limits(self) -> None:
        """Limits are in force before the process joins (R301)."""
        assert self.cgroup is not None
        self._mark("limits")
        self.cgroup.apply(self._resources())
        if "" in self.settings.cgroups:
            from pyruntime.cgroups.ownership import delegation

            owner = delegation(self.settings.config)
            if owner is not None:
                self.cgroup.chown(owner)

    def _converse(self, init: InitProcess) -> None:
        """Serve the init until it is ready."""
        while True:
            self._mark("wait")
            kind = init.receive()
            if kind == 0:
                raise failures.name_destination(init.failure(), self.settings.config)
            if kind == namespaces.SYNC_READY:
                return
            ANSWERS[kind](self, init)

    def _cloned(self, init: InitProcess) -> None:
        """The container's first process exists. Before it does anything, its name is kept."""
        assert self.container is not None
        self.container.values["pid"] = init.pid
        self.container.values["pid_start"] = processes.start_time(init.pid)
        if self.settings.config.get("hooks"):
            self.container.save()  # a hook may take for ever; delete --force must know the pid
        self._fill_states(init.pid)

    def _fill_states(self, pid: int) -> None:
        """The state for hooks inside names the pid as it is seen there (R34)."""
        assert self.container is not None
        for kind, status in (("createContainer", state.CREATING), ("startContainer", "created")):
            number = self.inherited.get("state " + kind)
            if number is not None:
                hooks.fill(number, self.container.oci_state(status, inner_pid(pid)))

    def _write_maps(self, init: InitProcess) -> None:
        self._mark("maps")
        id_maps.write(init.outer, self.settings.linux, self.facts)
        init.answer()

    def _let_open(self, init: InitProcess) -> None:
        """The cgroup is made: its files can be opened."""
        init.answer()

    def _let_join(self, init: InitProcess) -> None:
        """The limits are written, so the process may enter the cgroup."""
        if self.allocation is not None:
            from pyruntime import resctrl

            resctrl.join(self.allocation.tasks(), init.pid)
        unit = self._unit()
        if unit is not None:
            unit.settle()
        self._move_devices(init)
        init.answer()

    def _move_devices(self, init: InitProcess) -> None:
        """linux.netDevices: the network namespace exists, and the process waits in it (R155)."""
        devices = self.settings.linux.get("netDevices")
        if devices:
            from pyruntime.net_devices import Transfer

            self._mark("netDevices")
            self.transfer = Transfer(devices, init.pid)
            self.transfer.move()

    def _send_listener(self, init: InitProcess) -> None:
        """The filter is loaded: its listener goes to the agent, with the state (R241)."""
        from pyruntime.seccomp import agent

        assert self.container is not None
        document = self.container.oci_state(state.CREATING)
        agent.hand_over(self.agent, self.settings.linux["seccomp"], document, init.pid, init.value)
        init.answer()

    def _run_hooks(self, init: InitProcess) -> None:
        """prestart and createRuntime: namespaces and mounts exist, the root is not entered."""
        assert self.container is not None
        self._mark("hooks")
        for kind in ("prestart", "createRuntime"):
            hooks.run(kind, self.settings.hooks(kind), self.container.oci_state(state.CREATING))
        init.answer()

    # --- after the init ---------------------------------------------------------

    def _finish(self, container: state.Container, init: InitProcess) -> None:
        """Everything is ready: write it down, then let the init wait for start."""
        self._mark("state")
        pidfd_socket = self.request.options.get("pidfd_socket")
        if pidfd_socket:
            send_pidfd(pidfd_socket, init.pid, "standard")
        container.values["status"] = state.CREATED
        del container.values["creator"]
        container.values["tail"] = self._tail(init)
        container.save()
        stored.write(container, self.settings.config)
        pid_file = self.request.options.get("pid_file")
        if pid_file:
            state.write_pid_file(pid_file, init.pid)
        init.answer()
        if self.trace is not None:
            self._mark("end")
            self.trace.write(self.request.options["trace"], init)

    def _tail(self, init: InitProcess) -> dict[str, Any]:
        """What `start` needs to name a failure: the operations after the wait."""
        operations = init.plan.operations
        numbers = [operation.number for operation in operations]
        first = numbers.index(WAIT_START)
        rows = [[o.number, o.at, _first_text(o)] for o in operations[first:]]
        return {"first": first, "operations": rows}

    def undo(self) -> None:
        """Take everything back. poststop hooks run, for create had begun (R40, step 13).

        Each step is taken whatever the one before it met: what made create fail is to be told.
        """
        steps = (
            self._undo_devices,
            self._undo_init,
            self._undo_cgroup,
            self._undo_rdt_class,
            self._undo_directory,
        )
        for step in steps:
            try:
                step()
            except (OSError, PyruntimeError) as error:
                self.request.log.warning(f"while taking back what was made: {error}")

    def _undo_devices(self) -> None:
        if self.transfer is not None:
            self.transfer.undo()

    def _undo_init(self) -> None:
        if self.init is not None:
            self.init.kill()
            self.init.close()

    def _undo_cgroup(self) -> None:
        if self.cgroup is not None and self.container is not None:
            self._end_everybody()
            self.cgroup.undo()

    def _undo_rdt_class(self) -> None:
        if self.allocation is not None:
            from pyruntime import resctrl

            resctrl.undo(self.allocation)

    def _undo_directory(self) -> None:
        if self.container is not None:
            self.container.remove()
            self._after_failure()
            self.container.release()

    def _end_everybody(self) -> None:
        """A hook that the init had started is in the cgroup too, and nobody's child any more."""
        try:
            if self.cgroup is not None and self.cgroup.made and self.cgroup.processes():
                self.cgroup.kill()
        except PyruntimeError as error:
            self.request.log.warning(str(error))

    def _after_failure(self) -> None:
        if self.init is not None and self.init.pid and self.container is not None:
            stopped = self.container.oci_state(state.STOPPED, 0)
            self._warn(hooks.run_all("poststop", self.settings.hooks("poststop"), stopped))

    def _close(self) -> None:
        for name, descriptor in self.inherited.items():
            if not (name == "console" and self.terminal != -1):
                posix.close(descriptor)
        self.inherited = {}
        if self.init is not None:
            self.init.close()
        if self.agent is not None:
            self.agent.close()
        if self.transfer is not None:
            self.transfer.close()

    def _warn(self, warnings: list[str]) -> None:
        for warning in warnings:
            self.request.log.warning(warning)

    def _mark(self, step: str) -> None:
        if self.trace is not None:
            self.trace.mark(step)


ANSWERS = {
    1: Creation._cloned,
    namespaces.SYNC_MAPS: Creation._write_maps,
    namespaces.SYNC_DIRECTORIES: Creation._let_open,
    namespaces.SYNC_CGROUP: Creation._let_join,
    namespaces.SYNC_HOOKS: Creation._run_hooks,
    namespaces.SYNC_LISTENER: Creation._send_listener,
}


def standard_streams() -> list[str]:
    """What descriptors 0, 1 and 2 are, as /proc names it: a path, or "pipe:[NUMBER]"."""
    return [_shown(posix.readlink(f"/proc/self/fd/{number}")) for number in range(3)]


def _shown(path: str) -> str:
    """A path as JSON can hold it: what is not UTF-8 becomes U+FFFD, as in runc's state."""
    if path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _trace(request: Request) -> Trace | None:
    """What takes the times, if --trace asks for them."""
    if not request.options.get("trace"):
        return None
    from pyruntime.trace import Trace

    return Trace()


def _first_text(operation: Any) -> str:
    """The text that names an operation's subject: a path, or a program."""
    kinds = KINDS[operation.number].replace("bn", "b")
    for kind, value in zip(kinds, operation.arguments, strict=True):
        if kind == "t" and value:
            return str(value)
        if kind == "v" and value:
            return str(value[0])
    return ""


def inner_pid(pid: int) -> int:
    """The pid of a process in its own innermost pid namespace (proc(5), NSpid)."""
    status = host.read(f"/proc/{pid}/status")
    start = status.index("NSpid:")
    return int(status[start : status.index("\n", start)].split()[-1])
