"""doctor: it tries what it tells, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyruntime.cgroups import layout
from pyruntime.commands import doctor
from pyruntime.doctor import probe
from pyruntime.doctor.finding import NO, UNKNOWN, YES, Finding, can_run
from pyruntime.init_process import IMAGE
from pyruntime.plan import operations as op
from pyruntime.plan.builder import AT_FDCWD, Plan

CHECKOUT = Path(__file__).resolve().parent.parent
GROUPS = ["kernel", "cgroups", "security", "users", "tools"]
ASKED = """openat2 mount_setattr fsopen clone3 pidfd_getfd close_range criu Python cgroups
libseccomp SELinux AppArmor newuidmap newgidmap""".split()
ENOSYS = 38
GROUP = "pyruntime-doctor-*"

pytestmark = pytest.mark.skipif(not os.path.exists(IMAGE), reason="the init is not built")


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [CHECKOUT / "bin/pyruntime", "doctor", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


def states(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The findings of --json by their names."""
    return {each["name"]: each for each in json.loads(result.stdout)["findings"]}


def test_every_ability_is_told() -> None:
    result = run("--json")
    assert result.stderr == ""
    found = states(result)
    assert set(ASKED) <= set(found)
    assert {"idmapped mounts of /", "time namespaces", "user namespaces"} <= set(found)
    assert list(dict.fromkeys(each["group"] for each in found.values())) == GROUPS
    assert {each["state"] for each in found.values()} <= {YES, NO, UNKNOWN}
    for each in found.values():
        assert each["state"] == YES or each["cost"]


def test_the_exit_status_is_the_verdict() -> None:
    result = run("--json")
    document = json.loads(result.stdout)
    needed = [each for each in document["findings"] if each["needed"]]
    assert len(needed) > 8
    missing = [each for each in needed if each["state"] == NO]
    assert document["containersCanRun"] == (not missing)
    assert result.returncode == (1 if missing else 0)


def test_without_the_kernels_calls_containers_cannot_run() -> None:
    result = run("--json", PYRUNTIME_FAIL=f"0:{ENOSYS}")
    assert result.returncode == 1
    found = states(result)["init from sealed memory"]
    assert found["state"] == NO
    assert found["cost"].startswith("containers cannot run")


def test_the_report_says_what_a_gap_costs() -> None:
    lines = run(PYRUNTIME_FAIL=f"0:{ENOSYS}").stdout.splitlines()
    assert [line for line in lines if line and line[0] != " "][:-1] == GROUPS
    assert lines[-1].startswith("containers cannot run here; ")
    index = next(i for i, line in enumerate(lines) if "init from sealed memory" in line)
    assert lines[index].split()[0] == "NO"
    assert lines[index + 1].strip().startswith("containers cannot run")


def test_nothing_is_left() -> None:
    found = layout.detect()
    if found.mode == "none":
        pytest.skip("no cgroup hierarchy is mounted")
    result = run("--json")
    assert result.stdout
    tops = [Path(top) for top in (found.v2, *found.v1.values()) if top]
    pids = [each.name.rpartition("-")[2] for top in tops for each in top.glob(GROUP)]
    assert all(Path("/proc", pid).exists() for pid in pids)  # another doctor's, which still runs


@pytest.mark.parametrize(
    ("state", "needed", "expected"),
    [(YES, True, True), (NO, True, False), (NO, False, True), (UNKNOWN, True, True)],
)
def test_only_what_is_needed_decides(state: str, needed: bool, expected: bool) -> None:
    assert can_run([Finding("a", YES), Finding("b", state, needed=needed)]) is expected


@pytest.mark.parametrize(("path", "expected"), [("/", YES), ("/no/such/path", NO)])
def test_an_attempt_is_made(path: str, expected: str) -> None:
    plan = Plan()
    subject = op.openat2(plan.slot("file"), AT_FDCWD, path, 0, 0, 0)
    found = probe.attempt("try", plan, [subject], "a cost")
    assert found.state == expected
    assert ("ENOENT" in found.detail) == (expected == NO)


def test_a_failed_preparation_tells_nothing() -> None:
    plan = Plan()
    plan.add(op.openat2(plan.slot("file"), AT_FDCWD, "/no/such/path", 0, 0, 0))
    assert probe.attempt("try", plan, [op.umask(0)], "a cost").state == UNKNOWN


def test_a_gap_shows_its_cost() -> None:
    found = Finding("a", NO, "seen", "a cost")
    found.group = "kernel"
    assert found.as_json()["cost"] == "a cost"
    assert doctor.report([found])[:3] == ["kernel", "  NO  a" + " " * 29 + "seen", "      a cost"]
