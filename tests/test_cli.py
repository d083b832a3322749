"""The command itself: exit statuses, where messages go, and what it loads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyruntime import VERSION, options

CHECKOUT = Path(__file__).resolve().parents[1]
COMMAND = CHECKOUT / "bin" / "pyruntime"
INTERPRETER = COMMAND.read_text().partition("\n")[0].removeprefix("#!").split()
# What a verb that engines call may load beside what Python itself starts with.
ALLOWED = set(
    "posix errno fcntl select _socket _signal struct _struct sys time _json __future__".split()
)
HOT = [name for name in options.VERBS if options.VERBS[name][6]]


@pytest.fixture(autouse=True)
def needs_the_interpreter() -> None:
    if not os.access(INTERPRETER[0], os.X_OK):
        pytest.skip(f"{INTERPRETER[0]} is not installed")


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def run_with(action: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a `state` whose body is `action`."""
    code = (
        "import sys, types\n"
        f"sys.path.insert(0, {str(CHECKOUT)!r})\n"
        "def execute(request):\n"
        f"    {action}\n"
        "module = types.ModuleType('pyruntime.commands.state')\n"
        "module.execute = execute\n"
        "sys.modules[module.__name__] = module\n"
        f"sys.argv[1:] = {[*words, 'state', 'x']!r}\n"
        "from pyruntime.__main__ import main\n"
        "main()\n"
    )
    return subprocess.run([*INTERPRETER, "-c", code], capture_output=True, text=True)


def message(line: str) -> str:
    found = re.fullmatch(r'time="[^"]+" level=error msg=("?)(.*)\1\n', line)
    assert found, line
    return found[2].replace('\\"', '"')


