"""CVE-2019-16884 and CVE-2025-52881: what the runtime writes to /proc goes to a forged one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.runtime import Container
from tests.attacks.conftest import Outside, attack, refused

FORGED = [
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "thread-self/attr/exec",
    "self/setgroups",
    "self/uid_map",
    "self/oom_score_adj",
    "sys/net/core/somaxconn",
    "sys/kernel/msgmax",
    "sysrq-trigger",
]
SYSCTL = {"net.core.somaxconn": "777", "kernel.msgmax": "8193"}
NOT_WRITTEN = "nobody has written here\n"


def forge(directory: Path) -> None:
    """Make a directory that looks like a procfs."""
    for name in FORGED:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOT_WRITTEN)


def written(directory: Path) -> list[str]:
    """The forged files that somebody has written to."""
    return [name for name in FORGED if (directory / name).read_text() != NOT_WRITTEN]


def make_it_write(container: Container) -> None:
    """Configure what makes a runtime write to /proc."""
    container.bundle.linux["sysctl"] = dict(SYSCTL)
    container.bundle.process["oomScoreAdj"] = 300
    container.bundle.capability("CAP_SYS_ADMIN")


REAL_VALUES = (
    "mkdir -p /real && mount -t proc proc /real &&"
    " cat /real/sys/net/core/somaxconn /real/sys/kernel/msgmax /real/self/oom_score_adj"
)


@pytest.mark.rows("R91", "R72", "R213")
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_proc_is_something_else(container: Container, workplace: Path, kind: str) -> None:
    """A volume on /proc: refused, or the writes reach the real one."""
    forged = workplace / "forged"
    forge(forged)
    make_it_write(container)
    container.bundle.without_mount("/proc")
    if kind == "bind":
        container.bundle.mount("/proc", "bind", str(forged), ["rbind"])
    else:
        container.bundle.mount("/proc", "tmpfs", "tmpfs")
    report = attack(container, REAL_VALUES)
    assert written(forged) == []
    if report is not None:
        assert report.split() == ["777", "8193", "300"]


@pytest.mark.rows("R91", "R213")
@pytest.mark.departs("runc", "R213: 1.1 writes to what the image has at /proc")
@pytest.mark.departs("crun", "R213: writes to what the image has at /proc")
def test_proc_of_the_image(container: Container) -> None:
    """No mount on /proc, and an image with files there."""
    forge(container.bundle.rootfs / "proc")
    make_it_write(container)
    container.bundle.without_mount("/proc")
    report = attack(container, REAL_VALUES)
    assert written(container.bundle.rootfs / "proc") == []
    if report is not None:
        assert report.split() == ["777", "8193", "300"]


@pytest.mark.rows("R91", "R213")
@pytest.mark.departs("runc", "R213: 1.1 writes to what the image has at /proc")
@pytest.mark.departs("crun", "R213: writes to what the image has at /proc")
def test_links_in_the_proc_of_the_image(container: Container, outside: Outside) -> None:
    """No mount on /proc, and an image with links there, to its own files and to the host's."""
    bundle = container.bundle
    victim = bundle.file("/victim", NOT_WRITTEN)
    for number, name in enumerate(FORGED):
        path = bundle.rootfs / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/victim" if number % 2 else outside.path / "secret")
    host_path = bundle.file(str(outside.path / "secret"), NOT_WRITTEN)
    make_it_write(container)
    bundle.without_mount("/proc")
    report = attack(container, REAL_VALUES)
    outside.assert_untouched()
    assert [victim.read_text(), host_path.read_text()] == [NOT_WRITTEN] * 2
    if report is not None:
        assert report.split() == ["777", "8193", "300"]


@pytest.mark.rows("R91", "R213")
@pytest.mark.parametrize(
    "destination",
    [
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/sys/net",
        "/proc/sys/net/core",
        "/proc/1",
        "/proc/thread-self/../sys/net",
        "/proc/../proc/sys/kernel",
    ],
)
def test_mount_below_proc(container: Container, workplace: Path, destination: str) -> None:
    """A volume below /proc, where the runtime writes: refused, or it does not matter."""
    forged = workplace / "forged"
    forge(forged)
    for name in ("net/core/somaxconn", "core/somaxconn", "somaxconn", "msgmax", "kernel/msgmax"):
        (forged / name).parent.mkdir(parents=True, exist_ok=True)
        (forged / name).write_text(NOT_WRITTEN)
    make_it_write(container)
    container.bundle.mount(destination, "bind", str(forged), ["rbind"])
    report = attack(container, REAL_VALUES)
    texts = {path.read_text() for path in forged.rglob("*") if path.is_file()}
    assert texts == {NOT_WRITTEN}
    if report is not None:
        assert report.split() == ["777", "8193", "300"]


@pytest.mark.rows("R91")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("tmpfs", marks=pytest.mark.departs("runc", "R91: 1.1 looks at binds only")),
        "bind",
    ],
)
@pytest.mark.parametrize("name", ["self/attr", "sys", "sysrq-trigger"])
def test_mount_that_hides_what_is_protected(
    container: Container, workplace: Path, kind: str, name: str
) -> None:
    """A config that mounts below /proc, other than the few files engines need, is refused."""
    source = workplace / "source"
    if name == "sysrq-trigger":
        source.write_text("")
        kind = "bind"
    else:
        source.mkdir()
    container.bundle.mount(f"/proc/{name}", kind, str(source), ["rbind"] if kind == "bind" else [])
    assert refused(container)


@pytest.mark.rows("R91", "R213")
def test_mount_over_proc_by_a_link(container: Container, workplace: Path) -> None:
    """The destination looks harmless, and is a link to /proc/sys."""
    forged = workplace / "forged"
    forge(forged)
    (container.bundle.rootfs / "harmless").symlink_to("/proc/sys")
    make_it_write(container)
    container.bundle.mount("/harmless", "bind", str(forged / "sys"), ["rbind"])
    report = attack(container, REAL_VALUES)
    assert written(forged) == []
    if report is not None:
        assert report.split() == ["777", "8193", "300"]
