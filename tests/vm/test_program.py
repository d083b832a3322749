"""The command line of `python -m tests.vm`, and the messages of the agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.__main__ import main, parser, script_of
from tests.vm.guest import lines_of

TREE = Path(__file__).resolve().parents[2]


def test_one_word_is_a_script() -> None:
    """Several are a command, whose arguments arrive as they are."""
    assert script_of(["cd /x; ls | wc"]) == "cd /x; ls | wc"
    assert script_of(["echo", "a b", "$HOME"]) == "echo 'a b' '$HOME'"


def test_options_of_the_command_are_its_own() -> None:
    """Behind the two dashes nothing is ours."""
    options = parser().parse_args(["--kernel", "6.1", "run", "--", "ls", "--cold", "-x"])
    assert options.command == ["ls", "--cold", "-x"]
    assert (options.kernel, options.cold) == ("6.1", False)


def test_messages_come_in_parts() -> None:
    """A part may end within a line, or hold several."""
    parts = iter([b'{"ready"', b': 1.5}\n{"output": "YQ=="}\n{"ex', b'it": 0}\n'])
    assert list(lines_of(parts)) == [{"ready": 1.5}, {"output": "YQ=="}, {"exit": 0}]


def test_run_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is built."""
    with pytest.raises(SystemExit):
        main(["run"])
    assert "run needs a command" in capsys.readouterr().err


def test_failure_is_one_line_and_status_1(tmp_path: Path) -> None:
    """A machine without QEMU is told what to do, without a traceback."""
    program = (
        "import sys; from tests.vm import __main__ as program, emulator;"
        "emulator.search_path = lambda: '/nowhere';"
        "sys.exit(program.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "--cache", str(tmp_path / "cache"), "build"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "vm: no qemu-system-x86_64; run: tools/setup.sh vm\n"
    assert not (tmp_path / "cache").exists()
