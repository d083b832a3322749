"""A booted guest on disk: resumed in a second, where a boot takes a dozen."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.guest import Guest
from tests.vm.host import run
from tests.vm.image import Say, locked
from tests.vm.machine import Machine


@dataclass(frozen=True)
class Snapshot:
    """The guest's memory, and what it had written to its disk by then."""

    memory: Path
    disk: Path


def snapshot(machine: Machine, say: Say) -> Snapshot:
    """The snapshot of a machine, made if it is not there. Raises Failure."""
    place = machine.image / f"snapshot-{machine.identity()}"
    with locked(machine.image.parent):
        if not place.is_dir():
            _make(machine, place, say)
    return Snapshot(place / "memory", place / "disk.qcow2")


def _make(machine: Machine, place: Path, say: Say) -> None:
    began = time.monotonic()
    say("booting once, for the snapshot (about 25 s)")
    scratch = Path(tempfile.mkdtemp(dir=place.parent, prefix="snapshot."))
    try:
        disk = scratch / "disk.qcow2"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        base = ["-b", "../root.ext4"]  # as seen from the layer: a cache may be moved
        run([*command, *base, str(disk)], "making the layer above the root disk")
        with Guest(machine) as guest:
            uptime = guest.boot(disk, keep=True)
            guest.save(scratch / "memory")
        scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"snapshot made in {time.monotonic() - began:.0f} s, {uptime:.0f} s after its boot")
