"""The snapshot of an interpreter (tools/snapshot.py) does what Python does, or leaves it to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.packaging.conftest import install

PYTHON = "/usr/bin/python3"
FLAGS = "-IS"
DEADLINE = 30
TIME = r"\d{4}-\d\d-\d\dT[0-9:.]+Z"
CLOSED = ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A command that is installed with a snapshot, if there can be one."""
    return install(tmp_path_factory.mktemp("with-snapshot") / "usr", "SNAPSHOT=try")


@pytest.fixture(scope="session")
def snapshot(installed: Path) -> Path:
    """The file of the snapshot."""
    path = installed.parents[1] / "lib/pyruntime/pyruntime/launcher/pyruntime-python"
    if not path.exists():
        pytest.skip("no snapshot could be made here: make install says why")
    return path


def by(words: Sequence[str | Path], *rest: str | Path, **choices: object) -> tuple[int, str, str]:
    """Status, output and errors, without the time."""
    command = [str(word) for word in (*words, *rest)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **choices)  # type: ignore[call-overload]
    return done.returncode, done.stdout, re.sub(TIME, "TIME", done.stderr)


@pytest.fixture
def both(installed: Path, snapshot: Path) -> tuple[list[str | Path], list[str | Path]]:
    """The words that start the command from the snapshot, and by a new interpreter."""
    return [snapshot, f"{PYTHON} {FLAGS}", installed], [PYTHON, FLAGS, installed]


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["create", "--help"],
        ["create"],
        ["creat"],
        ["create", "--no-such-option", "x"],
        ["create", "--bundle", "/no/such/directory", "x"],
        ["create", "--bundle", "BAD", "x"],
        ["run", "--bundle", "BAD", "x"],
        ["state", "x"],
        ["state"],
        ["start", "x"],
        ["kill", "x", "KILL"],
        ["delete", "x"],
        ["delete", "--force", "x"],
        ["exec", "x", "true"],
        ["exec", "x"],
        ["pause", "x"],
        ["list"],
        ["list", "--format", "json"],
        ["spec", "--help"],
        ["--log-format", "json", "state", "x"],
        ["--log", "/no/such/directory/log", "state", "x"],
    ],
    ids=" ".join,
)
def test_answers_are_those_of_an_interpreter(
    both: tuple[list[str | Path], list[str | Path]], tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "config.json").write_text('{"ociVersion": 5, "root": {}}')
    words = [str(tmp_path) if word == "BAD" else word for word in words]
    root = ["--root", str(tmp_path / "root")]
    ours, theirs = (by(start, *root, *words, cwd=tmp_path) for start in both)
    assert ours == theirs


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("verb", ["state", "list"])
def test_closed_standard_descriptors(
    both: tuple[list[str | Path], list[str | Path]], tmp_path: Path, closed: str, verb: str
) -> None:
    arguments = ["--log", str(tmp_path / "log"), "--root", str(tmp_path / "root"), verb]
    arguments += ["x"] if verb == "state" else []
    found = []
    for start in both:
        found.append(by(["sh", "-c", f'exec "$@" {closed}', "sh"], *start, *arguments))
        log = re.sub(TIME, "TIME", (tmp_path / "log").read_text())
        found[-1] = (*found[-1], log)  # type: ignore[assignment]
        (tmp_path / "log").unlink()
    assert found[0] == found[1]


def test_it_serves_the_verbs_itself(
    both: tuple[list[str | Path], list[str | Path]], tmp_path: Path
) -> None:
    script = tmp_path / "never"
    script.write_text("raise SystemExit('a new interpreter was started')\n")
    start = [*both[0][:2], script, "--root", tmp_path / "root"]
    for verb in (["state", "x"], ["kill", "x"], ["exec", "x", "true"], ["create", "x"]):
        status, _, errors = by(start, *verb, cwd=tmp_path)
        assert status in (1, 255) and "interpreter" not in errors, errors
    assert "a new interpreter was started" in by(start, "list")[2]


def test_another_interpreter_is_started_itself(snapshot: Path, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho "started with $*"\n')
    other.chmod(0o755)
    answer = by([snapshot], f"{other} -IS", "script", "state", "x")
    assert answer == (0, "started with -IS script state x\n", "")


def test_a_damaged_one_starts_the_interpreter(
    snapshot: Path, installed: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copy(snapshot, damaged)
    os.truncate(damaged, snapshot.stat().st_size - 4096)
    words = ["--root", str(tmp_path), "state", "x"]
    status, _, errors = by([damaged], f"{PYTHON} {FLAGS}", installed, *words)
    assert status == 1
    assert "container does not exist" in errors


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [("XDG_RUNTIME_DIR", "/no/such", ""), ("NOTIFY_SOCKET", "", "")],
)
def test_environment_is_that_of_the_call(
    both: tuple[list[str | Path], list[str | Path]],
    tmp_path: Path,
    busybox_bundle: Path,
    variable: str,
    value: str,
    expected: str,
) -> None:
    # The operation that is to fail is named in the environment.
    environment = {**os.environ, variable: value, "PYRUNTIME_FAIL": "0:5"}
    words = ["--root", str(tmp_path / "root"), "create", "-b", str(busybox_bundle), "snapped"]
    ours, theirs = (by(start, *words, env=environment) for start in both)
    assert ours == theirs
    assert ours[0] == 1 and "input/output error" in ours[2].lower()


@pytest.mark.parametrize("ignored", [False, True])
def test_signals_are_as_an_interpreter_sets_them(
    both: tuple[list[str | Path], list[str | Path]],
    tmp_path: Path,
    busybox_bundle: Path,
    ignored: bool,
) -> None:
    config = json.loads((busybox_bundle / "config.json").read_text())
    config["process"]["args"] = ["/bin/sleep", "600"]
    config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "600"]}]}
    (busybox_bundle / "config.json").write_text(json.dumps(config))
    masks = [
        interrupted(start, tmp_path / f"root{index}", busybox_bundle, ignored)
        for index, start in enumerate(both)
    ]
    assert masks[0] == masks[1]


def interrupted(
    start: list[str | Path], root: Path, bundle: Path, ignored: bool
) -> tuple[dict[str, str], int, bool]:
    """The signals of a create that waits for a hook, its status after ^C, what it leaves."""
    identifier = f"snapped-{os.getpid()}"
    words = [*start, "--root", root, "create", "-b", bundle, identifier]
    trap = "trap '' INT; " if ignored else ""
    process = subprocess.Popen(
        ["sh", "-c", trap + 'exec "$@"', "sh", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_hook(process.pid)
        signals = signals_of(process.pid)
        process.send_signal(signal.SIGTERM if ignored else signal.SIGINT)
        return signals, process.wait(DEADLINE), (root / identifier).exists()
    finally:
        process.kill()
        process.wait()
        by(start, "--root", root, "delete", "--force", identifier)


def signals_of(pid: int) -> dict[str, str]:
    """What is ignored, caught and blocked, once posix_spawn(3) has unblocked what it blocks."""
    end = time.monotonic() + DEADLINE
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(line.split(":\t") for line in status.splitlines() if line[:3] == "Sig")
        if int(found["SigBlk"], 16) == 0 or time.monotonic() > end:
            return {name: found[name] for name in ("SigIgn", "SigCgt", "SigBlk")}
        time.sleep(0.01)


def wait_for_hook(pid: int) -> None:
    """Until a child of the process sleeps for 600 seconds."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            try:
                if b"600" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return
            except FileNotFoundError:
                continue
        time.sleep(0.02)
    raise AssertionError("the hook does not run")
