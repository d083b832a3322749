"""The same command by Python alone, by way of the launcher, and by the launcher alone.

In the third lane there is no Python to be started: what succeeds there the launcher has
done, and status 127 is its word that it would have left the command to Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.runtime import Container, Runtime, alive, cgroup_directories, wait_for
from tests.root.host import PROGRAM, TREE

LAUNCHER = TREE / "pyruntime/launcher/pyruntime-launcher"
LAUNCHED = TREE / "build/bin/pyruntime"
PYTHON_LANE = [str(PROGRAM)]
BOTH_LANES = [str(LAUNCHED)]
LAUNCHER_LANE = [str(LAUNCHER), "/nonexistent/python3 -IS", str(LAUNCHED)]
LEFT_TO_PYTHON = 127
TIMEOUT = 60
FATAL = frozenset(("KILL", "sigkill", "9", "09"))


@dataclass(frozen=True)
class Outcome:
    """All that can be seen of a command, with names and numbers of the container replaced."""

    status: int
    stdout: str
    stderr: str
    files: tuple[tuple[str, str, str], ...]  # path, mode, content of plain ones
    cgroups: tuple[str, ...]
    frozen: tuple[str, ...]  # THAWED, or what a freezer says else
    alive: bool


def run(
    lane: Sequence[str],
    runtime: Runtime,
    *words: str,
    stdout: int = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """One command; the root comes before the words."""
    return subprocess.run(
        [*lane, "--root", str(runtime.root), *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        env=env,
        cwd=runtime.workplace,
    )


def replaced(text: str, container: Container) -> str:
    """The text without what differs between two containers that were made alike."""
    text = text.replace(container.id, "ID").replace(f'"pid": {container.pid},', '"pid": PID,')
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "TIME", text)
    return re.sub(r"\.\d+\.gone", ".NUMBER.gone", text)


def files_of(container: Container) -> tuple[tuple[str, str, str], ...]:
    """What lies in the runtime's root, and the log of the tests."""
    found = []
    root = container.runtime.root
    for path in sorted([*root.rglob("*"), *container.runtime.workplace.glob("*.log")]):
        about = path.lstat()
        content = ""
        if path.suffix == ".log" and path.is_file():
            content = replaced(path.read_text(), container)
        found.append((replaced(str(path), container), oct(about.st_mode), content))
    return tuple(found)


def outcome(lane: Sequence[str], container: Container, words: Sequence[str]) -> Outcome:
    """Run a command, in which ID stands for the container's id, and look around."""
    words = [container.id if word == "ID" else word for word in words]
    result = run(lane, container.runtime, *words)
    if result.returncode == 0 and "kill" in words and FATAL.intersection(words):
        wait_for(lambda: not alive(container.pid), "the end of the killed process")
    return Outcome(
        result.returncode,
        replaced(result.stdout, container),
        replaced(result.stderr, container),
        files_of(container),
        tuple(replaced(str(path), container) for path in found_cgroups(container)),
        freezers(container),
        alive(container.pid),
    )


def found_cgroups(container: Container) -> list[Path]:
    """The container's cgroups that exist."""
    return cgroup_directories(container.bundle.cgroups_path)


def freezers(container: Container) -> tuple[str, ...]:
    """What each freezer that the container is in was told, in the words of version 1."""
    found = []
    words = {"0": "THAWED", "1": "FROZEN"}
    for directory in found_cgroups(container):
        for file in ("freezer.state", "cgroup.freeze"):
            if (directory / file).exists():
                said = (directory / file).read_text().strip()
                found.append(words.get(said, said))
    return tuple(found)


def clear(container: Container) -> None:
    """Remove all of a container, so that the next one finds the root as this one did."""
    container.clean()
    for path in container.runtime.workplace.glob("*.log"):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    shutil.rmtree(container.runtime.root)
