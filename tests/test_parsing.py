"""Command lines as engines write them."""

from __future__ import annotations

import os
import posix
import stat
from pathlib import Path
from typing import Any

import pytest

from pyruntime import cli, options, parsing, request
from pyruntime.errors import PyruntimeError
from pyruntime.options import Option
from pyruntime.parsing import NotUnderstood
from pyruntime.request import Request


def parsed(line: str) -> Request:
    found = parsing.parse(line.split())
    assert found is not None, parsing.fault(line.split())
    return found


def facts(found: Request) -> dict[str, Any]:
    return {
        "command": found.command,
        "options": found.options,
        "arguments": found.arguments,
        "root": found.root,
        "log": (found.log.path, found.log.format, found.log.debug_enabled),
        "cgroups": (found.systemd_cgroup, found.cgroup_manager, found.rootless),
    }


# Lines of containerd's shim, conmon, podman, buildah and people.
LINES = [
    "--root /r/k8s --log /b/log.json --log-format json --systemd-cgroup create --bundle /b "
    "--pid-file /b/init.pid --console-socket /tmp/pty.sock c0ffee",
    "--root /r --log /b/log.json --log-format json create --bundle /b --no-pivot "
    "--no-new-keyring --preserve-fds 3 x",
    "--root /r start x",
    "--root /r state x",
    "--root /r kill --all x 9",
    "--root /r delete --force x",
    "--log-format=json --log /u/oci-log create --bundle /u --pid-file /u/pidfile x",
    "--log=F --debug create x",
    "kill x -9",
    "delete x -f",
    "list -f json -q",
    "-root /r -debug list -format=json -quiet=false",
    "run -b /b -d --keep --no-subreaper=true x",
    "run --config other.json x",
    "create -f other.json x",
    "spec --rootless -b /tmp",
    "features",
    "plan --json --bundle /b",
    "validate",
    "state -- x",
    "state x --",
    "delete -- -f",
    "--systemd-cgroup=0 --cgroup-manager disabled --rootless=true state x",
]


@pytest.mark.rows("R290", "R292", "R293")
@pytest.mark.parametrize("line", LINES)
def test_click_and_the_hot_lane_read_the_same(line: str) -> None:
    answer = cli.resolve(line.split())
    assert isinstance(answer, Request)
    assert facts(answer) == facts(parsed(line))


@pytest.mark.rows("R290")
def test_create_as_the_containerd_shim_calls_it() -> None:
    found = parsed(LINES[0])
    assert (found.command, found.arguments) == ("create", ["c0ffee"])
    assert (found.root, found.systemd_cgroup) == ("/r/k8s", True)
    assert (found.log.path, found.log.format) == ("/b/log.json", "json")
    assert found.options["bundle"] == "/b"
    assert found.options["pid_file"] == "/b/init.pid"
    assert found.options["console_socket"] == "/tmp/pty.sock"
    assert found.options["no_pivot"] is False
    assert found.options["preserve_fds"] == 0


@pytest.mark.parametrize(
    "words",
    ["--bundle /x", "--bundle=/x", "-bundle /x", "-bundle=/x", "-b /x", "--b=/x", "-b=/x"],
)
@pytest.mark.parametrize("order", ["{} x", "x {}"])
def test_spellings_of_a_value(words: str, order: str) -> None:
    found = parsed("create " + order.format(words))
    assert found.options["bundle"] == "/x"
    assert found.arguments == ["x"]


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_a_flag_may_be_spelled_true(text: str) -> None:
    assert parsed(f"delete --force={text} x").options["force"] is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_a_flag_may_be_spelled_false(text: str) -> None:
    assert parsed(f"delete -f --force={text} x").options["force"] is False


def test_the_last_value_counts_and_may_look_like_an_option() -> None:
    found = parsed("create --bundle /a --bundle -b x")
    assert found.options["bundle"] == "-b"


def test_every_option_has_a_value() -> None:
    found = parsed("run x")
    verb = options.verb("run")
    assert verb is not None
    assert found.options == {option.key: option.initial() for option in verb.options}


@pytest.mark.rows("R292")
def test_kill_stops_reading_options_at_the_id() -> None:
    found = parsed("kill --all x -9")
    assert found.arguments == ["x", "-9"]
    assert found.options["all"] is True
    assert parsed("kill x --all").options["all"] is False


