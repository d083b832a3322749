"""The list of steps that a kubelet does with a server of its interface."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engines.cri.node import Node

Step = Callable[["Node"], None]
STEPS: list[tuple[str, Step, str]] = []
CGROUPS = Path("/sys/fs/cgroup")
SERVER = os.environ.get("SERVER", "containerd")  # whose interface it is


def step(function: Step) -> Step:
    """Make a function a step, which has its name with dashes."""
    STEPS.append((function.__name__.replace("_", "-"), function, ""))
    return function


def skip(name: str, reason: str) -> None:
    """In place of a step that cannot be tried."""
    STEPS.append((name, lambda node: None, reason))


def containerd_version() -> tuple[int, ...]:
    """Such as (1, 6)."""
    text = subprocess.check_output(["containerd", "--version"], text=True)
    found = re.search(r" v?(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def lacks_capabilities() -> bool:
    """Whether some capability of the kernel is withheld from this process for good."""
    found = re.search(r"^CapBnd:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return found is None or int(found[1], 16) != (2 << last) - 1


def has_controller(name: str) -> bool:
    """Whether the cgroups of this world can limit that."""
    controllers = CGROUPS / "cgroup.controllers"
    return (CGROUPS / name).is_dir() or (
        controllers.exists() and name in controllers.read_text().split()
    )
