"""Log lines in logrus' forms, compared with runc's where it is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyruntime import log
from pyruntime.errors import PyruntimeError
from pyruntime.log import Log

CHECKOUT = Path(__file__).resolve().parents[1]

MESSAGES = [
    "plain",
    "two words",
    'quote " and backslash \\',
    "tab\tnewline\nreturn\r",
    "<tag> & more",
    "umlaut \u00e4, euro \u20ac, face \U0001f600",
    "no-break\u00a0space and line\u2028separator",
    "escape \x1b[31m",
    "delete \x7f",
    "bytes \udcff\udcc3 that are no UTF-8",
    "a-b.c/d@e^f+g=h%i:j'k,l~m",
]


def runc_line(form: str, name: str) -> bytes:
    """What runc says about a bundle of that name, which does not exist."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is not installed")
    words: list[str | bytes] = [
        runc,
        "--log-format",
        form,
        "create",
        "--bundle",
        os.fsencode(name),
        "nosuch",
    ]
    return subprocess.run(words, capture_output=True, cwd="/proc/self/fdinfo").stderr


def without_time(line: bytes) -> bytes:
    stamp = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"
    changed, count = re.subn(rb'"' + stamp + rb'"', b'"TIME"', line)
    assert count == 1
    return changed


@pytest.mark.parametrize("message", MESSAGES, ids=ascii)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_is_as_runc_writes_it(form: str, message: str) -> None:
    line = {"text": log.text_line, "json": log.json_line}[form]
    whole = f"runc create failed: chdir {message}: no such file or directory"
    assert without_time(line("error", whole)) == without_time(runc_line(form, message))


@pytest.mark.parametrize("message", MESSAGES, ids=ascii)
def test_json_can_be_read_back(message: str) -> None:
    record = json.loads(log.json_line("warning", message))
    assert list(record) == ["level", "msg", "time"]
    assert record["level"] == "warning"
    assert record["msg"] == re.sub("[\ud800-\udfff]", "\ufffd", message)


def test_text_is_quoted_only_where_it_must_be() -> None:
    assert without_time(log.text_line("error", "plain")) == b'time="TIME" level=error msg=plain\n'
    assert log.text_line("error", "a b").endswith(b' level=error msg="a b"\n')


def test_a_line_for_a_terminal() -> None:
    line = log.coloured_line("error", "container does not exist", None, 75.9)
    expected = "\x1b[31mERRO\x1b[0m[0075] " + "container does not exist".ljust(44) + " \n"
    assert line == expected.encode()


def test_a_message_cannot_steer_the_terminal() -> None:
    line = log.coloured_line("error", "x\x1b[2J\x9b\r\n", None, 0)
    assert line.count(b"\x1b") == 2
    assert line.count(b"\n") == 1
    assert b"\x9b" not in line
    assert b"\r" not in line


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("UTC", "Z"), ("XXX-5:30", "+05:30"), ("XXX3:30", "-03:30"), ("XXX-13", "+13:00")],
)
def test_the_time_is_local(zone: str, expected: str) -> None:
    code = "from pyruntime import log; print(log.timestamp())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"TZ": zone, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d" + re.escape(expected), found)


def test_the_file_is_appended_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    for message in ("one", "two"):
        writer = Log(str(path), "json")
        writer.open()
        writer.warning(message)
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()] == ["one", "two"]
    assert capfd.readouterr().err == ""


def test_the_final_error_is_bare_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    writer = Log(str(path), "json")
    writer.open()
    writer.fatal('no "such" thing')
    record = json.loads(path.read_text())
    assert (record["level"], record["msg"]) == ("error", 'no "such" thing')
    assert capfd.readouterr().err == 'no "such" thing\n'


def test_details_are_written_only_when_asked_for(tmp_path: Path) -> None:
    quiet, loud = Log(str(tmp_path / "q"), "json"), Log(str(tmp_path / "l"), "json", True)
    for writer in (quiet, loud):
        writer.open()
        writer.debug("a detail")
        writer.info("a note")
    assert [json.loads(line)["msg"] for line in Path(quiet.path).read_text().splitlines()] == [
        "a note"
    ]
    records = [json.loads(line) for line in Path(loud.path).read_text().splitlines()]
    assert [record["msg"] for record in records] == ["a detail", "a note"]
    assert records[0]["level"] == "debug"
    assert records[0]["func"].endswith("test_details_are_written_only_when_asked_for")
    assert records[0]["file"].startswith("test_log.py:")


def test_the_descriptor_is_not_inherited(tmp_path: Path) -> None:
    writer = Log(str(tmp_path / "log"))
    writer.open()
    assert not os.get_inheritable(writer._fd)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o644 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(PyruntimeError, match=r"^invalid log-format: fancy$"):
        Log("", "fancy").open()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{}/none/log", "no such file or directory"),
        ("{}", "is a directory"),
        ("{}/\0", "embedded null "),  # "byte"; "character in path" since Python 3.13
    ],
)
def test_a_log_that_cannot_be_opened(tmp_path: Path, path: str, reason: str) -> None:
    name = path.format(tmp_path)
    with pytest.raises(PyruntimeError) as caught:
        Log(name).open()
    text = str(caught.value)
    assert text.startswith(f"open {name}: ")
    assert reason in text


def test_a_full_disk_does_not_hide_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    writer = Log("/dev/full", "json")
    writer.open()
    writer.fatal("what really happened")
    assert capfd.readouterr().err == "what really happened\n"
