"""Steps of exec and attach with streams, as kubectl has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.engines.cri.node import FOREVER, Container, Node
from tests.engines.cri.steps import step
from tests.engines.cri.websocket import ENDED, STDERR, STDIN, STDOUT, Streams


@contextmanager
def connected(container: Container, method: str, **options: Any) -> Iterator[Streams]:
    """The streams of an exec or attach."""
    streams = Streams(container.call(method, container_id=container.id, **options).url)
    try:
        yield streams
    finally:
        streams.close()


def show(streams: Streams) -> None:
    """Print what comes until the end."""
    got = streams.read_all()
    for channel in (STDOUT, STDERR):
        print(got[channel].decode().replace("\r", ""), end="")
    status = json.loads(got[ENDED] or b"{}")
    causes = status.get("details", {}).get("causes", [])
    print(status.get("status"), *(cause.get("message") for cause in causes))


@step
def stream_exec(node: Node) -> None:
    container = node.shared.start(FOREVER)
    script = 'read line; echo "got $line"; echo trouble >&2; exit 3'
    both = {"stdin": True, "stdout": True, "stderr": True}
    with connected(container, "Exec", cmd=["sh", "-c", script], **both) as streams:
        streams.send(STDIN, b"word\n")
        show(streams)
    container.remove()


@step
def stream_terminal(node: Node) -> None:
    container = node.shared.start(FOREVER)
    sized = '[ "$(stty size 2>/dev/null)" = "33 99" ]'
    script = f"until {sized}; do sleep 0.05; done; stty -echo; tty; read line; exit 4"
    terminal = {"stdin": True, "stdout": True, "tty": True}
    with connected(container, "Exec", cmd=["sh", "-c", script], **terminal) as streams:
        streams.resize(99, 33)
        print(streams.read_until(b"/dev/pts/0\r\n").decode().strip())
        streams.send(STDIN, b"\n")
        show(streams)
    container.remove()


@step
def stream_attach(node: Node) -> None:
    for tty in (False, True):
        script = 'echo ready; read line; echo "got $line"; read line; exit 5'
        container = node.shared.start(["sh", "-c", script], stdin=True, tty=tty)
        container.wait_for_line("ready")
        ways = {"stdin": True, "stdout": True, "stderr": not tty, "tty": tty}
        with connected(container, "Attach", **ways) as streams:
            streams.send(STDIN, b"word\n")
            print("got word" in streams.read_until(b"got word").decode())
            streams.send(STDIN, b"\n")
            container.wait()
        container.print_status()
        container.remove()
