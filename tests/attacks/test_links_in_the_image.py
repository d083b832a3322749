"""Images whose /proc, /sys, /dev or parts of them are links.

CVE-2019-19921, 2023-27561 and 2023-28642 (/proc, /sys), CVE-2025-31133 (/dev/null),
CVE-2025-52565 and CVE-2026-88264 (/dev/console, /dev/pts), CVE-2026-41579 (/dev),
CVE-2026-88265 (standard streams through /dev/null).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, mounts_below
from conformance.test_mount_options import MOUNTINFO, parse_mounts
from conformance.test_terminal import ConsoleSocket
from tests.attacks.conftest import SECRET, Outside, attack, refused

VICTIM = "a file of the image, which must stay as it is\n"
HOW = ["absolute", "climbing", "inside"]


def link_away(bundle: Bundle, name: str, target: Path, how: str) -> None:
    """Replace a path of the image by a link to a path of the host, or to the same inside."""
    path = bundle.rootfs / name.lstrip("/")
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    if how == "climbing":
        path.symlink_to("../" * 20 + str(target).lstrip("/"))
    else:
        path.symlink_to(target)
    if how == "inside":
        same = bundle.rootfs / str(target).lstrip("/")
        same.mkdir(parents=True)
        for name in ("secret", "ptmx", "null", "console"):
            (same / name).write_text(VICTIM)


@pytest.mark.rows("R91")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["/proc", "/sys"])
def test_proc_is_a_link(container: Container, outside: Outside, name: str, how: str) -> None:
    """procfs and sysfs go to directories only, for what is protected in them must be there."""
    link_away(container.bundle, name, outside.path, how)
    container.bundle.linux["maskedPaths"] = ["/proc/timer_list", "/sys/firmware"]
    assert refused(container)
    outside.assert_untouched()


@pytest.mark.rows("R91")
@pytest.mark.parametrize("name", ["/proc", "/sys"])
def test_proc_is_a_link_to_another_directory(container: Container, name: str) -> None:
    """Nor may the link lead to a volume that other containers write to."""
    (container.bundle.rootfs / name.lstrip("/")).rmdir()
    (container.bundle.rootfs / name.lstrip("/")).symlink_to("volume/x")
    volume = container.bundle.path / "volume"
    (volume / "x").mkdir(parents=True)
    container.bundle.config["mounts"].insert(
        0,
        {"destination": "/volume", "type": "bind", "source": str(volume), "options": ["rbind"]},
    )
    assert refused(container)
    assert list((volume / "x").iterdir()) == []


def without_dev(bundle: Bundle) -> Bundle:
    """Use the /dev of the image."""
    for path in ("/dev/shm", "/dev/pts", "/dev"):
        bundle.without_mount(path)
    return bundle


@pytest.mark.rows("R42", "R154")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("mounted", [False, True], ids=["image", "tmpfs"])
@pytest.mark.departs("runc", "CVE-2026-41579: makes links and nodes where /dev leads")
@pytest.mark.departs("crun", "GHSA-7vwr-4279-7gq5: the same")
def test_dev_is_a_link(container: Container, outside: Outside, how: str, mounted: bool) -> None:
    """Devices and links are made inside the root, or nowhere."""
    link_away(container.bundle, "/dev", outside.path, how)
    if not mounted:
        without_dev(container.bundle)
    attack(container, "ls -l /dev/")
    outside.assert_untouched()
    assert mounts_below(container.bundle.path) == []


@pytest.mark.rows("R150")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["/opt", "/opt/node"])
def test_device_behind_a_link(container: Container, outside: Outside, name: str, how: str) -> None:
    """A configured device is made inside the root, or nowhere."""
    bundle = container.bundle
    (bundle.rootfs / "opt").mkdir()
    link_away(bundle, name, outside.path if name == "/opt" else outside.path / "secret", how)
    bundle.linux["devices"] = [
        {"path": "/opt/node", "type": "c", "major": 10, "minor": 229, "fileMode": 0, "uid": 7}
    ]
    attack(container, "ls -l /opt/")
    outside.assert_untouched()


MASKED = "/etc/masked"


def mask_with_a_forged_null(bundle: Bundle, target: str) -> None:
    """Mask a file in a container whose image has a link for /dev/null."""
    without_dev(bundle)
    bundle.file(MASKED, "masked\n")
    (bundle.rootfs / "dev/null").symlink_to(target)
    bundle.linux["maskedPaths"] = [MASKED]
    bundle.linux["readonlyPaths"] = ["/proc/sys"]


@pytest.mark.rows("R154", "R215")
@pytest.mark.departs("runc", "CVE-2025-31133: binds what /dev/null leads to")
@pytest.mark.departs("crun", "CVE-2025-31133: binds what /dev/null leads to")
@pytest.mark.parametrize("target", ["/victim", "/proc/sys/net/core/somaxconn", "/proc/self/mem"])
def test_mask_is_a_link(container: Container, target: str) -> None:
    """What masks is a null device or nothing: not a writable way to somewhere else."""
    victim = container.bundle.file("/victim", VICTIM)
    mask_with_a_forged_null(container.bundle, target)
    report = attack(
        container,
        f"grep ' {MASKED} ' /proc/self/mountinfo; stat -c '%F %t:%T' {MASKED};"
        f" wc -c <{MASKED}; echo 77 >{MASKED}; cat /proc/sys/net/core/somaxconn",
    )
    assert victim.read_text() == VICTIM
    if report is not None:
        lines = report.splitlines()
        assert lines[1:3] == ["character special file 1:3", "0"]
        assert lines[-1] != "77"


@pytest.mark.rows("R154", "R215")
@pytest.mark.departs("runc", "CVE-2025-31133: takes any file for /dev/null")
@pytest.mark.departs("crun", "CVE-2025-31133: takes any file for /dev/null")
@pytest.mark.parametrize("what", ["file", "directory", "zero"])
def test_mask_is_no_null_device(container: Container, what: str) -> None:
    """An image may have anything at /dev/null; it does not become the mask."""
    bundle = without_dev(container.bundle)
    bundle.file(MASKED, "masked\n")
    bundle.linux["maskedPaths"] = [MASKED]
    null = bundle.rootfs / "dev/null"
    if what == "file":
        null.write_text(VICTIM)
    elif what == "directory":
        null.mkdir()
    else:
        os.mknod(null, 0o20666, os.makedev(1, 5))
    report = attack(container, f"stat -c '%F %t:%T' {MASKED}; head -c 4 {MASKED} | wc -c")
    if report is not None:
        assert report.splitlines() == ["character special file 1:3", "0"]


@pytest.mark.rows("R67", "R154")
@pytest.mark.departs("crun", "CVE-2026-88265: opens what /dev/null leads to")
def test_standard_streams_through_a_link(container: Container) -> None:
    """Standard input is not opened anew through the image's /dev/null, nor is that given away."""
    victim = container.bundle.file("/victim", VICTIM)
    without_dev(container.bundle)
    (container.bundle.rootfs / "dev/null").symlink_to("/victim")
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    report = attack(container, "readlink /proc/self/fd/0; cat <&0")
    assert victim.read_text() == VICTIM
    assert (victim.stat().st_uid, victim.stat().st_gid) == (0, 0)
    if report is not None:
        assert "/victim" not in report
        assert VICTIM not in report


