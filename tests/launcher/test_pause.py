"""pause and resume by the launcher: what the kernel says afterwards, and what is left to Python."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, wait_for
from conformance.test_cgroups import processes_file
from conformance.test_pause import COUNT, frozen
from pyruntime import state, stored
from tests.cgroups.test_v2 import VIEW
from tests.launcher.lanes import (
    BOTH_LANES,
    LAUNCHER,
    LAUNCHER_LANE,
    LEFT_TO_PYTHON,
    PYTHON_LANE,
    TIMEOUT,
    Outcome,
    clear,
    outcome,
    run,
)
from tests.root.host import TREE

THE_REST = "not v2_alone"
pytestmark = pytest.mark.rows("R292", "R307")


def command(lane: list[str], container: Container, *words: str) -> list[str]:
    return [*lane, "--root", str(container.runtime.root), *words, container.id]


def test_pause_and_resume_without_python(container: Container) -> None:
    container.bundle.sh(COUNT)
    container.create().start()
    container.wait_output("3\n")
    for _ in range(3):
        for verb, says in (("pause", "FROZEN"), ("resume", "THAWED")):
            result = run(LAUNCHER_LANE, container.runtime, verb, container.id)
            assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
            assert frozen(container) == says
    before = container.output()
    wait_for(lambda: container.output() != before, "output after resume")


def test_nothing_is_written_to_the_containers_directory(container: Container) -> None:
    container.create().start()
    directory = container.runtime.root / container.id
    before = {path.name: path.lstat().st_ctime_ns for path in directory.iterdir()}
    for verb in ("pause", "resume"):
        assert run(LAUNCHER_LANE, container.runtime, verb, container.id).returncode == 0
    assert before == {path.name: path.lstat().st_ctime_ns for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("verb", "text"), [("pause", "container not running"), ("resume", "container not paused")]
)
def test_of_many_at_once_one_succeeds(container: Container, verb: str, text: str) -> None:
    container.create().start()
    if verb == "resume":
        container.runtime.ok("pause", container.id)
    commands = [
        subprocess.Popen(
            command(BOTH_LANES, container, verb),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    errors = [each.communicate(timeout=TIMEOUT)[1] for each in commands]
    assert sorted(each.returncode for each in commands) == [0, 1, 1, 1, 1, 1]
    assert sum(text in error for error in errors) == 5


def waits_for_a_lock(pid: int) -> bool:
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[1] == "->" and str(pid) in line for line in lines)


def test_pause_waits_for_the_lock(container: Container) -> None:
    container.create().start()
    lock = os.open(container.runtime.root / container.id, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with subprocess.Popen(command(LAUNCHER_LANE, container, "pause")) as waiting:
        wait_for(lambda: waits_for_a_lock(waiting.pid), "the launcher to wait for the lock")
        assert frozen(container) == "THAWED"
        os.close(lock)
        assert waiting.wait(TIMEOUT) == 0
    assert frozen(container) == "FROZEN"


# --- who does not stop ------------------------------------------------------------------


@contextmanager
def unfreezable(container: Container, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """With a process in the container's cgroup that stops only after its starter's end."""
    directory.mkdir(exist_ok=True)
    script = str(Path(__file__).with_name("unfreezable.py"))
    with subprocess.Popen(
        ["unshare", "-m", sys.executable, script, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdin and starter.stdout
        said = starter.stdout.readline().strip()
        if not said.isdigit():
            pytest.skip(said or "needs a mount namespace")
        try:
            processes_file(container).write_text(said)
            yield starter
        finally:
            starter.stdin.close()


def test_who_does_not_stop_runs_again_before_python_is_asked(
    container: Container, workplace: Path
) -> None:
    """Python would take a cgroup that was told to freeze for that of a paused container."""
    container.create().start()
    with unfreezable(container, workplace / "mount"):
        result = run(LAUNCHER_LANE, container.runtime, "pause", container.id)
        assert result.returncode == LEFT_TO_PYTHON
        assert frozen(container) == "THAWED"
        assert container.status() == "running"


def was_handed_over(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/exe") != str(LAUNCHER)


def test_python_goes_on_until_all_have_stopped(container: Container, workplace: Path) -> None:
    container.create().start()
    with unfreezable(container, workplace / "mount") as starter:
        pausing = subprocess.Popen(
            command(BOTH_LANES, container, "pause"), stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: was_handed_over(pausing.pid), "Python in place of the launcher")
        assert starter.stdin
        starter.stdin.close()
        assert pausing.communicate(timeout=TIMEOUT)[1] == ""
    assert pausing.returncode == 0
    assert frozen(container) == "FROZEN"
    assert container.status() == "paused"


@pytest.mark.slow
def test_a_process_that_never_stops_is_told_as_python_tells_it(
    make_container: MakeContainer, workplace: Path
) -> None:
    python, both = (
        refused_pause(lane, make_container(), workplace) for lane in (PYTHON_LANE, BOTH_LANES)
    )
    assert python == both
    assert (python.status, set(python.frozen)) == (1, {"THAWED"})
    assert "some processes do not stop" in python.stderr


def refused_pause(lane: list[str], container: Container, workplace: Path) -> Outcome:
    container.create().start()
    try:
        with unfreezable(container, workplace / "mount"):
            return outcome(lane, container, ["--log", "pause.log", "pause", "ID"])
    finally:
        clear(container)


# --- the operations, on plain files --------------------------------------------------------

STOPPED = "populated 1\nfrozen 1\n"


def store_plans(container: Container, directory: Path) -> None:
    """Plans as if that directory were the container's cgroup of v2."""
    root = container.runtime.root
    values = json.loads((root / container.id / "state.json").read_text())
    values["cgroup_paths"] = {"": str(directory)}
    stored.write(state.Container(str(root), container.id, values), container.bundle.config)


