"""A runtime under test, its containers, and what they may leave behind.

    runtime.run("state", "x")        any verb: Result(status, stdout, stderr), 60 s at most
    runtime.ok("start", "x")         the same, but a status other than 0 fails the test
    container.create().start()       the usual verbs on one id; .output() what it wrote so far
    container.finish()               create, start, wait until stopped; what it wrote to stdout
    wait_for(condition, "what")      poll until the condition is true, 30 s at most
    nothing_left(runtime, id, path)  assert that an id left no trace on the host

Standard output and error go to files and never to pipes: the container of a `create`
inherits them, so the end of a pipe would come only with the end of the container.
The test process is a child subreaper (conftest.py), as engines are: the container's
init becomes its child, `container.exit_status()` collects how it ended.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest

from conformance.bundle import Bundle

DEADLINE = 30.0
TIMEOUT = 60.0
NO_END = "no end within"
Value = TypeVar("Value")
# Asked now and then while a test waits, with what it has read: they raise AssertionError if it
# waits in vain (floor.py).
watchers: list[Callable[[str], None]] = []


class Deadline:
    """The end of a time to wait."""

    def __init__(self, seconds: float = DEADLINE) -> None:
        self.end = time.monotonic() + seconds
        self._next_look = time.monotonic() + 2

    def left(self) -> float:
        """Seconds until the end, 0 after it."""
        return max(0.0, self.end - time.monotonic())

    def look(self, text: str = "") -> None:
        """Ask the watchers, once a second at most; `text` is what was read while waiting."""
        if time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + 1
            for watcher in watchers:
                watcher(text)


def heed_interrupts() -> None:
    """Let the programs that are started react to SIGINT, which a job in the background ignores."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(
    condition: Callable[[], Value | None], what: str, deadline: float = DEADLINE
) -> Value:
    """Poll until `condition` returns something true, and return that; fail after `deadline` s."""
    end = Deadline(deadline)
    while True:
        value = condition()
        if value:
            return value
        if not end.left():
            raise AssertionError(f"not within {deadline:.0f} s: {what}")
        end.look()
        time.sleep(0.01)


@dataclass(frozen=True)
class Result:
    """How one command ended, and what it wrote."""

    command: str
    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return (
            f"$ {self.command}\nstatus {self.status}\n"
            f"stdout: {self.stdout}\nstderr: {self.stderr}"
        )

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.stdout)


