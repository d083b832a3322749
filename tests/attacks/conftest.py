"""What the attacks share: fixtures of conformance/, a place on the host to watch, two verdicts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.conftest import (
    bundle,
    busybox,
    container,
    make_container,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_header,
    runtime,
    workplace,
)
from conformance.runtime import Container
from conformance.test_mount_options import host_mountinfo, parse_mounts
from conformance.test_namespaces import pair
from conformance.test_terminal import console

__all__ = [
    "bundle",
    "busybox",
    "console",
    "container",
    "make_container",
    "pair",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_report_header",
    "runtime",
    "workplace",
]

SECRET = "only the host may read this\n"
Snapshot = dict[str, tuple[int, int, int, str]]


class Outside:
    """A directory of the host, outside of every root file system, and what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("empty", "pts", "shm"):
            (path / name).mkdir(parents=True)
        for name in ("secret", "ptmx", "null", "console", "pts/0"):
            (path / name).write_text(SECRET)
        self.before = snapshot(path)

    def assert_untouched(self) -> None:
        """Nothing was made, removed, written, given away or covered."""
        assert snapshot(self.path) == self.before
        covered = [m.target for m in parse_mounts(host_mountinfo()) if str(self.path) in m.target]
        assert covered == []


def snapshot(path: Path) -> Snapshot:
    """Mode, owner and content of everything below a directory, without following links."""
    found: Snapshot = {}
    for directory, names, files in os.walk(path):
        for name in [*names, *files]:
            entry = Path(directory) / name
            status = entry.lstat()
            text = entry.read_text() if entry.is_file() and not entry.is_symlink() else ""
            found[str(entry.relative_to(path))] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                text,
            )
    return found


@pytest.fixture
def outside(workplace: Path) -> Outside:
    """A directory of the host, to be asked at the end whether it is untouched."""
    return Outside(workplace / "outside")


REPORT = "/report"


def attack(container: Container, script: str, *options: str) -> str | None:
    """Create and start a container that runs the script: what that printed.

    None if the runtime refused. The output goes to a file of the container's root, since an
    attack may be about standard output.
    """
    container.bundle.file(REPORT)
    os.chmod(container.bundle.rootfs / REPORT.lstrip("/"), 0o666)
    container.bundle.sh(f"exec >>{REPORT} 2>&1; {script}")
    result = container.try_create(*options)
    if result.status != 0:
        assert result.stderr.strip(), "refused without a word"
        return None
    if container.runtime.run("start", container.id).status != 0:
        return None
    container.wait_stopped()
    return (container.bundle.rootfs / REPORT.lstrip("/")).read_text()


def refused(container: Container) -> bool:
    """Create, and delete again if that was possible; whether the runtime refused."""
    status = container.try_create().status
    if status == 0:
        container.clean()
    return status != 0
