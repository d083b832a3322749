"""tools/documents.py: a man page for each verb, and completions that complete."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyruntime import options
from pyruntime.options import Verb

CHECKOUT = Path(__file__).resolve().parent.parent
VERBS = list(options.VERBS)


def run(command: list[str], **env: str) -> str:
    """The standard output of a command, which must succeed and write no error."""
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, **env}
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` makes."""
    directory = tmp_path_factory.mktemp("docs")
    run(["make", "-s", "-C", str(CHECKOUT), "docs", f"DOCS={directory}"])
    return directory / "share"


def program(name: str) -> str:
    """The path of a program, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def complete(made: Path, *words: str, **env: str) -> list[str]:
    """What bash offers for the last word."""
    script = made / "bash-completion/completions/pyruntime"
    line = (
        '. "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_pyruntime; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    bash = [program("bash"), "--norc", "-c", line, str(script), "pyruntime", *words]
    return sorted(run(bash, **env).split())


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_a_page(made: Path, name: str) -> None:
    text = (made / f"man/man8/pyruntime-{name}.8").read_text()
    verb = options.verb(name)
    assert isinstance(verb, Verb)
    assert text.startswith(f".TH PYRUNTIME\\-{name.upper()} 8 ")
    for option in verb.options:
        shown = "\\-" * min(len(option.names[0]), 2) + option.names[0].replace("-", "\\-")
        assert (f"\\fB{shown}\\fR" in text) != option.hidden
    assert f"\\fB{name}\\fR" in (made / "man/man8/pyruntime.8").read_text()


def test_troff_takes_every_page(made: Path) -> None:
    groff = program("groff")
    for path in sorted((made / "man/man8").iterdir()):
        assert "System administration" in run([groff, "-man", "-Tascii", "-ww", "-P-c", str(path)])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["start", "state"]),
        (["--log", "st", "st"], ["start", "state"]),
        (["--cgroup-manager", "s"], ["systemd"]),
        (["delete", "--f"], ["--force"]),
        (["mounts", "a"], ["add"]),
        (["nosuch", "s"], []),
    ],
    ids=str,
)
def test_bash_completes(made: Path, words: list[str], expected: list[str]) -> None:
    assert complete(made, *words) == expected


def test_bash_completes_containers_and_files(made: Path, tmp_path: Path) -> None:
    command = tmp_path / "pyruntime"
    command.write_text("#!/bin/sh\necho one two\n")
    command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert complete(made, "state", "o", PATH=path) == ["one"]
    assert complete(made, "mounts", "add", "tw", PATH=path) == ["two"]
    (tmp_path / "trace.json").touch()
    assert complete(made, "trace", f"{tmp_path}/tr") == [f"{tmp_path}/trace.json"]


def test_zsh_can_read_its_completion(made: Path) -> None:
    run([program("zsh"), "-fn", str(made / "zsh/site-functions/_pyruntime")])


def test_fish_completes(made: Path, tmp_path: Path) -> None:
    fish = program("fish")
    script = made / "fish/vendor_completions.d/pyruntime.fish"
    line = f"source {script}; complete -C 'pyruntime st'"
    found = run([fish, "--no-config", "-c", line], HOME=str(tmp_path))
    assert [each.split("\t")[0] for each in found.splitlines()] == ["start", "state"]