class Runtime:
    """One runtime program with one --root, alone in the directory `workplace`."""

    def __init__(self, program: str, name: str, workplace: Path) -> None:
        self.program = program
        self.name = name
        self.workplace = workplace
        self.root = workplace / "root"
        self.containers: list[Container] = []
        self.results: list[Result] = []
        self._numbers = itertools.count()

    def command(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The whole command line; `options` are global ones, before the verb."""
        return [self.program, "--root", str(self.root), *options, *arguments]

    def run(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        umask: int = -1,
        redirections: str = "",
        before: str = "",
        stdout: Path | None = None,
        stderr: Path | None = None,
    ) -> Result:
        """Run one verb to its end.

        `redirections` is text for the shell, such as "3</file 4<&-": descriptors to pass;
        `before` are shell commands to run first, in the process that becomes the runtime.
        `stdout` and `stderr` are files to append to; other files than these two are read
        from their beginning, so a Result holds only what this command wrote.
        """
        command = self.command(*arguments, options=options)
        if redirections or before:
            command = ["/bin/sh", "-c", f'{before}\nexec "$0" "$@" {redirections}', *command]
        number = next(self._numbers)
        out = stdout or self.workplace / f"command{number}.stdout"
        err = stderr or self.workplace / f"command{number}.stderr"
        with open(out, "ab+") as out_file, open(err, "ab+") as err_file:
            starts = out_file.tell(), err_file.tell()
            status = self._wait(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                    stdout=out_file,
                    stderr=err_file,
                    cwd=cwd,
                    env=env,
                    umask=umask,
                ),
                stdin,
            )
            text = _read_from(out_file, starts[0]), _read_from(err_file, starts[1])
        self.results.append(Result(shlex.join(command), status, *text))
        return self.results[-1]

    def _wait(self, process: subprocess.Popen[bytes], stdin: str | None) -> int:
        try:
            process.communicate(stdin.encode() if stdin is not None else None, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{NO_END} {TIMEOUT:.0f} s: {process.args!r}") from None
        return process.returncode

    def ok(self, *arguments: str, **settings: Any) -> Result:
        """Run one verb, which must succeed."""
        result = self.run(*arguments, **settings)
        assert result.status == 0, str(result)
        return result

    def check_refused(self, result: Result) -> Result:
        """Assert that a command failed with status 1 (in crun any but 0), and said why."""
        assert result.status == 1 or (self.name == "crun" and result.status > 0), str(result)
        assert result.stderr.strip(), str(result)
        return result

    def refused(self, *arguments: str, **settings: Any) -> Result:
        """Run one verb, which must end with status 1 and say why."""
        return self.check_refused(self.run(*arguments, **settings))

    def lists_option(self, verb: str, option: str) -> bool:
        """Whether the help of `verb` names `option`, such as "--pidfd-socket"."""
        help_text = self.run(verb, "--help")
        return option in help_text.stdout + help_text.stderr

    def lists_verb(self, verb: str) -> bool:
        """Whether the help of the program names `verb`."""
        help_text = self.run("--help")
        return f" {verb} " in (help_text.stdout + help_text.stderr).replace(",", " ").replace(
            "\n", " "
        )


def _read_from(file: IO[bytes], start: int) -> str:
    file.seek(start)
    return file.read().decode(errors="replace")


class Container:
    """One container id on one bundle; the verbs return the container where they can."""

    def __init__(self, runtime: Runtime, bundle: Bundle, identifier: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = identifier
        self.stdout = runtime.workplace / f"{identifier}.stdout"
        self.stderr = runtime.workplace / f"{identifier}.stderr"
        self.pid_file = runtime.workplace / f"{identifier}.pid"
        self.pid = 0
        self.found: list[str] = []  # what of it a test had made itself; for the watchers
        self._status: int | None = None
        runtime.containers.append(self)

    def try_create(self, *options: str, verb: str = "create", **settings: Any) -> Result:
        """Save the bundle's config and run `create`; whatever the status."""
        self.bundle.save()
        settings.setdefault("stdout", self.stdout)
        settings.setdefault("stderr", self.stderr)
        if watchers:
            self.found = leftovers(self.runtime, self.id, self.bundle)
        files = ["--bundle", str(self.bundle.path), "--pid-file", str(self.pid_file)]
        result = self.runtime.run(verb, *files, *options, self.id, **settings)
        if self.pid_file.exists():
            self.pid = int(self.pid_file.read_text())
        return result

    def create(self, *options: str, **settings: Any) -> Container:
        """Create, which must succeed."""
        result = self.try_create(*options, **settings)
        assert result.status == 0, str(result)
        return self

    def refused(self, *options: str, **settings: Any) -> str:
        """Create, which must fail with status 1 and leave nothing; what it wrote to stderr."""
        result = self.runtime.check_refused(self.try_create(*options, **settings))
        self.bear_the_cgroup_of_crun()
        nothing_left(self.runtime, self.id, self.bundle)
        return result.stderr

    def bear_the_cgroup_of_crun(self) -> None:
        """Expect a failure if crun has left the cgroup of a refused create, and nothing else."""
        if self.runtime.name == "crun":
            found = leftovers(self.runtime, self.id, self.bundle)
            if found and all(line.startswith("cgroup: ") for line in found):
                pytest.xfail("R1, R36: crun leaves the cgroup whose limits it could not set")

    def start(self, **settings: Any) -> Container:
        """Start, which must succeed."""
        self.runtime.ok("start", self.id, **settings)
        return self

    def state(self) -> dict[str, Any]:
        """The state as JSON."""
        document = self.runtime.ok("state", self.id).json()
        assert isinstance(document, dict)
        return document

    def status(self) -> str:
        """`created`, `running`, `paused` or `stopped`."""
        return str(self.state()["status"])

    def wait_stopped(self) -> Container:
        """Wait until the state says stopped."""
        wait_for(lambda: self.status() == "stopped", f"{self.id} stopped")
        return self

    def kill(self, *arguments: str) -> Container:
        """Kill, which must succeed."""
        self.runtime.ok("kill", self.id, *arguments)
        return self

    def stop(self) -> Container:
        """Kill with SIGKILL, and wait until the state says stopped."""
        return self.kill("KILL").wait_stopped()

    def delete(self, *options: str) -> Result:
        """Delete, which must succeed."""
        return self.runtime.ok("delete", *options, self.id)

    def exec(self, *arguments: str, **settings: Any) -> Result:
        """Run `exec` in the foreground, whatever the status."""
        return self.runtime.run("exec", *settings.pop("flags", ()), self.id, *arguments, **settings)

    def finish(self, *options: str, **settings: Any) -> str:
        """Create, start, wait until it has stopped; its standard output."""
        self.create(*options, **settings).start().wait_stopped()
        return self.output()

    def output(self) -> str:
        """What the container (and `create`) wrote to standard output so far."""
        return self.stdout.read_text(errors="replace") if self.stdout.exists() else ""

    def errors(self) -> str:
        """What the container (and `create`) wrote to standard error so far."""
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def wait_output(self, text: str) -> str:
        """Wait until `text` is part of the standard output; all of that."""
        return wait_for(
            lambda: self.output() if text in self.output() else "", f"{text!r} from {self.id}"
        )

    def exit_status(self) -> int:
        """Wait for the end of the init: its exit status, or 128 + the signal's number."""

        def ended() -> bool:
            if self._status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid == 0:
                    return False
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
            return True

        wait_for(ended, f"the end of {self.id}")
        assert self._status is not None
        return self._status

    def clean(self) -> None:
        """Make an end of the container and of all that it left; for fixtures."""
        path = self.bundle.cgroups_path
        thaw(path)
        kill_all(self.pid, path)
        self.runtime.run("delete", "--force", self.id)
        kill_all(0, path)
        wait_for(lambda: _no_process(path), f"the end of the processes of {self.id}")
        for directory in cgroup_directories(path):
            wait_for(partial(_remove_cgroup, directory), f"the removal of {directory}")


def _no_process(cgroups_path: str) -> bool:
    """Reap what has ended; whether the cgroup is empty."""
    _reap_foreign()
    return not processes_in(cgroups_path)


def thaw(cgroups_path: str) -> None:
    """Thaw the cgroup: a signal does not end a process that is frozen."""
    for directory in cgroup_directories(cgroups_path):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (directory / name).exists():
                (directory / name).write_text(value)


def kill_orphans() -> None:
    """Kill and reap processes of containers that became our children."""
    for pid in _foreign_children():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _reap_foreign() == [], "the end of orphans")


