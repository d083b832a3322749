"""The plan of exec: whole plans as they were when last looked at, and the order that protects.

PYRUNTIME_GOLDEN=write rewrites tests/plan/golden_exec.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyruntime.facts import Facts
from pyruntime.plan import exec as compiler
from pyruntime.plan import render
from pyruntime.plan.exec import ExecSettings
from tests.plan.compiled import V1, HostFacts, Rows, config, seccomp_filter

GOLDEN = Path(__file__).resolve().parent / "golden_exec"
JOINED = ["pid", "network", "mount", "ipc", "uts", "cgroup"]
MAPPED = {
    "namespaces": [{"type": kind} for kind in (*JOINED, "user")],
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
}


def settings(
    document: dict[str, Any],
    joins: list[str] | None = None,
    facts: Facts | None = None,
    **fields: Any,
) -> ExecSettings:
    """Settings of an exec on a fixed host with cgroup v1."""
    facts = facts or HostFacts(apparmor=True, selinux=True)
    result = ExecSettings(document, facts, JOINED if joins is None else joins)
    result.identifier = "golden"
    result.cgroups = {name: ("", f"/sys/fs/cgroup/{name.removeprefix('name=')}/c") for name in V1}
    if result.linux.get("seccomp"):
        result.seccomp = seccomp_filter(result.linux["seccomp"])
    for name, value in fields.items():
        setattr(result, name, value)
    return result


def rows(document: dict[str, Any], joins: list[str] | None = None, **fields: Any) -> Rows:
    """The rows of the plan of an exec."""
    return Rows(compiler.execute(settings(document, joins, **fields)))


SMALL = settings(config())
FULL = settings(
    config(
        process={
            "terminal": True,
            "consoleSize": {"height": 25, "width": 80},
            "user": {"uid": 7, "gid": 8, "additionalGids": [9], "umask": 23},
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}],
            "apparmorProfile": "profile",
            "oomScoreAdj": 10,
            "scheduler": {"policy": "SCHED_BATCH"},
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
            "execCPUAffinity": {"initial": "0", "final": "1"},
            "noNewPrivileges": True,
        },
        linux={
            **MAPPED,
            "personality": {"domain": "LINUX32"},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        },
    ),
    [*JOINED, "user", "time"],
    preserve=2,
)
UNIFIED = settings(
    config(), cgroups={"": ("", "/sys/fs/cgroup/c")}, own_cgroup="/sys/fs/cgroup/c/init.scope"
)
SHARED_ROOT = settings(config(), ["pid"], rootfs="/bundle/rootfs", no_new_keyring=True)
ROOTLESS = settings(
    config(linux=MAPPED), [*JOINED, "user"], HostFacts(euid=1000), cgroups={}
)
PLANS = {
    "small": SMALL,
    "full": FULL,
    "cgroup2": UNIFIED,
    "shared-root": SHARED_ROOT,
    "rootless": ROOTLESS,
}


@pytest.mark.parametrize("name", PLANS)
def test_whole_plan(name: str) -> None:
    compiled = compiler.execute(PLANS[name])
    text = "".join(line + "\n" for line in render.lines(compiled, aligned=False))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("PYRUNTIME_GOLDEN") == "write":
        path.write_text(text)
    assert path.exists(), f"no {path}: PYRUNTIME_GOLDEN=write makes it"
    assert text.splitlines() == path.read_text().splitlines()


@pytest.mark.rows("R291")
@pytest.mark.parametrize("name", PLANS)
def test_not_dumpable_before_the_first_namespace(name: str) -> None:
    """CVE-2016-9962, and not again before execve."""
    found = Rows(compiler.execute(PLANS[name]))
    settings_of_it = found.indexes("prctl", option="PR_SET_DUMPABLE")
    assert settings_of_it[0] < found.indexes("setns")[0]
    assert all(found.rows[index]["arguments"]["arg2"] == 0 for index in settings_of_it)
    ids = found.indexes("setresuid")[-1]
    assert settings_of_it[-1] == ids + 1  # whoever changes ids may become dumpable


@pytest.mark.rows("R291", "R64", "R41")
@pytest.mark.parametrize("name", PLANS)
def test_everything_is_closed_before_the_directory_is_entered(name: str) -> None:
    """CVE-2024-21626."""
    found = Rows(compiler.execute(PLANS[name]))
    closed = found.index("close_from")
    entered = found.index("chdir", at=".process.cwd")
    assert closed < entered < found.index("check_cwd") == entered + 1
    assert found.arguments("close_from")["first"] == 3 + PLANS[name].preserve
    opening = ("openat2", "open_tree", "fsopen", "fsmount", "load_fd", "pidfd_open")
    assert not any(row["operation"] in opening for row in found.rows[closed:])


@pytest.mark.rows("R161")
@pytest.mark.parametrize("name", ["small", "full", "shared-root"])
def test_in_the_cgroup_before_anything_is_the_containers(name: str) -> None:
    """Entered by descriptors that were opened outside, before ids and the root change."""
    found = Rows(compiler.execute(PLANS[name]))
    clone, entries = found.index("clone"), found.indexes("write_fd")
    assert len(entries) == len(V1)
    assert clone < entries[0]
    assert entries[-1] < found.indexes("setresuid")[0]
    for namespace in found.indexes("setns"):
        joined = found.rows[namespace]["arguments"]["type"]
        if joined in ("CLONE_NEWCGROUP", "CLONE_NEWUSER"):
            assert entries[-1] < namespace


@pytest.mark.rows("R161")
def test_divided_cgroup_of_v2() -> None:
    """If its cgroup takes no process, that of the container's first process does."""
    found = Rows(compiler.execute(UNIFIED))
    first, second = found.indexes("clone")
    assert found.rows[first]["arguments"]["cgroup"] == "unified"
    assert found.rows[first]["pardons"] == {"EBUSY": 1, "EOPNOTSUPP": 1}
    assert found.rows[second]["arguments"]["cgroup"] == "own cgroup"


