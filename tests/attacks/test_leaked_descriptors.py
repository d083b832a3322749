"""CVE-2024-21626: a working directory in /proc/self/fd leads to a directory of the host."""

from __future__ import annotations

import pytest

from conformance.runtime import Container
from tests.attacks.conftest import SECRET, Outside, attack

DESCRIPTORS = range(3, 21)
UP = "../" * 20


def look_around(outside: Outside) -> str:
    """A script that looks for the host from its working directory."""
    return f"cat {UP}{str(outside.path).lstrip('/')}/secret; ls {UP}..; pwd"


@pytest.mark.rows("R64", "R41")
@pytest.mark.parametrize(
    "cwd",
    [
        *[f"/proc/self/fd/{number}" for number in DESCRIPTORS],
        *[f"/proc/thread-self/fd/{number}" for number in DESCRIPTORS[::4]],
        *[f"/proc/1/fd/{number}" for number in DESCRIPTORS[::4]],
    ],
)
def test_cwd_is_a_descriptor(container: Container, outside: Outside, cwd: str) -> None:
    """Whatever the runtime has open: the process is inside its root, or there is none."""
    container.bundle.process["cwd"] = cwd
    report = attack(container, look_around(outside))
    assert SECRET not in (report or "")


@pytest.mark.rows("R64", "R41")
@pytest.mark.parametrize("number", [3, 7, 9])
def test_cwd_is_a_descriptor_of_the_caller(
    container: Container, outside: Outside, number: int
) -> None:
    """Not even when the caller has left a directory of the host open."""
    container.bundle.process["cwd"] = f"/proc/self/fd/{number}"
    container.bundle.sh(look_around(outside))
    result = container.try_create(redirections=f"{number}</")
    if result.status == 0:
        container.runtime.run("start", container.id)
        container.wait_stopped()
    assert SECRET not in container.output()


@pytest.mark.rows("R64", "R41")
@pytest.mark.parametrize("number", [3, 5, 7, 9])
def test_cwd_is_a_link_to_a_descriptor(container: Container, outside: Outside, number: int) -> None:
    """The same through a link of the image, which no check of the text can see."""
    (container.bundle.rootfs / "work").symlink_to(f"/proc/self/fd/{number}")
    container.bundle.process["cwd"] = "/work"
    report = attack(container, look_around(outside))
    assert SECRET not in (report or "")


@pytest.mark.rows("R291", "R64", "R41")
def test_cwd_of_exec_is_a_descriptor(container: Container, outside: Outside) -> None:
    """The same with exec --cwd."""
    container.create().start()
    for number in DESCRIPTORS:
        flags = ("--cwd", f"/proc/self/fd/{number}")
        result = container.exec("/bin/sh", "-c", look_around(outside), flags=flags)
        assert SECRET not in result.stdout, str(result)


@pytest.mark.rows("R41")
def test_no_descriptor_but_three(container: Container) -> None:
    """Nothing else is open in the process, whatever the caller had open."""
    container.bundle.sh("ls /proc/$$/fd; true")
    container.create(redirections="5</ 7</etc 9</tmp")
    container.start().wait_stopped()
    assert set(container.output().split()) <= {"0", "1", "2", "10"}