def _foreign_children() -> list[int]:
    """Our children that live in another pid or mount namespace, zombies too."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if _parent(pid) == os.getpid() and _is_foreign(pid)]


def _is_foreign(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        if len(status.partition("NSpid:")[2].partition("\n")[0].split()) > 1:
            return True
        return os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False


def _reap_foreign() -> list[int]:
    """Reap those that have ended; the others.

    The first process of a pid namespace ends only after all others of it have been reaped, also
    those that `exec` made and that are our children.
    """
    return [pid for pid in _foreign_children() if os.waitpid(pid, os.WNOHANG)[0] == 0]


def kill_all(pid: int, cgroups_path: str) -> None:
    """SIGKILL to `pid`, if it is (or its parent was) ours, and to all that are in the cgroup."""
    victims = set(processes_in(cgroups_path))
    if pid and _parent(pid) == os.getpid():
        victims.add(pid)
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _remove_cgroup(directory: Path) -> bool:
    """Remove a cgroup and those below it; False if that has to wait."""
    for path, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            pass
    return not directory.exists()


def _stat(pid: int) -> list[str]:
    """Fields 3 and following of /proc/PID/stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0"]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[0] in "ZX"


def alive(pid: int) -> bool:
    """Whether there is such a process and it is not a zombie."""
    return not _is_zombie(pid)


def cgroup_mounts() -> Iterator[Path]:
    """Where cgroup hierarchies, v1 and v2, are mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            yield Path(fields[4])


def cgroup_directories(cgroups_path: str) -> list[Path]:
    """The cgroups of that path which exist, in whichever hierarchy."""
    paths = {mount / cgroups_path.lstrip("/") for mount in cgroup_mounts()}
    return sorted(path for path in paths if path.is_dir())


def processes_in(cgroups_path: str) -> list[int]:
    """Processes (zombies aside) in a cgroup of that path or below it, in any hierarchy."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            groups = Path(f"/proc/{entry}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        paths = [line.split(":", 2)[2] for line in groups.splitlines()]
        if any(f"{path}/".startswith(f"{cgroups_path}/") for path in paths) and alive(int(entry)):
            found.append(int(entry))
    return found


def mounts_below(path: Path) -> list[str]:
    """Lines of our own mount table which mention the directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f"{path}/" in line or f"{path} " in line]


def leftovers(runtime: Runtime, identifier: str, bundle: Bundle) -> list[str]:
    """What is on the host of a container that should be gone."""
    found = []
    if runtime.root.is_dir():
        names = [name for name in os.listdir(runtime.root) if identifier in name]
        found += [f"state: {runtime.root / name}" for name in names]
    found += [f"cgroup: {path}" for path in cgroup_directories(bundle.cgroups_path)]
    found += [f"mount: {line}" for line in mounts_below(bundle.path)]
    found += [f"process: {pid}" for pid in processes_in(bundle.cgroups_path)]
    return found


def nothing_left(runtime: Runtime, identifier: str, bundle: Bundle) -> None:
    """Assert that neither state, cgroups, mounts nor processes of the container remain.

    Processes that have been killed may take a moment to go; nothing else may.
    """

    def only_processes() -> bool:
        found = leftovers(runtime, identifier, bundle)
        return not found or not all(line.startswith("process: ") for line in found)

    wait_for(only_processes, f"the end of the processes of {identifier}")
    found = leftovers(runtime, identifier, bundle)
    assert not found, "\n".join(found)
