"""A create and an exec without a container, for the memory of a snapshot (tools/snapshot.py).

After it Python has specialised what is executed often and has filled its caches, so that fewer
pages are written to when the snapshot goes on: each costs a page fault. Nothing outside of the
directory is touched; the init is not started, its answers are made up.
"""

from __future__ import annotations

import _signal
import posix
import sys

from pyruntime import creation, exec_process, parsing, state
from pyruntime.cgroups import layout
from pyruntime.init_process import InitProcess
from pyruntime.plan import namespaces
from pyruntime.plan.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request

TURNS = 24  # more than it takes until the interpreter specialises a function
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "name=systemd")
FILES = (
    "cgroup.procs tasks cpuset.cpus cpuset.mems devices.allow devices.deny freezer.state "
    "memory.limit_in_bytes memory.memsw.limit_in_bytes pids.max cpu.shares cpu.cfs_quota_us "
    "cpu.cfs_period_us freezer.self_freezing freezer.parent_freezing"
).split()
ID = "rehearsal"
PLAYED = "InitProcess"


class Stage(InitProcess):
    """An init that says what one says, and is not there."""

    MESSAGES = (
        namespaces.SYNC_DIRECTORIES,
        1,
        namespaces.SYNC_CGROUP,
        namespaces.SYNC_READY,
        0,
    )

    def spawn(self, inherited: list[int]) -> None:
        encode(self.plan.operations, len(self.plan.slots))
        self.pid = posix.getpid()
        self.messages = iter(self.MESSAGES)

    def receive(self) -> int:
        return next(self.messages)

    def answer(self) -> None:
        pass

    def has_failed(self) -> bool:
        return False

    def reap(self) -> int:
        return 0

    def kill(self) -> None:
        pass


class Member(Stage):
    MESSAGES = (1, namespaces.SYNC_READY, 0)  # type: ignore[assignment]


def hierarchies(directory: str) -> layout.Layout:
    """Version 1 as files: a cgroup that is there already, and empty."""
    roots = {}
    for name in CONTROLLERS:
        root = f"{directory}/{name}"
        below = f"{root}/{ID}"
        for path in (root, below):
            posix.mkdir(path)
            for file in FILES:
                content = {"freezer.state": b"THAWED\n", "cgroup.procs": b"", "tasks": b""}
                descriptor = posix.open(f"{path}/{file}", posix.O_CREAT | posix.O_WRONLY, 0o600)
                posix.write(descriptor, content.get(file, b"0\n"))
                posix.close(descriptor)
        roots[name] = root
    return layout.Layout(roots, None)


def request(root: str, *words: str) -> Request:
    """What these words ask for."""
    found = parsing.parse(["--root", root, *words])
    assert found is not None
    found.prepare()
    return found


def perform(root: str, bundle: str) -> None:
    """One create, one exec, and the directory away."""
    pid_file = root + "/pid"
    made = request(root, "create", "--bundle", bundle, "--pid-file", pid_file, ID)
    container = creation.Creation(made).run()
    container.release()
    words = ("exec", "--detach", "--pid-file", pid_file, ID, "true")
    exec_process.Execution(request(root, *words)).run()
    state.load(root, ID).remove()


def rehearse(work: str, bundle: str) -> None:
    """Perform it until nothing is new any more. Raises what it fails with."""
    root, before = work + "/root", posix.getcwd()
    posix.mkdir(root)
    own = hierarchies(root)
    real = layout.detect, getattr(creation, PLAYED), getattr(exec_process, PLAYED)
    layout.detect = lambda: real[0]() and own
    setattr(creation, PLAYED, Stage)
    setattr(exec_process, PLAYED, Member)
    try:
        for _ in range(TURNS):
            perform(root, bundle)
        posix.kill(posix.getpid(), _signal.SIGUSR1)  # now it is noted what is written to
        perform(root, bundle)
    finally:
        layout.detect = real[0]
        setattr(creation, PLAYED, real[1])
        setattr(exec_process, PLAYED, real[2])
        posix.chdir(before)


rehearse(*sys.argv[1:])
