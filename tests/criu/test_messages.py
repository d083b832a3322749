"""The wire format of CRIU's RPC, and the conversation with a criu that is a thread here."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyruntime.criu import messages, program
from pyruntime.criu.conversation import Conversation
from pyruntime.errors import CriuError, PyruntimeError

NOTIFY = {"type": messages.NOTIFY, "success": True}


@pytest.mark.rows("R296")
@pytest.mark.parametrize(
    ("values", "content"),
    [
        # 150 and -1 are examples of protobuf's own documentation of the encoding.
        ({"type": 150}, "089601"),
        ({"type": -1}, "08ffffffffffffffffff01"),
        ({"notify_success": True}, "1801"),
        ({"opts": {"log_file": "testing"}}, "1209" + "5207" + b"testing".hex()),
        ({"opts": {"external": ["a", "b"]}}, "1208" + "aa020161" + "aa020162"),
        ({"opts": {"ext_mnt": []}}, "1200"),
        (
            {"opts": {"inherit_fd": [{"key": "k", "fd": 2}]}},
            "1208" + "da0105" + "0a016b" + "1002",
        ),
    ],
)
def test_encoding(values: dict[str, Any], content: str) -> None:
    assert messages.encode("request", values).hex() == content


@pytest.mark.rows("R296")
def test_decoding_passes_over_what_is_not_known() -> None:
    unknown = bytes.fromhex("980601" + "9a0603616263" + "a10608" + "00" * 7 + "a50604000000")
    known = messages.encode("response", {"type": 6, "success": 1, "notify": {"script": "x"}})
    decoded = messages.decode("response", unknown + known + unknown)
    assert decoded == {"type": 6, "success": 1, "notify": {"script": "x"}}


@pytest.mark.rows("R296")
def test_fields_have_numbers_of_their_own() -> None:
    for name, fields in messages.MESSAGES.items():
        numbers = [number for number, _ in fields.values()]
        assert len(set(numbers)) == len(numbers), name
        for _, kind in fields.values():
            plain = kind.removesuffix(messages.MANY)
            assert plain in (messages.NUMBER, messages.TEXT) or plain in messages.MESSAGES


@pytest.mark.rows("R296")
@pytest.mark.parametrize(
    "content",
    ["08", "0896", "08" + "ff" * 11, "2a05", "2a0568", "0b", "0f", "0a01", "2a0308", "2801"],
)
def test_answers_that_are_none(content: str) -> None:
    with pytest.raises(CriuError):
        messages.decode("response", bytes.fromhex(content))


class Criu:
    """The other end of a conversation: what it says in turn, and what it has heard."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        ours, self.end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.conversation = Conversation(ours)
        self.thread = threading.Thread(target=self._run, args=(script,))
        self.thread.start()

    def _run(self, script: Callable[[socket.socket], None]) -> None:
        with self.end:
            script(self.end)

    def ask(self, **acts: Any) -> dict[str, Any]:
        names = {name.replace("_", "-"): act for name, act in acts.items()}
        try:
            return self.conversation.ask({"type": messages.DUMP}, names)
        finally:
            self.conversation.close()
            self.thread.join(30)


def say(end: socket.socket, values: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    socket.send_fds(end, [messages.encode("response", values)], list(descriptors))


def hear(end: socket.socket) -> bytes:
    return end.recv(4096)


@pytest.mark.rows("R296")
def test_notifications_come_before_the_answer() -> None:
    heard: list[bytes] = []

    def script(end: socket.socket) -> None:
        heard.append(hear(end))
        for name in ("pre-dump", "post-restore"):
            say(end, NOTIFY | {"notify": {"script": name, "pid": 7}})
            heard.append(hear(end))
        say(end, {"type": messages.DUMP, "success": True})

    pids: list[int] = []
    answer = Criu(script).ask(post_restore=lambda pid, descriptors: pids.append(pid))
    assert answer == {"type": messages.DUMP, "success": 1}
    assert pids == [7]
    yes = messages.encode("request", {"type": messages.NOTIFY, "notify_success": True})
    assert heard == [messages.encode("request", {"type": messages.DUMP}), yes, yes]


@pytest.mark.rows("R296")
def test_an_act_that_fails_is_told_to_criu() -> None:
    heard: list[bytes] = []

    def script(end: socket.socket) -> None:
        hear(end)
        say(end, NOTIFY | {"notify": {"script": "setup-namespaces", "pid": 7}})
        heard.append(hear(end))

    def fail(pid: int, descriptors: list[int]) -> None:
        raise PyruntimeError("a hook failed")

    with pytest.raises(PyruntimeError, match="a hook failed"):
        Criu(script).ask(setup_namespaces=fail)
    no = {"type": messages.NOTIFY, "notify_success": False}
    assert heard == [messages.encode("request", no)]


@pytest.mark.rows("R296")
def test_descriptors_that_come_along_are_closed_again() -> None:
    read, write = os.pipe()

    def script(end: socket.socket) -> None:
        hear(end)
        say(end, NOTIFY | {"notify": {"script": "orphan-pts-master"}}, (write,))
        hear(end)
        os.close(write)
        say(end, {"type": messages.RESTORE, "success": True})

    seen: list[bool] = []
    criu = Criu(script)
    criu.ask(orphan_pts_master=lambda pid, descriptors: seen.append(len(descriptors) == 1))
    assert seen == [True]
    assert os.read(read, 1) == b""  # nobody else has the other end
    os.close(read)


@pytest.mark.rows("R296")
@pytest.mark.parametrize("after", [0, 1])
def test_a_criu_that_leaves(after: int) -> None:
    def script(end: socket.socket) -> None:
        for _ in range(after):
            hear(end)

    assert Criu(script).ask() == {}


@pytest.mark.rows("R296")
@pytest.mark.parametrize(
    ("script", "text"),
    [("exit 1", "does not answer as CRIU does"), ("echo no >&3", "not a message of its RPC")],
)
def test_a_program_that_only_has_the_name(tmp_path: Path, script: str, text: str) -> None:
    path = tmp_path / "criu"
    path.write_text(f"#!/bin/sh\nhead -c 2 <&3 >/dev/null\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(CriuError, match=text):
        program.check_version(str(path))
    with pytest.raises(CriuError, match="no such file or directory"):
        program.check_version(str(tmp_path / "none"))


@pytest.mark.rows("R296")
def test_where_criu_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.environ", {b"PATH": b"criu:" + str(tmp_path).encode()})
    with pytest.raises(CriuError, match=r"executable file not found in \$PATH"):
        program.find()
    (tmp_path / "criu").touch(0o755)
    assert program.find() == f"{tmp_path}/criu"
    monkeypatch.setattr("posix.environ", {b"HOME": b"/"})
    assert program.environment()[b"PATH"] == program.PATH
