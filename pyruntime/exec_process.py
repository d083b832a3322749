"""Starting one more process in a container, up to its execve (R291)."""

from __future__ import annotations

import posix

from pyruntime import exec_section, home, processes, state
from pyruntime import facts as host
from pyruntime.descriptors import (
    check_console,
    check_preserved,
    close_on_exec,
    connect,
    send_pidfd,
)
from pyruntime.errors import OperationError, PyruntimeError, StateError
from pyruntime.init_process import InitProcess
from pyruntime.plan import exec as compiler
from pyruntime.plan import namespaces
from pyruntime.plan.exec import ExecSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.foreground import Terminal
    from pyruntime.request import Request

REFUSALS = {
    state.STOPPED: "cannot exec in a stopped container",
    state.PAUSED: "cannot exec in a paused container (use --ignore-paused)",
    state.CREATING: "cannot exec in a container that is being created",
}


class Execution:
    """One exec. `process` is what will be executed, known as soon as this is made."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.container = state.load(request.root, request.arguments[0])
        self._check_status()
        self.config = self.container.config()
        args = request.arguments[1:]
        self.process = exec_section.load(request.options, args, self.config)
        self._check_terminal()
        self.inherited: dict[str, int] = {}
        self.init: InitProcess | None = None
        self.agent: Any = None
        self.attached = False  # by the user's systemd, where the kernel would refuse us

    def run(self, terminal: Terminal | None = None) -> int:
        """Start the process and return its pid when it has executed the program.

        `terminal` is ours, where the process gets one and is not detached; it has
        its master then. After an error no process is left.
        """
        try:
            return self._run(terminal)
        except BaseException:
            if self.init is not None:
                self.init.kill()
            raise
        finally:
            self._close()

    def _run(self, terminal: Terminal | None) -> int:
        self._open_init()
        settings = self._settings()
        self._open_console(terminal)
        plan = compiler.execute(settings)
        self._warn(plan.warnings)
        init = self.init = InitProcess(plan)
        close_on_exec(3 + settings.preserve)
        init.spawn(list(self.inherited.values()))
        while (kind := init.receive()) != namespaces.SYNC_READY:
            if kind == 0:
                raise self._failure(init)
            if kind == namespaces.SYNC_LISTENER:
                self._send_listener(init)
        if terminal is not None:  # before the program can ask for its size
            self.inherited.pop("console")
            terminal.receive()
        self._publish(init)
        return init.pid

    def _send_listener(self, init: InitProcess) -> None:
        """The filter is loaded: its listener goes to the agent, with the state (R241)."""
        from pyruntime.seccomp import agent

        document = self.container.oci_state(state.RUNNING)
        agent.hand_over(self.agent, self.config["linux"]["seccomp"], document, init.pid, init.value)
        init.answer()

    def _publish(self, init: InitProcess) -> None:
        """All is ready but execve: tell those who asked for the process, then let it go."""
        options = self.request.options
        if self.attached:
            self._attach(init.pid)
        if self.container.values.get("resctrl_tasks"):
            from pyruntime import resctrl

            resctrl.join(self.container.values["resctrl_tasks"], init.pid)
        if options.get("pidfd_socket"):
            send_pidfd(options["pidfd_socket"], init.pid, "setns")
        pid_file = options.get("pid_file")
        if pid_file:
            state.write_pid_file(pid_file, init.pid)
        try:
            self._let_go(init)
        except BaseException:
            if pid_file:
                posix.unlink(pid_file)
            raise

    def _attach(self, pid: int) -> None:
        from pyruntime.cgroups.systemd import UnitCgroup

        cgroup = self.container.cgroup()
        assert isinstance(cgroup, UnitCgroup)
        cgroup.attach(pid)

    def _let_go(self, init: InitProcess) -> None:
        """The socket is close-on-exec, so its end is the program's beginning, or a failure."""
        init.answer()
        init.receive()
        if init.has_failed():
            raise self._failure(init)

    # --- what is needed for it --------------------------------------------------

    def _check_status(self) -> None:
        status = self.container.status()
        if status == state.PAUSED and self.request.options.get("ignore_paused"):
            return
        if status in REFUSALS:
            raise StateError(REFUSALS[status])

    def _check_terminal(self) -> None:
        detached = self.request.options.get("detach") and self.process.get("terminal")
        check_console(bool(detached), self.request.options.get("console_socket"))

    def _open_init(self) -> None:
        pidfd = processes.open_pidfd(self.container.pid, self.container.started)
        if pidfd == -1:
            raise StateError(REFUSALS[state.STOPPED])
        self.inherited["init"] = pidfd

    def _open_console(self, terminal: Terminal | None) -> None:
        """Only now: whoever listens takes the first connection for the terminal's."""
        if self.process.get("terminal"):
            path: str = self.request.options["console_socket"]
            self.inherited["console"] = terminal.theirs if terminal else connect(path)

    def _settings(self) -> ExecSettings:
        config = {**self.config, "process": self.process}
        settings = ExecSettings(config, host.gather(), self._foreign_namespaces())
        settings.identifier = self.container.identifier
        settings.rootfs = self.container.values["rootfs"]
        settings.descriptors = self.inherited
        root = f"/proc/{self.container.pid}/root"
        settings.home = home.directory({"process": self.process}, root)
        settings.umask = posix.umask(0)
        posix.umask(settings.umask)
        settings.no_new_keyring = bool(self.container.values.get("no_new_keyring"))
        settings.preserve = int(self.request.options.get("preserve_fds") or 0)
        check_preserved(0, settings.preserve)
        self._choose_cgroups(settings)
        if settings.linux.get("seccomp"):
            settings.seccomp = self._filter(settings.linux["seccomp"])
        return settings

    def _foreign_namespaces(self) -> list[str]:
        """The types of namespace that the container has and this process is not in."""
        try:
            return host.foreign_namespaces(self.container.pid)
        except PermissionError:  # not ours to look at; the config says what was made
            return [each["type"] for each in self.config["linux"].get("namespaces") or ()]
        except (FileNotFoundError, ProcessLookupError):
            raise StateError(REFUSALS[state.STOPPED]) from None

    def _choose_cgroups(self, settings: ExecSettings) -> None:
        paths: dict[str, str] = self.container.values.get("cgroup_paths") or {}
        asked = self.request.options.get("cgroup")
        if asked:
            from pyruntime.cgroups import subgroups

            paths = subgroups.directories(paths, asked)
        elif "" in paths:
            settings.own_cgroup = self._own_cgroup(paths[""])
            if self.container.values.get("unit_user"):
                from pyruntime.cgroups.systemd import may_enter

                self.attached = not may_enter(settings.own_cgroup or paths[""])
        if self.attached:
            settings.own_cgroup, paths = "", {}
        settings.cgroups = {controller: ("", path) for controller, path in paths.items()}

    def _own_cgroup(self, directory: str) -> str:
        """The v2 directory of the container's first process, if it has left its own (R161)."""
        text = host.read(f"/proc/{self.container.pid}/cgroup")
        path = text[text.find("0::") + 3 :].partition("\n")[0]
        if directory.endswith(path) or path.startswith("/.."):
            return ""
        from pyruntime.cgroups import layout

        return (layout.detect().v2 or "").rstrip("/") + path

    def _filter(self, seccomp: dict[str, Any]) -> Any:
        """The container's filter, which create has left in the cache."""
        from pyruntime.seccomp.filter import filter_for

        found = filter_for(seccomp, self.request.root + "/~seccomp")
        if found.listener:
            from pyruntime.seccomp import agent

            self.agent = agent.connect(seccomp)
        return found if found.program else None

    # --- the rest ----------------------------------------------------------------

    def _failure(self, init: InitProcess) -> PyruntimeError:
        """Why the init left. That there is nothing to join any more has a better name."""
        error = init.failure()
        about_us = isinstance(error, OperationError) and not error.path.startswith(".process")
        if about_us and not self.container.alive():
            return StateError(REFUSALS[state.STOPPED])
        return error

    def _close(self) -> None:
        for descriptor in self.inherited.values():
            posix.close(descriptor)
        self.inherited = {}
        if self.agent is not None:
            self.agent.close()
        if self.init is not None:
            self.init.close()

    def _warn(self, warnings: list[str]) -> None:
        """What create has said of the container's own process is not said again each time."""
        options = self.request.options
        if options.get("process") or options.get("cap"):
            for warning in warnings:
                self.request.log.warning(warning)
