"""events on a terminal shows a live table; everywhere else, or when asked to, JSON."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, wait_for
from conformance.test_terminal import Terminal

SHOW_CURSOR = "\x1b[?25h"
WITHOUT_RICH = "import sys; sys.modules['rich'] = None; from pyruntime.__main__ import main; main()"


class Watcher:
    """The command `events` on a terminal of its own."""

    def __init__(self, container: Container, *flags: str) -> None:
        master, slave = pty.openpty()
        self.terminal = Terminal(master)
        self.terminal.set_size(40, 100)
        command = container.runtime.command("events", *flags, container.id)
        environment = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)

    def ended(self) -> int:
        wait_for(lambda: self.process.poll() is not None, "the end of events")
        return self.process.returncode


@pytest.fixture
def running(container: Container, bundle: Bundle) -> Iterator[Container]:
    bundle.sh("while :; do :; done")
    bundle.resources["pids"] = {"limit": 77}
    container.create().start()
    yield container


@pytest.fixture
def watchers() -> Iterator[list[Watcher]]:
    started: list[Watcher] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        os.close(each.terminal.descriptor)


@pytest.mark.rows("R295")
def test_table_shows_figures_until_the_container_stops(
    running: Container, watchers: list[Watcher]
) -> None:
    watcher = Watcher(running, "--interval", "20ms")
    watchers.append(watcher)
    watcher.terminal.wait_text("of 77")
    watcher.terminal.wait_text(" % ")
    assert running.id in watcher.terminal.text
    running.runtime.ok("kill", running.id, "KILL")
    shown = watcher.terminal.wait_end()
    assert watcher.ended() == 0
    assert SHOW_CURSOR in shown
    assert "{" not in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_brings_the_cursor_back(
    running: Container, watchers: list[Watcher], number: signal.Signals
) -> None:
    watcher = Watcher(running, "--interval", "1h")
    watchers.append(watcher)
    watcher.terminal.wait_text("of 77")
    watcher.process.send_signal(number)
    shown = watcher.terminal.wait_end()
    assert watcher.ended() != 0
    assert SHOW_CURSOR in shown
    assert "Traceback" not in shown


def test_json_can_be_had_on_a_terminal(running: Container, watchers: list[Watcher]) -> None:
    watcher = Watcher(running, "--interval", "20ms", "--format", "json")
    watchers.append(watcher)
    assert watcher.terminal.wait_text('{"type":"stats"').startswith('{"type":"stats"')


def test_statistics_once_are_json_on_a_terminal(
    running: Container, watchers: list[Watcher]
) -> None:
    watcher = Watcher(running, "--stats")
    watchers.append(watcher)
    assert watcher.terminal.wait_end().startswith('{"type":"stats"')


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "yaml"], "invalid value 'yaml' for flag -format: use json or table"),
        (["--format", "table", "--stats"], "--stats prints JSON once"),
    ],
)
def test_formats_that_are_refused(running: Container, flags: list[str], message: str) -> None:
    result = running.runtime.run("events", *flags, running.id)
    assert result.status == 1
    assert message in result.stderr


def test_without_rich_the_error_names_the_way_out(running: Container) -> None:
    words = ["--root", str(running.runtime.root), "events", "--format", "table", running.id]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_RICH, *words], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "use --format json" in result.stderr
    assert "Traceback" not in result.stderr
