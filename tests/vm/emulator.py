"""The QEMU that runs the guest: the host's own if it is new enough, or one unpacked aside.

QEMU 7.2, that of Debian 12, crashes kernel 6.12 now and then when each guest processor
has a thread of its own; and snapshots that map the guest's memory need QEMU 9. The
backport is unpacked into the cache and never installed; its libraries are those of the
host's package, which tools/setup.sh installs.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.vm.debian import Archive
from tests.vm.failures import Failure
from tests.vm.host import codename, run, search_path

NEEDED = (10, 0)
PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")


@dataclass(frozen=True)
class Emulator:
    """How QEMU is started, before any option of the machine."""

    command: tuple[str, ...]
    version: str


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor release out of what `--version` prints. Raises Failure."""
    match = re.search(r"version (\d+)\.(\d+)", text)
    if match is None:
        raise Failure(f"no version in what QEMU prints: {text[:80]!r}")
    return int(match.group(1)), int(match.group(2))


def emulator(cache: Path) -> Emulator:
    """The QEMU to use; unpacked into `cache` if the host's is too old. Raises Failure."""
    own = shutil.which("qemu-system-x86_64", path=search_path())
    if own is None:
        raise Failure("no qemu-system-x86_64; run: tools/setup.sh vm")
    installed = _probe((own,))
    if parse_version(installed.version) >= NEEDED:
        return installed
    return _probe(_private(cache))


def _probe(command: tuple[str, ...]) -> Emulator:
    text = run([*command, "--version"], "asking QEMU for its version").decode()
    return Emulator(command, text.splitlines()[0])


def _private(cache: Path) -> tuple[str, ...]:
    place = cache / f"qemu-{NEEDED[0]}"
    if not place.is_dir():
        _download(place)
    share = place / "usr/share"
    program = str(place / "usr/bin/qemu-system-x86_64")
    return program, "-L", str(share / "seabios"), "-L", str(share / "qemu")


def _download(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="qemu.") as name:
        archive = Archive(f"{codename()}-backports", Path(name))
        archive.update()
        unpacked = Path(name) / "unpacked"
        archive.unpack([f"{package}/{archive.suite}" for package in PACKAGES], unpacked)
        unpacked.rename(place)
