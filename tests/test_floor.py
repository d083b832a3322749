"""The verdicts of WITHOUT_CALLS=... pytest conformance: what passes, is refused, fails.

The runtime here is a script that says and leaves what a test tells it to.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.floor import Judge, texts_below
from conformance.runtime import Result
from pyruntime.failures import lacking
from tests.root.host import TREE

WORDS = f"pyruntime create failed: init: clone: {lacking('clone')}"
TRACEBACK = f"Traceback (most recent call last):\n{WORDS}"
JUDGE = Judge(("clone3", "openat2"))

RUNTIME = """#!/bin/sh
test "$1" = --version && echo pyruntime && exit
. "${2%/root}/script"
"""
TESTS = '''
import json
import subprocess
from pathlib import Path

import pytest

import conformance.runtime
from conformance.bundle import Bundle

CASES = json.loads(Path(__file__).with_name("cases.json").read_text())

def create(runtime):
    runtime.ok("create", "x")

def expected(runtime):
    runtime.refused("create", "x")

def of_its_own(runtime):
    """A process that the test starts itself."""
    with open(runtime.workplace / "own", "w") as file:
        assert subprocess.run(runtime.command("create", "x"), stderr=file).returncode == 0

def another(runtime):
    """A failure of the test's own."""
    runtime.ok("create", "x")
    assert not runtime

def container(runtime):
    (runtime.workplace / "busybox").touch()
    bundle = Bundle(runtime.workplace / "bundle", runtime.workplace / "busybox", "floor-x")
    conformance.runtime.Container(runtime, bundle, "floor-x").create()

def traces_before(runtime):
    """What the test itself made is nobody's trace."""
    (runtime.root / "floor-x").mkdir(parents=True)
    container(runtime)

def spared(runtime):
    """No filter binds a verb that has all calls."""
    assert runtime.ok("run", "x").stdout in Path("/proc/self/status").read_text()

def bound(runtime):
    """The filter binds the runtime, and not its test."""
    said = runtime.ok("create", "x").stdout
    assert said.strip()
    assert said not in Path("/proc/self/status").read_text()

@pytest.mark.parametrize("name", CASES)
def test(name, runtime, monkeypatch):
    script, body = CASES[name]
    (runtime.workplace / "script").write_text(script)
    monkeypatch.setattr(conformance.runtime, "TIMEOUT", 2 if "hangs" in name else 60)
    globals()[body](runtime)
'''


def says(text: str, status: int = 1) -> str:
    """A script for the runtime."""
    return f"cat >&2 <<'END'\n{text}\nEND\nexit {status}\n"


# The runtime's script, the test's body, and the verdict.
CASES = {
    "nothing missing": ("exit 0", "create", "PASSED"),
    "refused": (says(WORDS), "create", "REFUSED"),
    "refused as expected": (says(WORDS), "expected", "PASSED"),
    "refused in a file": (says(WORDS), "of_its_own", "REFUSED"),
    "refused a container": (says(WORDS), "container", "REFUSED"),
    "refused beside the test's own": (says(WORDS), "traces_before", "REFUSED"),
    "bound": ("grep Seccomp_filters: /proc/self/status", "bound", "PASSED"),
    "spared": ("grep Seccomp_filters: /proc/self/status", "spared", "PASSED"),
    "another reason": (says("pyruntime create failed: no such file"), "create", "FAILED"),
    "another release": (says(WORDS.replace("5.3", "5.4")), "create", "FAILED"),
    "no need": (says(WORDS.replace("needs 5.14", "works")), "create", "FAILED"),
    "another call": (says(WORDS.replace("clone3(2)", "openat2(2)")), "create", "FAILED"),
    "no words": (says("create: clone: function not implemented"), "create", "FAILED"),
    "no words and expected": (says("function not implemented"), "expected", "FAILED"),
    "no words and status 0": (says("OSError: [Errno 38]", 0), "create", "FAILED"),
    "a wrong status": (says(WORDS, 2), "create", "FAILED"),
    "told twice": (says(f"{WORDS}\n{WORDS}"), "create", "FAILED"),
    "one more error": (says(f"{WORDS}\nfunction not implemented"), "create", "FAILED"),
    "a traceback": (says(TRACEBACK), "create", "FAILED"),
    "a traceback in a file": (says(TRACEBACK), "of_its_own", "FAILED"),
    "a traceback and expected": (says(TRACEBACK), "expected", "FAILED"),
    "a traceback and status 0": (says(TRACEBACK, 0), "create", "FAILED"),
    "the test's own failure": ("exit 0", "another", "FAILED"),
    "traces of a container": (
        'mkdir -p "$2/floor-x"\n' + says(WORDS),
        "container",
        "FAILED",
    ),
    "a command that hangs": (
        says(WORDS).replace("exit 1", "exec sleep 20"),
        "create",
        "FAILED",
    ),
}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints of all cases."""
    place = tmp_path_factory.mktemp("floor")
    runtime = place / "runtime"
    runtime.write_text(RUNTIME)
    runtime.chmod(0o755)
    cases = {name: case[:2] for name, case in CASES.items()}
    (place / "cases.json").write_text(json.dumps(cases))
    (place / "test_cases.py").write_text(TESTS)
    words = ["-p", "conformance.conftest", "-p", "no:cacheprovider", "--rootdir", str(place)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", *words, str(place / "test_cases.py")],
        cwd=TREE,
        env={
            **os.environ,
            "RUNTIME": str(runtime),
            "WITHOUT_CALLS": "clone3",
            "SPARED_VERBS": "run",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    if "PermissionError" in done.stdout:
        pytest.skip("needs the right to load a seccomp filter")
    assert done.returncode == 1, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", CASES)
def test_verdict(output: str, name: str) -> None:
    assert re.findall(rf"::test\[{re.escape(name)}\] (\w+)", output) == [CASES[name][2]], output


def test_the_reasons_are_told(output: str) -> None:
    for reason in (
        "not explained: create: clone: function not implemented",
        "a traceback",
        "refused with a wrong status",
        "refused more than once",
        "left behind: state: ",
        "no end within",
    ):
        assert reason in output


def test_the_counts(output: str) -> None:
    """One line, for the table in docs/kernel-features.md."""
    verdicts = [verdict for _, _, verdict in CASES.values()]
    passed, refused, failed = (verdicts.count(word) for word in ("PASSED", "REFUSED", "FAILED"))
    assert (
        f"without clone3: {passed} passed, 0 xfailed, {refused} refused in words, {failed} failed,"
        " 0 skipped\n"
    ) in output


def test_files_that_cannot_be_read() -> None:
    """As namespaces are, which tests mount beside the files."""
    assert texts_below([Path("/proc/self/ns"), Path("/nowhere")]) == []
    assert any("Name:" in text for text in texts_below([Path("/proc/self")]))


def test_the_judge_looks_at_every_call() -> None:
    """Also for exec, whose refusals have the status 255."""
    text = f"pyruntime exec failed: {lacking('openat2')}"
    result = Result("/bin/pyruntime --root /r exec id true", 255, "", text)
    assert JUDGE.refuses(text)
    assert JUDGE.faults_of_result(result) == []
    [fault] = JUDGE.faults_of_result(Result(result.command, 1, "", text))
    assert "wrong status" in fault
