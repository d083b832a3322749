"""The process section of an exec, and the cgroups that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyruntime import exec_section
from pyruntime.cgroups import subgroups
from pyruntime.errors import CgroupError, ConfigError, PyruntimeError

OWN: dict[str, Any] = {
    "terminal": True,
    "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 0o77},
    "args": ["own"],
    "env": ["A=1"],
    "cwd": "/own",
    "capabilities": {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL", "CAP_CHOWN"]},
    "apparmorProfile": "own",
    "noNewPrivileges": True,
    "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}],
}


def load(*args: str, own: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The section for these options, in a container with that process."""
    return exec_section.load(options, list(args), {"process": OWN if own is None else own})


@pytest.mark.rows("R291")
def test_without_options() -> None:
    expected = {**OWN, "args": ["x", "y"], "terminal": False}
    assert load("x", "y") == expected
    assert OWN["args"] == ["own"]


@pytest.mark.rows("R291")
def test_container_without_a_process() -> None:
    assert load("x", own={}) == {
        "args": ["x"], "cwd": "/", "env": [], "terminal": False, "user": {},
    }


@pytest.mark.rows("R291")
def test_options() -> None:
    section = load(
        "x", cwd="/tmp", env=["B=2", "A=3"], tty=True, apparmor="p", process_label="l",
        user="5:6", additional_gids=["7"],
    )
    assert section["cwd"] == "/tmp"
    assert section["env"] == ["A=1", "B=2", "A=3"]
    assert section["terminal"] is True
    assert (section["apparmorProfile"], section["selinuxLabel"]) == ("p", "l")
    assert section["user"] == {"uid": 5, "gid": 6, "additionalGids": [3, 7], "umask": 0o77}
    assert load("x", own={}, no_new_privs=True)["noNewPrivileges"] is True


@pytest.mark.rows("R291", "R67")
def test_group_stays_if_only_the_user_is_given() -> None:
    assert load("x", user="0")["user"]["gid"] == 2
    assert load("x", user="4294967294")["user"]["uid"] == 4294967294


@pytest.mark.rows("R291", "R67")
@pytest.mark.parametrize(
    "user",
    ["4294967295", "99999999999", "-1", "+1", "1:", ":", "1:2:3", "root", "1 ", "1_0", "\u0661"],
)
def test_user_that_is_none(user: str) -> None:
    with pytest.raises(PyruntimeError, match="--user"):
        load("x", user=user)


@pytest.mark.rows("R291", "R61")
def test_capabilities() -> None:
    """CVE-2022-29162: ambient only what the config makes inheritable, and that stays as it is."""
    sets = load("x", cap=["CAP_KILL", "CAP_NET_RAW"])["capabilities"]
    assert sets["bounding"] == ["CAP_KILL", "CAP_KILL", "CAP_NET_RAW"]
    assert sets["effective"] == sets["permitted"] == ["CAP_KILL", "CAP_NET_RAW"]
    assert sets["inheritable"] == ["CAP_KILL", "CAP_CHOWN"]
    assert sets["ambient"] == ["CAP_KILL"]
    assert OWN["capabilities"]["bounding"] == ["CAP_KILL"]
    assert load("x", own={}, cap=["CAP_KILL"])["capabilities"] == {
        name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")
    }


@pytest.mark.rows("R291")
@pytest.mark.parametrize(
    "options",
    [{"cwd": "tmp"}, {"env": ["A"]}, {"env": ["=1"]}, {"env": [""]}, {"additional_gids": ["-1"]}],
    ids=str,
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(PyruntimeError):
        load("x", **options)


@pytest.mark.rows("R291", "R66")
def test_no_program() -> None:
    with pytest.raises(PyruntimeError, match="args cannot be empty"):
        load()


def file(tmp_path: Path, **members: Any) -> str:
    """The path of a file with a process."""
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"args": ["f"], "cwd": "/f", **members}))
    return str(path)


@pytest.mark.rows("R291")
def test_file(tmp_path: Path) -> None:
    """Labels, limits and capabilities come from the container if it says nothing of them."""
    section = load(process=file(tmp_path, user={"uid": 9, "gid": 9}), cwd="/ignored")
    assert section == {
        "args": ["f"],
        "cwd": "/f",
        "user": {"uid": 9, "gid": 9, "umask": 0o77},
        **{name: OWN[name] for name in ("apparmorProfile", "capabilities", "rlimits")},
    }


@pytest.mark.rows("R291", "R68")
def test_file_with_its_own_values(tmp_path: Path) -> None:
    user = {"uid": 9, "gid": 9, "umask": 0}
    section = load(process=file(tmp_path, user=user, apparmorProfile="f", rlimits=[]))
    assert (section["user"], section["apparmorProfile"]) == (user, "f")
    assert section["rlimits"] == []


@pytest.mark.rows("R291")
@pytest.mark.parametrize("members", [{"cwd": "f"}, {"args": "f"}, {"args": []}, {"cwd": "/\0"}])
def test_bad_file(tmp_path: Path, members: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, PyruntimeError)):
        load(process=file(tmp_path, **members))


# --cgroup


@pytest.mark.rows("R291", "R161")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a/b"], {"": "a/b"}),
        (["cpu,memory:a", "pids:/"], {"cpu": "a", "memory": "a", "pids": "/"}),
        (["name=systemd:a"], {"name=systemd": "a"}),
    ],
)
def test_cgroup_arguments(arguments: list[str], expected: dict[str, str]) -> None:
    assert subgroups.parse(arguments) == expected


@pytest.mark.rows("R291", "R161")
@pytest.mark.parametrize(
    "arguments",
    [["a", "b"], ["cpu:a", "b"], ["cpu:a", "cpu:b"], ["cpu,cpu:a"], ["a:b:c"], [":a"], ["cpu,:a"],
     [".."], ["a/../b"], ["/.."], ["cpu:../a"]],
    ids=str,
)
def test_bad_cgroup_arguments(arguments: list[str]) -> None:
    with pytest.raises(CgroupError, match="invalid --cgroup argument"):
        subgroups.parse(arguments)


@pytest.mark.rows("R291", "R161")
def test_cgroup_directories(tmp_path: Path) -> None:
    (tmp_path / "cpu/a").mkdir(parents=True)
    paths = {"cpu": f"{tmp_path}/cpu", "": f"{tmp_path}/unified"}
    assert subgroups.directories(paths, ["cpu:a"]) == {**paths, "cpu": f"{tmp_path}/cpu/a"}
    assert subgroups.directories(paths, ["/"]) == paths
    with pytest.raises(CgroupError, match="no such file or directory"):
        subgroups.directories(paths, ["a"])
    with pytest.raises(CgroupError, match="unknown controller pids"):
        subgroups.directories(paths, ["pids:a"])
