"""CVE-2021-30465 and CVE-2024-45310: a directory becomes a link while the runtime uses it.

A process swaps a directory of a shared volume with a link to the host, as fast as it can,
while containers are created. The number of rounds is bounded; a runtime that is safe is so
in every round.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, mounts_below, wait_for
from tests.attacks.conftest import SECRET, Outside

pytestmark = [
    pytest.mark.slow,
    pytest.mark.departs("runc", "CVE-2024-45310, CVE-2026-41579: before 1.1.14 and 1.3.6"),
    pytest.mark.departs("crun", "GHSA-7vwr-4279-7gq5: before 1.29"),
]

ROUNDS = 20
# Swap two names for ever; touch the file argv[3] after the first thousand times.
SWAPPER = """
import ctypes, pathlib, sys
swap = ctypes.CDLL(None, use_errno=True).renameat2
one, two = (name.encode() for name in sys.argv[1:3])
for count in range(10 ** 12):
    if swap(-100, one, -100, two, 2) != 0:
        sys.exit(f"renameat2: {ctypes.get_errno()}")
    if count == 1000:
        pathlib.Path(sys.argv[3]).touch()
"""


class Swapper:
    """A process that exchanges a directory and a link, again and again."""

    def __init__(self, directory: Path, link: Path, ready: Path) -> None:
        command = [sys.executable, "-c", SWAPPER, str(directory), str(link), str(ready)]
        self.process = subprocess.Popen(command)
        wait_for(lambda: ready.exists() or self.process.poll() is not None, "the first swaps")
        assert self.process.poll() is None, "the swapper has ended"

    def stop(self) -> None:
        """End the process."""
        assert self.process.poll() is None, "the swapper has ended"
        self.process.kill()
        self.process.wait()


@pytest.fixture
def volume(workplace: Path) -> Path:
    """A directory which containers share."""
    path = workplace / "volume"
    (path / "dir").mkdir(parents=True)
    return path


@pytest.fixture
def swapper(volume: Path, workplace: Path, outside: Outside) -> Iterator[Swapper]:
    """Swaps volume/dir with a link to the host."""
    (volume / "link").symlink_to(outside.path)
    swapper = Swapper(volume / "dir", volume / "link", workplace / "ready")
    yield swapper
    swapper.stop()


def create_again_and_again(container: Container, outside: Outside) -> None:
    """Create and run the container; after each round the host is as it was."""
    container.bundle.sh("cat /volume/dir/secret /volume/link/secret 2>/dev/null")
    for _ in range(ROUNDS):
        if container.try_create().status == 0:
            container.runtime.run("start", container.id)
        container.clean()
        outside.assert_untouched()
        assert mounts_below(outside.path.parent) == []
    assert SECRET not in container.output()


def share(container: Container, volume: Path) -> None:
    """Mount the volume."""
    container.bundle.mount("/volume", "bind", str(volume), ["rbind"])


@pytest.mark.rows("R91")
@pytest.mark.parametrize("destination", ["/volume/dir", "/volume/dir/empty", "/volume/dir/new/one"])
def test_mount_in_a_shared_volume(
    make_container: MakeContainer,
    volume: Path,
    outside: Outside,
    swapper: Swapper,
    destination: str,
) -> None:
    """A file system in the volume is never mounted, nor a directory made, on the host."""
    container = make_container()
    share(container, volume)
    container.bundle.mount(destination, "tmpfs", "tmpfs")
    create_again_and_again(container, outside)


@pytest.mark.rows("R91")
def test_file_in_a_shared_volume(
    make_container: MakeContainer, volume: Path, outside: Outside, swapper: Swapper
) -> None:
    """A mount point that is a file is never made on the host."""
    container = make_container()
    share(container, volume)
    file = container.bundle.path / "file"
    file.write_text("x")
    container.bundle.mount("/volume/dir/new", "bind", str(file), ["bind"])
    container.bundle.mount("/volume/dir/more/new", "bind", str(file), ["bind"])
    create_again_and_again(container, outside)


@pytest.mark.rows("R150")
def test_device_in_a_shared_volume(
    make_container: MakeContainer, volume: Path, outside: Outside, swapper: Swapper
) -> None:
    """A device is never made on the host."""
    container = make_container()
    share(container, volume)
    container.bundle.linux["devices"] = [
        {"path": path, "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 5}
        for path in ("/volume/dir/node", "/volume/dir/more/node")
    ]
    create_again_and_again(container, outside)


@pytest.mark.rows("R215", "R216", "R64")
def test_paths_in_a_shared_volume(
    make_container: MakeContainer, volume: Path, outside: Outside, swapper: Swapper
) -> None:
    """Masked and read-only paths, and the working directory."""
    container = make_container()
    share(container, volume)
    container.bundle.linux["maskedPaths"] = ["/volume/dir/secret", "/volume/dir/empty"]
    container.bundle.linux["readonlyPaths"] = ["/volume/dir", "/volume/dir/shm"]
    container.bundle.process["cwd"] = "/volume/dir/made"
    create_again_and_again(container, outside)


@pytest.mark.rows("R91", "R42", "R154")
@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("mounted", [True, False])
def test_directory_of_the_root(
    make_container: MakeContainer,
    workplace: Path,
    outside: Outside,
    name: str,
    mounted: bool,
) -> None:
    """/proc, /sys or /dev of the image itself is swapped."""
    container = make_container()
    bundle = container.bundle
    if not mounted:
        below = [e["destination"] for e in bundle.config["mounts"]]
        for destination in below:
            if destination.startswith(f"/{name}"):
                bundle.without_mount(destination)
    (bundle.rootfs / "link").symlink_to(outside.path)
    swapper = Swapper(bundle.rootfs / name, bundle.rootfs / "link", workplace / "ready")
    try:
        create_again_and_again(container, outside)
    finally:
        swapper.stop()
