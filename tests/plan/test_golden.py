"""Whole plans, one line for each operation, as they were when somebody last looked at them.

A change of a plan shows in the diff of tests/plan/golden. PYRUNTIME_GOLDEN=write rewrites them.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyruntime import config as configs
from pyruntime.plan import render
from tests.plan.compiled import HostFacts, plan

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
CONFIGS = HERE.parent / "data" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))


def check(name: str, document: dict[str, Any]) -> None:
    compiled = plan(document, HostFacts(apparmor=True, selinux=True), identifier="golden")
    text = "".join(line + "\n" for line in render.lines(compiled, aligned=False))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("PYRUNTIME_GOLDEN") == "write":
        path.write_text(text)
    assert path.exists(), f"no {path}: PYRUNTIME_GOLDEN=write makes it"
    before = path.read_text().splitlines()
    changes = list(
        difflib.unified_diff(before, text.splitlines(), "golden", "now", lineterm="", n=1)
    )
    assert not changes, "\n".join(changes)


def test_there_are_configs_of_every_engine() -> None:
    engines = {name.split("-")[0] for name in NAMES}
    assert engines == {"buildah", "containerd", "cri", "docker", "podman"}


@pytest.mark.parametrize("name", NAMES)
def test_config_of_an_engine(name: str) -> None:
    check(name, configs.parse((CONFIGS / f"{name}.json").read_bytes()))


def test_default_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `spec` writes, which has what runc's writes; on v2 it asks for one namespace more."""
    from pyruntime.commands import spec

    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: "cgroup" not in str(path) and exists(path))
    check("spec", configs.parse(json.dumps(spec.specification(False)).encode()))


def test_every_golden_plan_has_its_config() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*NAMES, "spec"}
