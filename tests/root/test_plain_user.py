"""Containers of a plain user, who may write to no cgroup and map only her own ids."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime
from tests.root.host import TREE, can_make_user_namespace

USER = 54321  # of no entry in /etc/passwd or /etc/subuid
WRAPPER = """#!/bin/sh
exec setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all {program} "$@"
"""


@pytest.fixture
def runtime(workplace: Path) -> Iterator[Runtime]:
    """A copy of this tree's runtime, run as the user; the tree may be where she cannot read."""
    if not can_make_user_namespace() or shutil.which("setpriv") is None:
        pytest.skip("no user namespaces for plain users here, or no setpriv")
    copy = workplace / "copy"
    for name in ("bin", "pyruntime", "spec"):
        shutil.copytree(TREE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    wrapper = workplace / "as-user"
    wrapper.write_text(WRAPPER.format(user=USER, program=copy / "bin/pyruntime"))
    wrapper.chmod(0o755)
    runtime = Runtime(str(wrapper), "pyruntime", workplace)
    runtime.root.mkdir(mode=0o700)
    os.chown(runtime.root, USER, USER)
    os.chown(workplace, USER, USER)  # for the pid file
    if subprocess.run([wrapper, "--version"], capture_output=True).returncode != 0:
        pytest.skip("a plain user cannot run a program of the temporary directory")
    yield runtime
    for each in runtime.containers:
        each.clean()


@pytest.fixture
def hers(container: Container, bundle: Bundle) -> Container:
    """A container with the configuration that `spec --rootless` writes for her."""
    place = container.runtime.workplace / "specification"
    place.mkdir()
    os.chown(place, USER, USER)
    container.runtime.ok("spec", "--rootless", "--bundle", str(place))
    document = json.loads((place / "config.json").read_text())
    document["process"]["terminal"] = False
    document["process"]["args"] = bundle.process["args"]
    document["root"] = {"path": str(bundle.rootfs)}
    bundle.config.clear()
    bundle.config.update(document)
    for path in [bundle.rootfs, *bundle.rootfs.rglob("*")]:
        if not (path.is_file() and path.name == "busybox"):  # a hard link that others share
            os.chown(path, USER, USER, follow_symlinks=False)
    return container


@pytest.mark.rows("R31", "R32", "R38", "R39")
def test_life_of_a_container(hers: Container, bundle: Bundle) -> None:
    bundle.sh("id -u; sleep 1000")
    hers.create()
    assert hers.state()["status"] == "created"
    hers.start()
    hers.wait_output("0\n")
    assert hers.state()["status"] == "running"
    result = hers.runtime.ok("exec", hers.id, "cat", "/proc/self/uid_map")
    assert result.stdout.split() == ["0", str(USER), "1"]
    listed = hers.runtime.ok("list", "--format", "json").json()
    assert [(each["id"], each["status"]) for each in listed] == [(hers.id, "running")]
    hers.runtime.ok("kill", hers.id, "KILL")
    hers.wait_stopped()
    hers.runtime.ok("delete", hers.id)
    assert os.listdir(hers.runtime.root) == []


@pytest.mark.rows("R93")
def test_she_sees_the_cgroups_that_she_stays_in(hers: Container, bundle: Bundle) -> None:
    bundle.sh("ls /sys/fs/cgroup; echo end")
    hers.create().start()
    shown = set(hers.wait_output("end\n").split()) - {"end"}
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        assert "cgroup.procs" in shown
    else:
        assert shown
        assert shown <= set(os.listdir("/sys/fs/cgroup"))


@pytest.mark.rows("R39")
def test_nothing_is_left_of_a_create_that_fails(hers: Container, bundle: Bundle) -> None:
    bundle.sh("true")
    bundle.config["mounts"].append(
        {"destination": "/x", "source": "/nonexistent", "type": "bind", "options": ["rbind"]}
    )
    hers.runtime.check_refused(hers.try_create())
    assert os.listdir(hers.runtime.root) == []


def test_limits_that_she_cannot_have_are_refused_with_the_reason(
    hers: Container, bundle: Bundle
) -> None:
    bundle.sh("sleep 1000")
    hers.create().start()
    result = hers.runtime.refused("update", "--pids-limit", "5", hers.id)
    assert "cgroups are disabled" in result.stderr
