"""The bundles of the installed command: used, complete, and nothing behaves otherwise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import TREE

CHECKOUT = TREE / "bin/pyruntime"
INTERPRETER = ["/usr/bin/python3", "-IS"]
VERBS = ("create", "start", "state", "exec", "list", "kill", "delete")
DEADLINE = 30
# What create needs only where there is a version 2 hierarchy.
UNIFIED_ONLY = {"pyruntime.cgroups.ownership"}


@pytest.fixture
def sleeping(busybox_bundle: Path) -> Path:
    """The demo's bundle with a program that stays."""
    path = busybox_bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"]["args"] = ["/bin/sleep", "600"]
    path.write_text(json.dumps(config))
    return busybox_bundle


def bundles(command: Path) -> Path:
    """The one directory of bundles that an installation has."""
    (found,) = (command.parents[1] / "lib/pyruntime/bundles").iterdir()
    return found


class Life:
    """A container's life by one command; `words` come before the verb."""

    def __init__(self, words: list[str], where: Path, bundle: Path) -> None:
        self.words = words
        self.bundle = bundle
        self.root = where / "root"
        self.log = where / "stderr"
        self.identifier = f"bundled-{os.getpid()}"
        self.errors: dict[str, str] = {}

    def run(self, verb: str, *rest: str) -> str:
        """One verb's status and output, without what differs from call to call."""
        # What the container inherits must not be a pipe: it would not end with the command.
        output = self.root.parent / "stdout"
        with open(output, "w") as stdout, open(self.log, "w") as stderr:
            command = [*self.words, "--root", str(self.root), verb, *rest]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, timeout=120
            )
        self.errors.setdefault(verb, self.log.read_text())
        return f"{done.returncode} {_plain(output.read_text())}"

    def whole(self) -> dict[str, str]:
        """What each verb answers, from create to delete."""
        found: dict[str, str] = {}
        try:
            found["create"] = self.run("create", "--bundle", str(self.bundle), self.identifier)
            for verb in ("start", "state", "list"):
                rest = [self.identifier] if verb != "list" else []
                found[verb] = self.run(verb, *rest)
            found["exec"] = self.run("exec", self.identifier, "/bin/echo", "from within")
            found["kill"] = self.run("kill", self.identifier, "KILL")
            self.wait_until_stopped()
            found["delete"] = self.run("delete", self.identifier)
        finally:
            self.run("delete", "--force", self.identifier)
        return found

    def wait_until_stopped(self) -> None:
        end = time.monotonic() + DEADLINE
        while "stopped" not in self.run("state", self.identifier):
            assert time.monotonic() < end, "the container does not stop"
            time.sleep(0.02)


def _plain(text: str) -> str:
    """Without what differs between two containers, the width of a table's columns too."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z *", "TIME ", text)
    text = re.sub(r'"pid": [1-9]\d*', '"pid": N', text)
    text = re.sub(r"^(bundled-\d+) +[1-9]\d* +", r"\1 N ", text, flags=re.MULTILINE)
    return re.sub(r" {2,}(?=\S)", " ", text)


def imported(errors: str) -> set[str]:
    """Our modules that -X importtime has seen: those that the import system loaded."""
    return set(re.findall(r"\| +(pyruntime\S*)$", errors, flags=re.MULTILINE))


@pytest.fixture
def life(tmp_path: Path, sleeping: Path) -> Iterator[Callable[..., Life]]:
    def make(*words: str | Path) -> Life:
        where = tmp_path / f"life{len(list(tmp_path.glob('life*')))}"
        where.mkdir()
        return Life([str(word) for word in words], where, sleeping)

    yield make


def test_answers_are_those_of_the_checkout(installed: Path, life: Callable[..., Life]) -> None:
    ours, theirs = life(installed), life(CHECKOUT)
    answers = ours.whole()
    assert answers == theirs.whole()
    assert set(answers) == set(VERBS)
    assert all(answer.startswith("0 ") for answer in answers.values()), ours.errors
    assert answers["exec"] == "0 from within\n"


def test_bundles_hold_the_modules_that_the_checkout_imports(
    installed: Path, life: Callable[..., Life]
) -> None:
    timed = [*INTERPRETER, "-X", "importtime"]
    ours, theirs = life(*timed, installed), life(*timed, CHECKOUT)
    ours.whole()
    theirs.whole()
    for verb in VERBS:
        assert imported(ours.errors[verb]) == set(), f"{verb} imports beside its bundle"
        needed = imported(theirs.errors[verb])
        assert "pyruntime.__main__" in needed
        assert names(bundles(installed) / verb) - UNIFIED_ONLY == needed - UNIFIED_ONLY, verb


def names(bundle: Path) -> set[str]:
    """Our modules in a bundle."""
    code = (
        "import marshal, sys\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    print(*(module[0] for module in marshal.load(file)[1]))\n"
    )
    command = [*INTERPRETER, "-c", code, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if name.split(".")[0] == "pyruntime"}


def test_a_module_outside_of_the_bundle_is_imported(installed: Path, tmp_path: Path) -> None:
    # `explain`, which only a refused config needs, asks jsonschema, which is vendored.
    (tmp_path / "config.json").write_text('{"ociVersion": 1}')
    command = [str(installed), "--root", str(tmp_path / "root"), "create", "-b", str(tmp_path), "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert ".ociVersion" in done.stderr


def test_traceback_names_the_installed_files(installed: Path, tmp_path: Path) -> None:
    command = [str(installed), "--debug", "--root", str(tmp_path), "state", "missing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    library = installed.parents[1] / "lib/pyruntime"
    found = re.search(r'File \\"([^"]*/state\.py)\\", line (\d+), in load', done.stderr)
    assert found, done.stderr
    assert found[1] == str(library / "pyruntime/state.py")
    line = Path(found[1]).read_text().splitlines()[int(found[2]) - 1]
    assert "raise UnknownContainer" in line or "read_file" in line


def test_another_python_needs_no_bundle(installed: Path, tmp_path: Path) -> None:
    directory = bundles(installed)
    aside = directory.with_name("aside")
    directory.rename(aside)
    try:
        command = [str(installed), "--root", str(tmp_path), "list", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        aside.rename(directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