# terminals


def with_terminal(container: Container, console: ConsoleSocket, script: str) -> str | None:
    """Run the script on a terminal; what it reported."""
    container.bundle.process["terminal"] = True
    return attack(container, script, "--console-socket", str(console.path))


@pytest.mark.rows("R62", "R154")
@pytest.mark.parametrize("pts", [True, False], ids=["devpts", "no devpts"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.departs("runc", "CVE-2025-52565: binds the terminal where /dev/console leads")
@pytest.mark.departs("crun", "CVE-2026-88264: binds the terminal where /dev/console leads")
def test_console_is_a_link(
    container: Container, outside: Outside, console: ConsoleSocket, how: str, pts: bool
) -> None:
    """Without a mount on /dev the image's /dev/console does not say where the terminal goes."""
    bundle = container.bundle
    bundle.without_mount("/dev/shm").without_mount("/dev")
    (bundle.rootfs / "dev/pts").mkdir()
    if not pts:
        bundle.without_mount("/dev/pts")
    target = outside.path / "console"
    climbing = "../" * 20 + str(target).lstrip("/")
    (bundle.rootfs / "dev/console").symlink_to(climbing if how == "climbing" else target)
    inside = bundle.rootfs / str(target).lstrip("/")
    if how == "inside":
        bundle.file(str(target), VICTIM)
    report = with_terminal(container, console, f"{MOUNTINFO}; ls -l /dev/")
    outside.assert_untouched()
    if how == "inside":
        assert inside.read_text() == VICTIM
        assert inside.stat().st_uid == 0
    if report is not None:
        targets = [mount.target for mount in parse_mounts(report)]
        assert not [target for target in targets if str(outside.path) in target]


@pytest.mark.rows("R62", "R154")
@pytest.mark.departs("crun", "CVE-2025-52565: takes the image's /dev/pts for its own")
@pytest.mark.parametrize("how", ["null", "protected"])
def test_terminals_of_the_image(container: Container, console: ConsoleSocket, how: str) -> None:
    """Without a devpts, links in /dev/pts must not become the console."""
    bundle = without_dev(container.bundle)
    victim = bundle.file("/victim", VICTIM)
    target = "/victim" if how == "null" else "/proc/sys/net/core/somaxconn"
    (bundle.rootfs / "dev/pts").mkdir()
    for number in range(40):
        (bundle.rootfs / f"dev/pts/{number}").symlink_to(target)
    (bundle.rootfs / "dev/pts/ptmx").symlink_to(target)
    (bundle.rootfs / "dev/ptmx").symlink_to("pts/ptmx")
    bundle.linux["readonlyPaths"] = ["/proc/sys"]
    report = with_terminal(container, console, f"echo 77 >/dev/console; {MOUNTINFO}")
    assert victim.read_text() == VICTIM
    assert (victim.stat().st_uid, victim.stat().st_mode & 0o777) == (0, 0o644)
    if report is not None:
        consoles = [m for m in parse_mounts(report) if m.target == "/dev/console"]
        assert [m for m in consoles if m.kind != "devpts"] == []


@pytest.mark.rows("R62", "R91")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("name", ["/dev/pts", "/dev/shm", "/dev/ptmx"])
@pytest.mark.departs("crun", "R154: follows the link")
def test_part_of_dev_is_a_link(
    container: Container,
    outside: Outside,
    console: ConsoleSocket,
    name: str,
    terminal: bool,
    how: str,
) -> None:
    """Parts of the image's own /dev are links to the host."""
    bundle = container.bundle
    bundle.without_mount("/dev")
    target = outside.path / name.removeprefix("/dev/")
    (bundle.rootfs / name.lstrip("/")).symlink_to(
        "../" * 20 + str(target).lstrip("/") if how == "climbing" else target
    )
    if how == "inside":
        if name == "/dev/ptmx":
            bundle.file(str(target), VICTIM)
        else:
            (bundle.rootfs / str(target).lstrip("/")).mkdir(parents=True)
    if terminal:
        report = with_terminal(container, console, f"cat {target}; ls -l /dev/")
    else:
        report = attack(container, f"cat {target}; ls -l /dev/")
    outside.assert_untouched()
    assert SECRET not in (report or "")


@pytest.mark.rows("R62", "R154")
def test_terminal_without_a_mount_on_dev(container: Container, console: ConsoleSocket) -> None:
    """The image's own /dev, honest this time: the terminal works, or the runtime refuses."""
    bundle = container.bundle
    bundle.without_mount("/dev/shm").without_mount("/dev")
    (bundle.rootfs / "dev/pts").mkdir()
    report = with_terminal(container, console, "tty; [ -t 0 ] && echo terminal")
    if report is not None:
        assert report.splitlines() == ["/dev/pts/0", "terminal"]


@pytest.mark.rows("R64")
@pytest.mark.parametrize("how", HOW)
def test_cwd_is_a_link(container: Container, outside: Outside, how: str) -> None:
    """A missing working directory behind a link is made inside the root, or nowhere."""
    link_away(container.bundle, "/work", outside.path, how)
    container.bundle.process["cwd"] = "/work/made/here"
    report = attack(container, "cat ../../secret")
    outside.assert_untouched()
    assert SECRET not in (report or "")


@pytest.mark.rows("R215", "R216")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
def test_covered_path_is_a_link(
    container: Container, outside: Outside, name: str, how: str
) -> None:
    """Paths to cover are looked up inside the root."""
    link_away(container.bundle, "/covered", outside.path, how)
    container.bundle.linux[name] = ["/covered", "/covered/secret"]
    report = attack(container, "cat /covered/secret; echo x >/covered/secret")
    outside.assert_untouched()
    assert SECRET not in (report or "")
