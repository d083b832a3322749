"""What a command pays for: the modules that cgroups load."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Built into the interpreter, or already there when it has started.
FREE = {
    "__future__",
    "_json",
    "_signal",
    "_socket",
    "_struct",
    "errno",
    "fcntl",
    "posix",
    "select",
    "struct",
    "sys",
    "time",
}

LOAD = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    __import__("pyruntime.cgroups." + name)
print(*(set(sys.modules) - before))
"""


def loaded(*names: str) -> set[str]:
    command = ["/usr/bin/python3", "-IS", "-c", LOAD, str(ROOT), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs /usr/bin/python3")
def test_only_free_modules_are_loaded() -> None:
    names = sorted(path.stem for path in (ROOT / "pyruntime/cgroups").glob("[a-z]*.py"))
    assert "manager" in names
    ours = {name for name in loaded(*names) if name.split(".")[0] == "pyruntime"}
    assert loaded(*names) - ours <= FREE


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs /usr/bin/python3")
def test_a_small_command_does_not_pay_for_making_cgroups() -> None:
    heavy = {
        f"pyruntime.cgroups.{name}" for name in ("conversions", "devices", "creation", "limits")
    }
    assert not loaded("manager") & heavy
