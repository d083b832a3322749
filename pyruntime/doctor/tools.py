"""The interpreter that runs us, and CRIU."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

from pyruntime.criu import program
from pyruntime.doctor.finding import NO, YES, Finding
from pyruntime.errors import CriuError

SAMPLES = 5
SLOW = 30.0  # ms
OLDEST = (3, 11)
TIMEOUT = 30


def findings() -> list[Finding]:
    """Python and its start, then CRIU."""
    return [_version(), _start(), _criu()]


def _version() -> Finding:
    cost = "pyruntime needs Python 3.11 or later"
    text = ".".join(map(str, sys.version_info[:3]))
    state = YES if sys.version_info >= OLDEST else NO
    return Finding("Python", state, f"{text}, {sys.executable}", cost, True)


def _start() -> Finding:
    """The best of a few starts without site, as the command is started."""
    took = min(_start_once() for _ in range(SAMPLES))
    state = YES if took < SLOW else NO
    cost = "every command takes that long before it begins; a wrapper in front of Python may be why"
    return Finding("quick start of Python", state, f"{took:.1f} ms", cost)


def _start_once() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable or "python3", "-IS", "-c", ""], check=False, timeout=TIMEOUT)
    return (time.perf_counter() - begin) * 1000


def _criu() -> Finding:
    """Its release, and `criu check`, which tries what the kernel offers it."""
    cost = "checkpoint and restore cannot work"
    path = shutil.which("criu")
    if path is None:
        return Finding("criu", NO, "not installed", cost)
    try:
        major, minor = program.check_version(path)
        result = subprocess.run(
            [path, "check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired, CriuError) as error:
        return Finding("criu", NO, str(error), cost)
    name = f"{major}.{minor}, {path}"
    if result.returncode == 0:
        return Finding("criu", YES, name, cost)
    lines = (result.stderr + result.stdout).strip().splitlines() or ["it fails"]
    return Finding("criu", NO, f"{name}; criu check: {lines[0].strip()}", cost)
