"""QEMU's command line, and the name of a snapshot that depends on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.vm.emulator import Emulator, parse_version
from tests.vm.failures import Failure
from tests.vm.machine import Machine, kernel_parameters, tsc_khz

MACHINE = Machine(Emulator(("/q/qemu", "-L", "/q/share"), "version 10.0.2"), Path("/i"), ("quiet",))


def value_after(command: list[str], option: str) -> str:
    """The word that follows an option."""
    return command[command.index(option) + 1]


def test_a_run_throws_its_writes_away() -> None:
    """The image must stay as it was built, whatever a test does as root."""
    command = MACHINE.command(Path("/s"), Path("/i/root.ext4"), keep=False, incoming=False)
    assert command[:3] == ["/q/qemu", "-L", "/q/share"]
    drive = value_after(command, "-drive")
    assert "format=raw" in drive and drive.endswith("snapshot=on")
    assert "-incoming" not in command
    assert value_after(command, "-kernel") == "/i/vmlinux"


def test_the_layer_of_a_snapshot_is_kept() -> None:
    """Its disk belongs to the memory that is saved with it."""
    command = MACHINE.command(Path("/s"), Path("/i/disk.qcow2"), keep=True, incoming=True)
    drive = value_after(command, "-drive")
    assert "format=qcow2" in drive and "snapshot=on" not in drive
    assert value_after(command, "-incoming") == "defer"


@pytest.mark.parametrize(
    "change",
    [
        {"memory": 1024},
        {"processors": 1},
        {"parameters": ("quiet", "selinux=1")},
        {"emulator": Emulator(("/q/qemu",), "version 10.1.0")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_machine_has_another_snapshot(change: dict[str, object]) -> None:
    """QEMU cannot resume a snapshot on a machine that differs."""
    other: Machine = dataclasses.replace(MACHINE, **change)  # type: ignore[arg-type]
    assert other.identity() != MACHINE.identity()
    assert dataclasses.replace(MACHINE).identity() == MACHINE.identity()


def test_tsc_rate_is_the_first_processors() -> None:
    """In kHz; a host that does not tell it leaves the guest to measure."""
    assert tsc_khz("processor: 0\ncpu MHz\t\t: 2599.998\ncpu MHz\t\t: 1000.0\n") == 2599998
    assert tsc_khz("processor: 0\n") is None
    assert "tsc_early_khz" not in " ".join(kernel_parameters("apparmor", None))


def test_version_of_qemu() -> None:
    """With or without the distribution's suffix."""
    assert parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)") == (10, 0)
    with pytest.raises(Failure, match="no version"):
        parse_version("cannot execute")
