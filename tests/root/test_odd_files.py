"""Files of odd kinds where a command takes a path: pipes, directories, sockets far away."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from conformance.runtime import Container
from conformance.test_terminal import ConsoleSocket


@pytest.fixture
def running(container: Container) -> Container:
    container.bundle.args("/bin/sleep", "1000")
    return container.create().start()


def process(container: Container) -> str:
    return json.dumps({**container.bundle.process, "args": ["echo", "read"]})


@pytest.mark.rows("R291")
def test_a_process_out_of_a_fifo(running: Container, workplace: Path) -> None:
    """As a shell gives it: exec -p <(...)."""
    os.mkfifo(workplace / "fifo")
    writer = threading.Thread(target=(workplace / "fifo").write_text, args=(process(running),))
    writer.start()
    result = running.runtime.run("exec", "-p", str(workplace / "fifo"), running.id)
    writer.join(30)
    assert result.stdout == "read\n", str(result)


@pytest.mark.rows("R291")
def test_a_process_from_standard_input(running: Container) -> None:
    arguments = ["exec", "-p", "/dev/stdin", running.id]
    result = running.runtime.run(*arguments, stdin=process(running))
    assert result.stdout == "read\n", str(result)


@pytest.mark.rows("R291")
@pytest.mark.parametrize("path", ["/dev/zero", "/", "/no/such/file"])
def test_no_process_can_be_read_there(running: Container, path: str) -> None:
    result = running.runtime.run("exec", "-p", path, running.id)
    assert result.status == 255 and path in result.stderr, str(result)


@pytest.mark.rows("R291")
def test_a_fifo_that_never_ends_is_cut_off(running: Container, workplace: Path) -> None:
    os.mkfifo(workplace / "fifo")

    def pour() -> None:
        try:
            with open(workplace / "fifo", "wb") as file:
                for _ in range(1 << 12):
                    file.write(b" " * (1 << 16))
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=pour)
    writer.start()
    result = running.runtime.run("exec", "-p", str(workplace / "fifo"), running.id)
    writer.join(30)
    assert "is larger than" in result.stderr, str(result)


@pytest.mark.rows("R290", "R291")
@pytest.mark.parametrize("length", [90, 150, 250])
def test_a_socket_with_a_long_name(running: Container, workplace: Path, length: int) -> None:
    """A socket address has room for 107 bytes; paths may be longer, names too."""
    short = ConsoleSocket(workplace / "s")
    path = workplace / ("x" * length)
    os.rename(workplace / "s", path)
    arguments = ["exec", "-d", "-t", "--console-socket", str(path), running.id, "true"]
    running.runtime.ok(*arguments)
    _, descriptors = short.receive()
    short.close()
    assert len(descriptors) == 1


@pytest.mark.rows("R290")
@pytest.mark.parametrize("kind", ["file", "directory", "x" * 200])
def test_no_socket_is_there(container: Container, workplace: Path, kind: str) -> None:
    if kind == "file":
        (workplace / kind).write_text("")
    elif kind == "directory":
        (workplace / kind).mkdir()
    container.bundle.process["terminal"] = True
    text = container.refused("--console-socket", str(workplace / kind))
    wanted = "connection refused" if kind in ("file", "directory") else "no such file or directory"
    assert f"dial unix {workplace}/{kind}: {wanted}" in text
