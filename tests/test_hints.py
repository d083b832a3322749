"""A person at a terminal is told what to do next; a program is not."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from pyruntime.hints import GENERAL, HINTS, hint

PROGRAM = Path(__file__).resolve().parents[1] / "bin" / "pyruntime"


def on_terminal(place: Path, *words: str) -> str:
    """What the command writes to a terminal as its standard error."""
    master, slave = pty.openpty()
    command = [str(PROGRAM), "--root", str(place / "root"), *words]
    process = subprocess.Popen(
        command, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave
    )
    os.close(slave)
    text = b""
    try:
        while data := os.read(master, 65536):
            text += data
    except OSError:  # EIO: the other side is closed
        pass
    os.close(master)
    assert process.wait() != 0
    return text.decode()


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["state", "nope"], "`pyruntime list` shows the containers"),
        (["delete", "nope"], "`pyruntime list` shows the containers"),
        (["create", "x"], "`pyruntime spec` writes a config.json"),
        (["create", "a/b"], "letters, digits"),
    ],
)
def test_an_error_on_a_terminal_says_what_to_do_next(
    tmp_path: Path, words: list[str], advice: str
) -> None:
    shown = on_terminal(tmp_path, *words)
    assert "ERRO" in shown
    assert advice in shown.partition("hint: ")[2]


def test_no_hint_where_a_program_reads(tmp_path: Path) -> None:
    result = subprocess.run(
        [str(PROGRAM), "--root", str(tmp_path / "root"), "state", "nope"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "container does not exist" in result.stderr
    assert "hint:" not in result.stderr


def test_an_error_that_nobody_thought_of_gets_the_general_hint() -> None:
    assert hint("something new", "create") == GENERAL.format(verb="create")


def test_an_error_that_names_the_way_out_gets_no_second_one() -> None:
    assert hint("unknown signal 'X' (a number, or a name such as TERM)", "kill") == ""


def test_the_words_of_every_hint_still_occur_in_an_error() -> None:
    package = PROGRAM.parents[1] / "pyruntime"
    source = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "hints.py")
    kernel = ("no such file or directory", "operation not permitted", "permission denied")
    words = [words.partition(" '")[0] for words, _ in HINTS]
    assert [each for each in words if each not in source and each not in kernel] == []