@pytest.mark.rows("R132")
def test_the_hosts_root_joins_the_user_namespace_last() -> None:
    joins = [("mount", "CLONE_NEWNS"), ("user", "CLONE_NEWUSER")]
    for facts, last in ((HostFacts(), "CLONE_NEWUSER"), (HostFacts(euid=1000), "CLONE_NEWNS")):
        found = rows(config(linux=MAPPED), [kind for kind, _ in joins], facts=facts)
        types = [found.rows[index]["arguments"]["type"] for index in found.indexes("setns")]
        assert sorted(types) == sorted(flag for _, flag in joins)
        assert types[-1] == last


@pytest.mark.rows("R291")
def test_only_what_the_container_has_of_its_own_is_joined() -> None:
    found = rows(config(), ["pid", "mount"])
    assert found.arguments("setns")["type"] == "CLONE_NEWNS|CLONE_NEWPID"
    assert not rows(config(), []).has("setns")


@pytest.mark.rows("R291")
def test_without_a_mount_namespace_the_root_is_changed() -> None:
    found = Rows(compiler.execute(SHARED_ROOT))
    opened = found.index("openat2", path="/bundle/rootfs", resolve="RESOLVE_NO_SYMLINKS")
    assert opened < found.index("clone") < found.index("chroot", path=".")
    assert not rows(config()).has("chroot")


@pytest.mark.rows("R220")
def test_session_keyring() -> None:
    assert rows(config()).arguments("join_session_keyring")["name"] == "_ses.golden"
    assert not rows(config(), no_new_keyring=True).has("join_session_keyring")


@pytest.mark.rows("R79")
@pytest.mark.parametrize(
    ("affinity", "expected"),
    [
        ({}, [("final", "all 8192")]),
        ({"final": "1"}, [("final", "0200000000000000")]),
        ({"initial": "0"}, [("initial", "0100000000000000")]),
        (
            {"initial": "0", "final": "1"},
            [("initial", "0100000000000000"), ("final", "0200000000000000")],
        ),
        ({"initial": "", "final": ""}, [("final", "all 8192")]),
    ],
)
def test_affinity(affinity: dict[str, str], expected: list[tuple[str, str]]) -> None:
    """`initial` before the cgroup is entered and `final` after; empty is as good as absent."""
    found = rows(config(process={"execCPUAffinity": affinity}))
    entered = found.indexes("write_fd")
    seen = []
    for index in found.indexes("sched_setaffinity"):
        when = "initial" if index < entered[0] else "final"
        assert index < entered[0] or index > entered[-1]
        seen.append((when, found.rows[index]["arguments"]["mask"]))
    assert seen == expected


@pytest.mark.rows("R71", "R240")
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_filter(no_new_privileges: bool) -> None:
    """While there are privileges to load it with, or last of all."""
    document = config(
        process={"noNewPrivileges": no_new_privileges},
        linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
    )
    found = rows(document)
    loaded = found.index("seccomp")
    assert (loaded < found.indexes("capset")[-1]) is not no_new_privileges
    if no_new_privileges:
        assert loaded == found.index("sync") - 1


@pytest.mark.rows("R62")
def test_terminal() -> None:
    """Of the container's own devpts, below its root, by no link; /dev/console stays."""
    found = Rows(compiler.execute(FULL))
    opened = found.index("openat2", path="dev/pts/ptmx")
    assert "RESOLVE_NO_SYMLINKS" in found.rows[opened]["arguments"]["resolve"]
    assert found.rows[opened + 1]["operation"] == "expect_filesystem"
    assert found.index("setsid") < opened < found.index("send_fd")
    assert not found.has("move_mount")


@pytest.mark.rows("R291")
def test_procfs_is_opened_only_to_be_written() -> None:
    assert not rows(config()).has("fsopen")
    for process in ({"oomScoreAdj": 0}, {"selinuxLabel": "l"}, {"apparmorProfile": "p"}):
        assert rows(config(process=process)).has("fsopen", type="proc")
