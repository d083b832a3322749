"""What the launcher does where a comparison of two runs would not show it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, Runtime, nothing_left
from tests.init.test_binary import check_program, compiler, compiler_flags
from tests.launcher.lanes import (
    BOTH_LANES,
    LAUNCHED,
    LAUNCHER,
    LAUNCHER_LANE,
    LEFT_TO_PYTHON,
    PYTHON_LANE,
    TIMEOUT,
    outcome,
    run,
)
from tests.root.host import TREE

LIMIT = 60 * 1024
SHARED = TREE / "pyruntime/init"  # what it shares with the init


def test_it_is_static_and_small() -> None:
    check_program(LAUNCHER, os.uname().machine)
    assert LAUNCHER.stat().st_size <= LIMIT


@pytest.mark.slow
def test_it_compiles_for_aarch64(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    command = compiler(pytestconfig.cache.mkdir("compilers"))
    target = tmp_path / "pyruntime-launcher"
    sources = [*sorted(map(str, LAUNCHER.parent.glob("*.c"))), str(SHARED / "text.c")]
    done = subprocess.run(
        [*command, *compiler_flags(), "-s", "-o", str(target), *sources],
        capture_output=True,
        text=True,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    check_program(target, "aarch64")


def test_generated_tables_are_those_of_the_specification() -> None:
    command = [sys.executable, "spec/generate_launcher.py", "--check"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_newer_than_its_sources() -> None:
    sources = [*LAUNCHER.parent.glob("*.[ch]"), SHARED / "system.h", SHARED / "text.c"]
    assert LAUNCHER.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


@pytest.mark.rows("R35", "R37", "R38", "R39")
def test_a_whole_life_without_python(container: Container) -> None:
    container.create()
    runtime, identifier = container.runtime, container.id
    for words in (["state"], ["start"], ["state"]):
        assert run(LAUNCHER_LANE, runtime, *words, identifier).returncode == 0
    assert run(LAUNCHER_LANE, runtime, "kill", identifier, "KILL").returncode == 0
    assert container.exit_status() == 128 + 9
    assert run(LAUNCHER_LANE, runtime, "state", identifier).stdout.count('"stopped"') == 1
    assert run(LAUNCHER_LANE, runtime, "delete", identifier).returncode == 0
    nothing_left(runtime, identifier, container.bundle)


@pytest.mark.rows("R37")
def test_the_program_runs_when_start_returns(container: Container) -> None:
    container.create()
    assert run(LAUNCHER_LANE, container.runtime, "start", container.id).returncode == 0
    assert os.readlink(f"/proc/{container.pid}/exe").endswith("/busybox")
    assert not (container.runtime.root / container.id / "start").exists()


def no_program(container: Container) -> None:
    program = container.bundle.rootfs / "program"
    program.write_bytes(b"\x7fELF is not enough")
    program.chmod(0o755)
    container.bundle.process["args"] = ["/program"]


def no_interpreter(container: Container) -> None:
    program = container.bundle.rootfs / "program"
    program.write_text("#!/nowhere/sh\n")
    program.chmod(0o755)
    container.bundle.process["args"] = ["/program"]


@pytest.mark.rows("R37")
@pytest.mark.parametrize("arrange", [no_program, no_interpreter])
def test_a_program_that_cannot_run_is_told_as_python_tells_it(
    make_container: MakeContainer, arrange: Callable[[Container], None]
) -> None:
    outcomes = []
    for lane in (PYTHON_LANE, BOTH_LANES):
        container = make_container()
        arrange(container)
        container.create()
        outcomes.append(outcome(lane, container, ["--log", "start.log", "start", "ID"]))
        assert container.state()["status"] == "stopped"
        container.delete()
        (container.runtime.workplace / "start.log").unlink()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].status == 1
    assert "/program" in outcomes[0].stderr


@pytest.mark.rows("R39")
def test_of_many_deletes_one_succeeds(container: Container) -> None:
    container.create().stop()
    command = [*BOTH_LANES, "--root", str(container.runtime.root), "delete", container.id]
    commands = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    errors = [each.communicate(timeout=TIMEOUT)[1] for each in commands]
    assert sorted(each.returncode for each in commands) == [0, 1, 1, 1, 1, 1]
    assert sum("does not exist" in error for error in errors) == 5
    nothing_left(container.runtime, container.id, container.bundle)


@pytest.mark.rows("R37")
def test_of_many_starts_one_succeeds(container: Container) -> None:
    container.create()
    command = [*BOTH_LANES, "--root", str(container.runtime.root), "start", container.id]
    commands = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    errors = [each.communicate(timeout=TIMEOUT)[1] for each in commands]
    assert sorted(each.returncode for each in commands) == [0, 1, 1, 1, 1, 1]
    assert sum("already running" in error for error in errors) == 5


def message(line: bytes) -> bytes:
    """A line of the log without its time."""
    return line.partition(b" level=")[2]


@pytest.mark.rows("R35")
@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "<&- >&-", "2>&-"])
def test_output_that_cannot_be_written(container: Container, redirection: str) -> None:
    container.create()
    words = ["--root", str(container.runtime.root), "state", container.id]
    results = [
        subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *lane, *words],
            capture_output=True,
            timeout=TIMEOUT,
        )
        for lane in (PYTHON_LANE, BOTH_LANES)
    ]
    python, both = ((each.returncode, each.stdout, message(each.stderr)) for each in results)
    assert python == both


@pytest.mark.rows("R35")
def test_a_pipe_that_nobody_reads(container: Container) -> None:
    container.create()
    results: list[subprocess.CompletedProcess[str]] = []
    for lane in (PYTHON_LANE, BOTH_LANES):
        reader, writer = os.pipe()
        os.close(reader)
        results.append(run(lane, container.runtime, "state", container.id, stdout=writer))
        os.close(writer)
    assert results[0].returncode == results[1].returncode == 1
    messages = [message(each.stderr.encode()) for each in results]
    assert messages[0] == messages[1] != b""


def test_a_cut_file_is_never_performed(container: Container) -> None:
    container.create()
    path = container.runtime.root / container.id / "verbs"
    content = path.read_bytes()
    assert run(LAUNCHER_LANE, container.runtime, "state", container.id).returncode == 0
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        result = run(LAUNCHER_LANE, container.runtime, "state", container.id)
        assert (result.returncode, result.stdout) == (LEFT_TO_PYTHON, "")


def test_numbers_beyond_the_file_are_refused(container: Container) -> None:
    """Offsets, counts and operation numbers of the state plan, each made too large."""
    container.create()
    path = container.runtime.root / container.id / "verbs"
    content = path.read_bytes()
    operations = int.from_bytes(content[64:68], "little")
    # where the plan begins, how many operations, the first one's number, the text of `print`
    places = [64, 68, operations]
    for place in places:
        path.write_bytes(content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :])
        result = run(LAUNCHER_LANE, container.runtime, "state", container.id)
        assert result.returncode == LEFT_TO_PYTHON


@pytest.mark.rows("R297")
def test_start_waits_for_readiness_in_python(container: Container) -> None:
    container.create()
    for socket, status in (("/run/nowhere", LEFT_TO_PYTHON), ("", 0)):
        env = {"NOTIFY_SOCKET": socket}
        result = run(LAUNCHER_LANE, container.runtime, "start", container.id, env=env)
        assert result.returncode == status


@pytest.mark.parametrize(
    "setting", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "/run/user/1"}]
)
def test_the_default_root(setting: dict[str, str]) -> None:
    """By a container that is not there: Python is asked in any case, and says the same."""
    command = [str(LAUNCHED), "state", "there-is-no-such-container"]
    python = [*PYTHON_LANE, *command[1:]]
    env = {"PATH": os.environ["PATH"], **setting}
    texts = [
        subprocess.run(each, capture_output=True, text=True, timeout=TIMEOUT, env=env).stderr
        for each in (command, python)
    ]
    assert "does not exist" in texts[0]
    assert texts[0].partition("level")[2] == texts[1].partition("level")[2]


def test_it_says_when_there_is_no_python(workplace: Path, runtime: Runtime) -> None:
    result = run(LAUNCHER_LANE, runtime, "features")
    assert result.returncode == LEFT_TO_PYTHON
    assert result.stderr == "pyruntime: cannot execute /nonexistent/python3\n"


def test_links_to_the_command(workplace: Path) -> None:
    link = workplace / "link"
    link.symlink_to(LAUNCHED)
    result = subprocess.run([link, "--version"], capture_output=True, text=True, timeout=TIMEOUT)
    assert result.stdout.startswith("pyruntime version ")
