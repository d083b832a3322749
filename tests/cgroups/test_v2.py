"""Cgroup v2 alone, in a mount namespace of its own where the v1 hierarchies are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

VIEW = """
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup || exit 76
exec "$@"
"""

CHECKS = [
    ("lifecycle", ["R161", "R163", "R292", "R307"]),
    ("controllers", ["R165", "R192", "R196", "R176"]),
    ("unified", ["R196", "R294", "R1"]),
    ("fitness", ["R163"]),
    ("threaded", ["R165"]),
    ("ownership", ["R164"]),
    ("into", ["R161"]),
    ("device_program", ["R153", "R154", "R170"]),
    ("device_programs_of_every_shape", ["R170"]),
]


@pytest.mark.parametrize(
    "check", [pytest.param(name, marks=pytest.mark.rows(*rows)) for name, rows in CHECKS]
)
def test_v2(check: str) -> None:
    script = str(Path(__file__).with_name("bare_v2.py"))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", VIEW, "sh", sys.executable, script, check],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode == 76 or "unshare failed" in done.stderr:
        pytest.skip(f"needs a mount namespace with cgroup2: {done.stderr.strip()}")
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
