"""What the agent at listenerPath receives."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyruntime.errors import OperationError
from pyruntime.seccomp import listener

STATE = {
    "ociVersion": "1.3.0",
    "id": "c1",
    "status": "creating",
    "pid": 4422,
    "bundle": "/bundle",
}


class Agent:
    """Listens, and keeps what it was sent on its first connection."""

    def __init__(self, path: str) -> None:
        self.descriptors: list[list[int]] = []
        self.data = b""
        self.server = socket.socket(socket.AF_UNIX)
        directory = os.open(os.path.dirname(path), os.O_PATH)
        self.server.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        os.close(directory)
        self.server.listen(4)
        self.server.settimeout(60)
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        connection, _ = self.server.accept()
        with connection:
            connection.settimeout(60)
            while True:
                data, fds, _, _ = socket.recv_fds(connection, 4096, 8)
                if not data:
                    return
                self.data += data
                if fds:
                    self.descriptors.append(list(fds))

    def finish(self) -> None:
        """Wait until the runtime has closed the connection."""
        self.thread.join(60)
        assert not self.thread.is_alive()

    def close(self) -> None:
        self.server.close()
        for descriptor in [each for message in self.descriptors for each in message]:
            os.close(descriptor)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(str(tmp_path / "agent"))
    agent.thread.start()
    yield agent
    agent.finish()
    agent.close()


@pytest.mark.rows("R241")
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_descriptor_comes_with_the_first_message_only(
    tmp_path: Path, agent: Agent, size: int
) -> None:
    payload = os.urandom(size)
    reader, writer = os.pipe()
    connection = listener.connect(str(tmp_path / "agent"))
    listener.send(connection, writer, payload)
    agent.finish()
    assert agent.data == payload
    ((received,),) = agent.descriptors
    assert os.path.sameopenfile(received, writer)
    assert connection.fileno() == -1
    os.close(reader)
    os.close(writer)


@pytest.mark.rows("R241")
def test_descriptor_is_not_repeated_in_later_messages(tmp_path: Path, agent: Agent) -> None:
    """With a timeout the socket does not block, so one call cannot take everything."""
    payload = os.urandom(3_000_000)
    connection = listener.connect(str(tmp_path / "agent"))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection.settimeout(60)
    listener.send(connection, agent.server.fileno(), payload)
    agent.finish()
    assert agent.data == payload
    assert [len(message) for message in agent.descriptors] == [1]


@pytest.mark.rows("R234", "R241")
def test_send_by_path_is_one_connection_closed_after(tmp_path: Path, agent: Agent) -> None:
    reader, writer = os.pipe()
    listener.send(str(tmp_path / "agent"), reader, b"{}")
    agent.finish()
    assert agent.data == b"{}"
    agent.server.settimeout(0)
    with pytest.raises(BlockingIOError):
        agent.server.accept()
    os.close(reader)
    os.close(writer)


@pytest.mark.rows("R234")
def test_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    agent = Agent(str(directory / "agent"))
    agent.thread.start()
    listener.send(str(directory / "agent"), agent.server.fileno(), b"x")
    agent.finish()
    assert agent.data == b"x" and len(agent.descriptors) == 1
    agent.close()


@pytest.mark.rows("R234")
def test_relative_path_begins_at_the_root(tmp_path: Path, agent: Agent) -> None:
    listener.send(str(tmp_path / "agent").lstrip("/"), agent.server.fileno(), b"x")
    agent.finish()
    assert agent.data == b"x"


@pytest.mark.rows("R234")
def test_connection_is_closed_on_exec(tmp_path: Path, agent: Agent) -> None:
    connection = listener.connect(str(tmp_path / "agent"))
    assert not os.get_inheritable(connection.fileno())
    connection.close()


@pytest.mark.rows("R234")
@pytest.mark.parametrize("name", ["missing", "x" * 200])
def test_nobody_listens(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperationError) as caught:
        listener.connect(str(tmp_path / name))
    assert caught.value.errno == errno.ENOENT
    assert caught.value.path == "linux.seccomp.listenerPath"
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.rows("R234")
def test_agent_that_hangs_up_is_an_error(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "agent"))
    server.listen(1)
    connection = listener.connect(str(tmp_path / "agent"))
    server.accept()[0].close()
    with pytest.raises(OperationError) as caught:
        listener.send(connection, server.fileno(), b"x")
    assert caught.value.errno == errno.EPIPE
    assert connection.fileno() == -1
    server.close()


@pytest.mark.rows("R241", "R235")
def test_process_state() -> None:
    document = listener.process_state(STATE, 4422, "opaque")
    assert json.loads(json.dumps(document)) == {
        "ociVersion": "1.3.0",
        "fds": ["seccompFd"],
        "pid": 4422,
        "metadata": "opaque",
        "state": STATE,
    }
    assert "metadata" not in listener.process_state(STATE, 1, "")