def skip_without_runc() -> None:
    """Later releases of runc write help and usage errors in another form."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    version = subprocess.run(["runc", "--version"], capture_output=True, text=True).stdout
    if not version.startswith("runc version 1.1."):
        pytest.skip("runc is not of the 1.1 series")


USAGE_ERRORS = [
    "--bogus",
    "--root",
    "create",
    "create --bogus x",
    "create --bundle",
    "create --preserve-fds x y",
    "run --detach=maybe x",
    "kill",
    "delete ---f y",
    "list x",
    "list --=x",
    "features x",
    "state a b",
    "spec x",
]


@pytest.mark.parametrize("line", [*USAGE_ERRORS, "nosuch", "help nosuch", "--log-format x list"])
def test_wrong_usage_ends_as_with_runc(line: str) -> None:
    skip_without_runc()
    theirs = subprocess.run(["runc", *line.split()], capture_output=True, text=True)
    ours = run(*line.split())
    assert ours.returncode == theirs.returncode
    # runc ends the message on an unknown command with a line feed of its own.
    expected = message(theirs.stderr).replace("runc: ", "pyruntime: ").removesuffix("\\n")
    assert message(ours.stderr) == expected
    assert ours.stdout.startswith("Incorrect Usage") == theirs.stdout.startswith("Incorrect Usage")


@pytest.mark.parametrize("line", USAGE_ERRORS)
def test_wrong_usage_shows_help_on_stdout(line: str) -> None:
    result = run(*line.split())
    assert result.returncode == 1
    assert result.stdout.startswith("Incorrect Usage")
    assert "Usage: pyruntime" in result.stdout
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("create --bundel=/b x", "Did you mean --bundle?"),
        ("--systemd-cgroups state x", "Did you mean --systemd-cgroup?"),
        ("staet x", "Did you mean state or start?"),
    ],
)
def test_a_near_miss_is_answered_with_a_suggestion(line: str, expected: str) -> None:
    assert expected in run(*line.split()).stdout


def test_wrong_usage_goes_to_the_log_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    result = run("--log", str(path), "--log-format", "json", "create")
    expected = 'pyruntime: "create" requires exactly 1 argument(s)'
    assert json.loads(path.read_text())["msg"] == expected
    assert (result.returncode, result.stderr) == (1, expected + "\n")


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"], ["h"], ["--root", "/r"]])
def test_help_lists_the_verbs(words: list[str]) -> None:
    result = run(*words)
    assert (result.returncode, result.stderr) == (0, "")
    for name, entry in options.VERBS.items():
        assert re.search(rf"^  {name} +{entry[0][:20]}", result.stdout, re.MULTILINE)
    for option in options.global_options():
        assert f"--{option.names[0]}" in result.stdout


@pytest.mark.parametrize("verb", list(options.VERBS))
def test_each_verb_has_help(verb: str) -> None:
    result = run(verb, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: pyruntime {verb} [options]")
    found = options.verb(verb)
    assert found is not None
    for option in found.options:
        assert (f"--{option.names[0]}" in result.stdout) != option.hidden
    assert run("help", verb).stdout == result.stdout
    assert run(verb, "-h").stdout == result.stdout


@pytest.mark.parametrize("words", [["--version"], ["-v"], ["--root", "/r", "-v", "state"]])
def test_version(words: list[str]) -> None:
    result = run(*words)
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert lines[0] == f"pyruntime version {VERSION}"
    assert lines[1] == "spec: 1.3.0"
    assert re.fullmatch(r"python: 3\.\d+\.\S+", lines[2])
    # Docker takes what follows "version" in any line that has the word.
    assert sum("version" in line for line in lines) == 1


def test_a_log_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none" / "log"
    expected = f"open {path}: no such file or directory"
    result = run("--log", str(path), "state", "x")
    assert (result.returncode, message(result.stderr)) == (1, expected)
    result = run("--log", str(path), "--log-format", "json", "state", "x")
    assert json.loads(result.stderr)["msg"] == expected
    assert result.returncode == 1


ENDINGS = [
    ("raise KeyboardInterrupt", "interrupted"),
    ("raise MemoryError", "out of memory"),
    ("raise ProcessLookupError(3, 'No such process')", "no such process"),
    ("open('/nonexistent/x')", "/nonexistent/x: no such file or directory"),
    ("raise BrokenPipeError(32, 'Broken pipe')", "broken pipe"),
    ("raise ValueError('odd')", "internal error: ValueError: odd"),
    ("raise SystemExit(0)", "internal error: SystemExit: 0"),
    ("return execute(request)", "internal error: RecursionError: maximum recursion depth exceeded"),
    (
        "from pyruntime.errors import UnknownContainer; raise UnknownContainer('x')",
        "container 'x': container does not exist",
    ),
]


@pytest.mark.parametrize(("action", "expected"), ENDINGS, ids=[text for _, text in ENDINGS])
def test_every_error_is_one_line(action: str, expected: str) -> None:
    result = run_with(action)
    assert result.returncode == 1
    assert message(result.stderr).startswith(expected)
    assert result.stdout == ""


def test_a_verb_decides_on_the_exit_status() -> None:
    result = run_with("sys.stdout.write('done'); return 42")
    assert (result.returncode, result.stdout, result.stderr) == (42, "done", "")


def test_the_traceback_goes_to_the_log_with_debug(tmp_path: Path) -> None:
    path = tmp_path / "log"
    result = run_with("return 1 // 0", "--debug", "--log", str(path), "--log-format", "json")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert any("Traceback" in record["msg"] for record in records)
    assert records[-1]["level"] == "error"
    assert records[-1]["func"].endswith(".execute")
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_interrupt_from_outside_ends_in_one_line() -> None:
    # A caller in the background ignores SIGINT, and so would everything that it starts.
    action = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    result = run_with(action + "signal.raise_signal(signal.SIGINT); return 0")
    assert (result.returncode, message(result.stderr)) == (1, "interrupted")


@pytest.mark.parametrize(
    ("redirection", "expected"),
    [
        (">/dev/full", "write /dev/stdout: no space left on device"),
        (">&-", "write /dev/stdout: bad file descriptor"),
    ],
)
@pytest.mark.parametrize("words", ["features", "--version", "--help"])
def test_output_that_is_lost_is_an_error(words: str, redirection: str, expected: str) -> None:
    result = subprocess.run(
        ["sh", "-c", f'exec "$0" {words} {redirection}', str(COMMAND)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert message(result.stderr) == expected


def test_output_to_a_closed_pipe_is_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [str(COMMAND), "features"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (result.returncode, message(result.stderr)) == (
        1,
        "write /dev/stdout: broken pipe",
    )


def test_nothing_is_written_into_files_that_take_a_closed_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    subprocess.run(["sh", "-c", f'exec "$0" --log {path} nosuch 0>&- 1>&- 2>&-', str(COMMAND)])
    assert path.read_text().count("\n") == 1
    assert "level=error" in path.read_text()


@pytest.mark.parametrize("words", [["--version"], ["nosuch"], ["kill"]])
def test_the_package_can_be_run_as_a_module(words: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pyruntime", *words],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )
    expected = run(*words)
    assert result.returncode == expected.returncode
    if words != ["--version"]:
        assert message(result.stderr) == message(expected.stderr)


def test_the_command_can_be_called_through_links(tmp_path: Path) -> None:
    (tmp_path / "second").symlink_to(COMMAND)
    (tmp_path / "first").symlink_to("second")
    result = subprocess.run([tmp_path / "first", "-v"], capture_output=True, text=True, cwd="/")
    assert result.stdout.startswith("pyruntime version")


def test_without_click_the_reason_is_told() -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(CHECKOUT)!r})\n"
        "sys.modules['click'] = None\n"
        "sys.argv[1:] = ['create', '--bogus', 'x']\n"
        "from pyruntime.__main__ import main\n"
        "main()\n"
    )
    result = subprocess.run([*INTERPRETER, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert message(result.stderr) == (
        "flag provided but not defined: -bogus (for help, install click)"
    )


def loaded(*words: str) -> set[str]:
    """The modules that Python loads for the words."""
    result = subprocess.run(
        [*INTERPRETER, "-X", "importtime", *words], capture_output=True, text=True
    )
    found = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", result.stderr, re.MULTILINE)
    return set(found)


def bundle_without_a_root(tmp_path: Path) -> str:
    """A bundle that create gets far with, but no further: its root filesystem is missing."""
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "missing"},
        "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.mark.parametrize("verb", HOT)
def test_a_hot_verb_loads_little(verb: str, tmp_path: Path) -> None:
    if not (CHECKOUT / "pyruntime" / "commands" / f"{verb}.py").exists():
        pytest.skip(f"{verb} is not written yet")
    words = [verb, "nosuch"]
    if verb == "create":
        words[1:1] = ["--bundle", bundle_without_a_root(tmp_path)]
    modules = loaded(str(COMMAND), "--root", str(tmp_path / "state"), *words)
    ours = {name for name in modules if name.split(".")[0] == "pyruntime"}
    assert f"pyruntime.commands.{verb}" in ours
    assert "pyruntime.cli" not in ours
    assert modules - ours - loaded("-c", "pass") <= ALLOWED


def test_importtime_sees_what_is_loaded() -> None:
    assert "click" in loaded(str(COMMAND), "--help")


def test_a_signal_ends_the_command_by_the_signal() -> None:
    result = run_with(
        f"import posix, signal; posix.kill(posix.getpid(), {int(signal.SIGTERM)}); return 0"
    )
    assert result.returncode == -signal.SIGTERM
