"""process.apparmorProfile: the kernel says under which profile the container's processes run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container
from conformance.test_namespaces import with_user
from tests.root.host import Host

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
PROFILE = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  mount,
  umount,
  pivot_root,
  signal,
  ptrace,
  unix,
  deny /forbidden rw,
}}
"""


def load(text: str, act: str = "--replace") -> None:
    """Load a profile into the kernel, or remove it."""
    done = subprocess.run(
        ["apparmor_parser", act, "--skip-cache"],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        pytest.skip(f"apparmor_parser cannot load a profile: {done.stderr.strip()}")


@pytest.fixture(scope="session")
def profile() -> Iterator[str]:
    """The name of a loaded profile, which forbids /forbidden and nothing else."""
    if not ENABLED.exists() or not ENABLED.read_text().startswith("Y"):
        pytest.skip("AppArmor is not enabled on this host")
    if shutil.which("apparmor_parser") is None:
        pytest.skip("apparmor_parser is not installed")
    name = f"pyruntime-test-{uuid.uuid4().hex[:12]}"
    text = PROFILE.format(name=name)
    load(text)
    yield name
    load(text, "--remove")


def under(pid: int | str) -> str:
    """The profile that a process is under."""
    return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip()


SHOW = "cat /proc/self/attr/apparmor/current; (echo x >/forbidden) 2>&1; (echo x >/allowed) 2>&1"


@pytest.mark.rows("R72", "R305")
@pytest.mark.parametrize("promise", [False, True], ids=["", "noNewPrivileges"])
def test_the_process_is_under_its_profile(
    container: Container, profile: str, promise: bool
) -> None:
    """In force, and from the first instruction of the program."""
    container.bundle.process["apparmorProfile"] = profile
    container.bundle.process["noNewPrivileges"] = promise
    container.bundle.sh(SHOW + "; echo end; sleep 1000")
    container.create()
    assert under(container.pid) == "unconfined"  # the init itself, until it executes the program
    container.start()
    lines = container.wait_output("end\n").splitlines()
    assert lines[0] == f"{profile} (enforce)"
    assert "Permission denied" in lines[1]
    assert lines[2:] == ["end"]
    assert under(container.pid) == f"{profile} (enforce)"
    assert (container.bundle.rootfs / "allowed").read_text() == "x\n"


@pytest.mark.rows("R72")
@pytest.mark.parametrize("given", [None, "", "unconfined"], ids=["absent", "empty", "unconfined"])
def test_no_profile(container: Container, profile: str, given: str | None) -> None:
    if given is not None:
        container.bundle.process["apparmorProfile"] = given
    container.bundle.sh(SHOW)
    assert container.finish() == "unconfined\n"


@pytest.mark.rows("R72", "R36", "R1")
def test_a_profile_that_is_not_loaded(container: Container, profile: str, host: Host) -> None:
    """The error names it, and nothing is left."""
    container.bundle.process["apparmorProfile"] = f"{profile}-no-such"
    error = container.refused()
    assert f'process.apparmorProfile: set \\"{profile}-no-such\\"' in error
    assert "no AppArmor profile of this name is loaded" in error
    host.clean(container)


@pytest.mark.rows("R72", "R133")
def test_in_a_user_namespace(container: Container, profile: str) -> None:
    with_user(container.bundle)
    container.bundle.process["apparmorProfile"] = profile
    container.bundle.sh("cat /proc/self/attr/apparmor/current")
    assert container.finish() == f"{profile} (enforce)\n"


@pytest.mark.rows("R72", "R53")
def test_hooks_are_not_under_it(container: Container, profile: str) -> None:
    """It is for the program: startContainer's hooks run before that, in the container."""
    container.bundle.process["apparmorProfile"] = profile
    container.bundle.hook("startContainer", "cat /proc/self/attr/apparmor/current >/hook")
    container.bundle.sh("cat /hook /proc/self/attr/apparmor/current")
    lines = container.finish().splitlines()
    # The setting holds for the next execve of the process, and a hook is executed by its child.
    assert lines[1] == f"{profile} (enforce)"
    assert lines[0] in ("unconfined", f"{profile} (enforce)")


# exec


def shown(container: Container, *flags: str) -> str:
    """The profile of a process that exec has started."""
    command = ("cat", "/proc/self/attr/apparmor/current")
    result = container.exec(*command, flags=flags)
    assert result.status == 0, str(result)
    return result.stdout.strip()


@pytest.mark.rows("R72", "R291")
def test_exec_is_under_the_same(container: Container, profile: str) -> None:
    container.bundle.process["apparmorProfile"] = profile
    container.create().start()
    assert shown(container) == f"{profile} (enforce)"
    assert shown(container, "--no-new-privs") == f"{profile} (enforce)"
    result = container.exec("sh", "-c", "echo x >/forbidden")
    assert result.status == 1
    assert "Permission denied" in result.stderr


@pytest.mark.rows("R72", "R291")
def test_exec_under_another(container: Container, profile: str) -> None:
    """By the option, or by the document of the process."""
    container.create().start()
    assert shown(container) == "unconfined"
    assert shown(container, "--apparmor", profile) == f"{profile} (enforce)"
    process: dict[str, Any] = {
        "cwd": "/",
        "args": ["/bin/cat", "/proc/self/attr/apparmor/current"],
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
        "apparmorProfile": profile,
        "noNewPrivileges": True,
    }
    file = container.runtime.workplace / "process.json"
    file.write_text(json.dumps(process))
    result = container.runtime.ok("exec", "--process", str(file), container.id)
    assert result.stdout == f"{profile} (enforce)\n"


@pytest.mark.rows("R72", "R291")
def test_exec_under_one_that_is_not_loaded(container: Container, profile: str) -> None:
    container.create().start()
    result = container.exec("true", flags=("--apparmor", f"{profile}-no-such"))
    assert result.status == 255, str(result)
    assert f"{profile}-no-such" in result.stderr
    assert "is loaded" in result.stderr
    assert container.status() == "running"


# nobody else's procfs


def forge(directory: Path) -> list[Path]:
    """Make what looks like a procfs; the files that a runtime would write to."""
    files = []
    for task in ("self", "thread-self", "1"):
        for name in ("attr/exec", "attr/apparmor/exec"):
            path = directory / task / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("untouched")
            files.append(path)
    return files


@pytest.mark.rows("R72", "R91")
@pytest.mark.parametrize("place", ["image", "volume"])
def test_a_forged_proc(
    container: Container, profile: str, workplace: Path, place: str
) -> None:
    """The profile is set whatever lies on /proc (CVE-2019-16884, CVE-2023-28642)."""
    bundle: Bundle = container.bundle
    bundle.without_mount("/proc")
    bundle.process["apparmorProfile"] = profile
    forged = bundle.rootfs / "proc" if place == "image" else workplace / "forged"
    files = forge(forged)
    if place == "volume":
        bundle.mount("/proc", "bind", str(forged), ["rbind", "rw"])
    result = container.try_create()
    if result.status == 0:
        container.start()
        assert under(container.pid) == f"{profile} (enforce)"
    else:
        assert place == "volume", str(result)  # refusing to hide /proc is right as well
    assert [path.read_text() for path in files] == ["untouched"] * len(files)


@pytest.mark.rows("R72", "R91")
def test_the_attribute_is_covered(container: Container, profile: str, workplace: Path) -> None:
    """A mount on the very file, below a real procfs (CVE-2025-52881)."""
    target = workplace / "target"
    target.write_text("untouched")
    container.bundle.process["apparmorProfile"] = profile
    container.bundle.mount("/proc/self/attr/apparmor/exec", "bind", str(target), ["bind"])
    result = container.try_create()
    if result.status == 0:
        container.start()
        assert under(container.pid) == f"{profile} (enforce)"
    assert target.read_text() == "untouched"


@pytest.mark.rows("R72", "R154")
def test_links_in_dev(container: Container, profile: str) -> None:
    """An image whose /proc is a link elsewhere gets no say either."""
    bundle = container.bundle
    bundle.without_mount("/proc")
    (bundle.rootfs / "proc").rmdir()
    files = forge(bundle.rootfs / "elsewhere")
    (bundle.rootfs / "proc").symlink_to("/elsewhere")
    bundle.process["apparmorProfile"] = profile
    container.create().start()
    assert under(container.pid) == f"{profile} (enforce)"
    assert [path.read_text() for path in files] == ["untouched"] * len(files)


# without AppArmor


@pytest.mark.rows("R72", "R4")
def test_a_host_without_apparmor(container: Container) -> None:
    """A profile that nothing would enforce is refused."""
    if ENABLED.exists() and ENABLED.read_text().startswith("Y"):
        pytest.skip("AppArmor is enabled on this host")
    container.bundle.process["apparmorProfile"] = "anything"
    assert "AppArmor is not enabled on this host" in container.refused()
    assert os.path.isdir(container.bundle.path)