def test_an_option_may_be_repeated() -> None:
    entry = (("env", "e"), options.REPEAT, None, "NAME=VALUE", "set", False)
    values, arguments = parsing.scan([Option(entry)], ["-e", "A=1", "--env=B=2", "x"], True)
    assert values == {"env": ["A=1", "B=2"]}
    assert arguments == ["x"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--bogus state x", "flag provided but not defined: -bogus"),
        ("state --bogus x", "flag provided but not defined: -bogus"),
        ("state x -y", "flag provided but not defined: -y"),
        ("delete -fx y", "flag provided but not defined: -fx"),
        ("create --bundel=x y", "flag provided but not defined: -bundel"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("create x -b", "flag needs an argument: -b"),
        ("--root", "flag needs an argument: -root"),
        (
            "create --preserve-fds x y",
            'invalid value "x" for flag -preserve-fds: parse error',
        ),
        (
            "create --preserve-fds 1.5 y",
            'invalid value "1.5" for flag -preserve-fds: parse error',
        ),
        ("run --detach=maybe x", 'invalid boolean value "maybe" for -detach: parse error'),
        ("delete ---f y", "bad flag syntax: ---f"),
        ("delete --=f y", "bad flag syntax: --=f"),
        ("state", 'pyruntime: "state" requires exactly 1 argument(s)'),
        ("state a b", 'pyruntime: "state" requires exactly 1 argument(s)'),
        ("kill", 'pyruntime: "kill" requires a minimum of 1 argument(s)'),
        ("list x", 'pyruntime: "list" requires exactly 0 argument(s)'),
        ("nosuch", "No help topic for 'nosuch'"),
    ],
)
def test_what_is_not_understood(line: str, reason: str) -> None:
    assert parsing.parse(line.split()) is None
    assert parsing.fault(line.split()) == reason
    with pytest.raises(NotUnderstood) as caught:
        cli.resolve(line.split())
    assert str(caught.value) == reason
    assert caught.value.status == (3 if line == "nosuch" else 1)


@pytest.mark.parametrize("line", ["", "--help", "-v state x", "state -h", "help", "--root /r"])
def test_help_and_version_are_left_to_click(line: str) -> None:
    assert parsing.parse(line.split()) is None
    assert cli.resolve(line.split()) == 0


def test_flags_decide_on_the_cgroup_manager() -> None:
    assert parsed("state x").cgroup_manager == "cgroupfs"
    assert parsed("--systemd-cgroup state x").cgroup_manager == "systemd"
    assert parsed("--cgroup-manager systemd state x").systemd_cgroup
    with pytest.raises(PyruntimeError, match="invalid cgroup-manager: fancy"):
        parsed("--cgroup-manager fancy state x").prepare()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a//b/./c/../d/", "/a/b/d"), ("/..", "/"), ("/", "/"), ("a/b", "{cwd}/a/b")],
)
def test_the_root_is_made_absolute(path: str, expected: str) -> None:
    assert request.absolute(path) == expected.format(cwd=os.getcwd())


@pytest.mark.parametrize("path", ["/", "//", "/a/.."])
def test_the_root_must_not_be_the_root_of_the_system(path: str) -> None:
    message = "Option --root argument should not be set to /"
    with pytest.raises(PyruntimeError, match=message):
        parsed(f"--root {path} state x").prepare()


def settle(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    euid: int,
    in_user_namespace: bool = False,
) -> None:
    """Let request.py see that environment and user."""
    known = {name.encode(): value.encode() for name, value in environment.items()}
    monkeypatch.setattr(posix, "environ", known)
    monkeypatch.setattr(posix, "geteuid", lambda: euid)
    monkeypatch.setattr(request, "_is_in_user_namespace", lambda: in_user_namespace)


@pytest.mark.parametrize(
    ("environment", "euid", "in_user_namespace", "expected"),
    [
        ({}, 0, False, "/run/pyruntime"),
        ({}, 1000, False, "/run/pyruntime"),
        ({"XDG_RUNTIME_DIR": "/x"}, 0, False, "/run/pyruntime"),
        ({"XDG_RUNTIME_DIR": "/x"}, 1000, False, "/x/pyruntime"),
        ({"XDG_RUNTIME_DIR": ""}, 1000, False, "/run/pyruntime"),
        ({"XDG_RUNTIME_DIR": "/x"}, 0, True, "/x/pyruntime"),
        ({"XDG_RUNTIME_DIR": "/x", "USER": "root"}, 0, True, "/run/pyruntime"),
        ({"XDG_RUNTIME_DIR": "/x", "USER": "me"}, 0, True, "/x/pyruntime"),
    ],
)
def test_the_default_root(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    euid: int,
    in_user_namespace: bool,
    expected: str,
) -> None:
    settle(monkeypatch, environment, euid, in_user_namespace)
    assert request.default_root() == expected
    assert parsed("state x").root == expected


def test_the_root_under_xdg_runtime_dir_is_made_sticky(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settle(monkeypatch, {"XDG_RUNTIME_DIR": f"{tmp_path}/new"}, 1000)
    parsed("state x").prepare()
    parsed("state x").prepare()
    mode = (tmp_path / "new" / "pyruntime").stat().st_mode
    assert stat.S_IMODE(mode) == 0o1700


def test_a_root_under_xdg_runtime_dir_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settle(monkeypatch, {"XDG_RUNTIME_DIR": f"{tmp_path}/file"}, 1000)
    with pytest.raises(PyruntimeError, match=r"must be writable by the user.*not a directory"):
        parsed("state x").prepare()


def test_a_given_root_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settle(monkeypatch, {"XDG_RUNTIME_DIR": f"{tmp_path}/xdg"}, 1000)
    found = parsed(f"--root {tmp_path}/given state x")
    found.prepare()
    assert found.root == f"{tmp_path}/given"
    assert list(tmp_path.iterdir()) == []