@pytest.mark.parametrize(
    ("told", "events", "verb", "status", "then"),
    [
        ("0\n", STOPPED, "pause", 0, "1\n"),
        ("0\n", "populated 1\nfrozen 0\n", "pause", LEFT_TO_PYTHON, "0\n"),
        ("0\n", "", "pause", LEFT_TO_PYTHON, "0\n"),
        ("0\n", "x" * 300 + STOPPED, "pause", LEFT_TO_PYTHON, "0\n"),
        ("0\n", None, "pause", LEFT_TO_PYTHON, "0\n"),
        ("1\n", STOPPED, "pause", LEFT_TO_PYTHON, "1\n"),
        ("2\n", STOPPED, "pause", LEFT_TO_PYTHON, "2\n"),
        ("", STOPPED, "pause", LEFT_TO_PYTHON, ""),
        ("1\n", STOPPED, "resume", 0, "0\n"),
        ("0\n", STOPPED, "resume", LEFT_TO_PYTHON, "0\n"),
        ("1", STOPPED, "resume", LEFT_TO_PYTHON, "1"),
    ],
)
def test_what_is_written(
    container: Container, workplace: Path, told: str, events: str | None, verb: str, status: int,
    then: str,
) -> None:  # fmt: skip
    container.create().start()
    store_plans(container, workplace)
    (workplace / "cgroup.freeze").write_text(told)
    if events is not None:
        (workplace / "cgroup.events").write_text(events)
    assert run(LAUNCHER_LANE, container.runtime, verb, container.id).returncode == status
    assert (workplace / "cgroup.freeze").read_text() == then


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_links_and_missing_files_are_left_to_python(
    container: Container, workplace: Path, verb: str
) -> None:
    container.create().start()
    store_plans(container, workplace)
    assert run(LAUNCHER_LANE, container.runtime, verb, container.id).returncode == LEFT_TO_PYTHON
    assert not (workplace / "cgroup.freeze").exists()
    says = {"pause": "0\n", "resume": "1\n"}[verb]
    (workplace / "elsewhere").write_text(says)
    (workplace / "cgroup.freeze").symlink_to("elsewhere")
    assert run(LAUNCHER_LANE, container.runtime, verb, container.id).returncode == LEFT_TO_PYTHON
    assert (workplace / "elsewhere").read_text() == says


# --- cgroup v2 ------------------------------------------------------------------------------


def test_the_same_with_cgroup_v2_alone() -> None:
    """What stands above but not slow, in a mount namespace where v1's hierarchies are gone."""
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    which = [__file__, "-k", THE_REST, "-m", "not slow"]
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            VIEW,
            "sh",
            *pytest_command,
            "-p",
            "tests.rows_plugin",
            *which,
        ],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=4 * TIMEOUT,
    )
    if done.returncode == 76 or "unshare failed" in done.stderr:
        pytest.skip(f"needs a mount namespace with cgroup2: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
