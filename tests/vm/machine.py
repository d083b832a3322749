"""The virtual machine as QEMU's command line.

A snapshot can be resumed only by the same machine: whatever stands here is part of the
snapshot's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.emulator import Emulator

# As fast as it gets under TCG: `max` has AVX, which costs more to emulate than it spares.
PROCESSOR = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdtscp"
KERNEL_PARAMETERS = """
    console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr init_on_alloc=0
    random.trust_cpu=on nowatchdog no_timer_check tsc=reliable rcupdate.rcu_expedited=1
    cryptomgr.notests audit=0 transparent_hugepage=never
    systemd.show_status=0 systemd.log_target=null
""".split()
LSM_PARAMETERS = {
    "apparmor": ["apparmor=1", "security=apparmor"],
    "selinux": ["security=selinux", "selinux=1"],
}


def tsc_khz(cpuinfo: str) -> int | None:
    """The rate of the host's time stamp counter, in kHz; None where it is not told.

    TCG's counter is the host's, and measuring it fails while the host is busy.
    """
    match = re.search(r"^cpu MHz\s*:\s*([0-9.]+)", cpuinfo, re.MULTILINE)
    return int(float(match.group(1)) * 1000) if match else None


def kernel_parameters(lsm: str, khz: int | None) -> list[str]:
    """The kernel's command line, as words."""
    rate = [f"tsc_early_khz={khz}"] if khz else []
    return [*KERNEL_PARAMETERS, *LSM_PARAMETERS[lsm], *rate]


@dataclass(frozen=True)
class Machine:
    """A virtual machine; memory is in MiB."""

    emulator: Emulator
    image: Path
    parameters: tuple[str, ...]
    memory: int = 2048
    processors: int = 2

    def identity(self) -> str:
        """Twelve hex digits for everything that a snapshot depends on, but the image's place."""
        parts: list[Sequence[str]] = [[self.emulator.version], self.hardware(), self.parameters]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def hardware(self) -> list[str]:
        """The options that describe the machine itself."""
        return [
            *("-machine", "pc,hpet=off,vmport=off"),
            *("-accel", "tcg,thread=multi,tb-size=1024"),
            *("-cpu", PROCESSOR),
            *("-m", str(self.memory)),
            *("-smp", str(self.processors)),
            *("-device", "virtio-blk-pci,drive=root,addr=0x4"),
            *("-device", "virtio-rng-pci,addr=0x5"),
            *("-device", "virtio-serial-pci,addr=0x6"),
            *("-device", "virtserialport,chardev=agent,name=agent,nr=1"),
        ]

    def command(self, sockets: Path, disk: Path, *, keep: bool, incoming: bool) -> list[str]:
        """QEMU's command line.

        `sockets` is the directory for its sockets and the console's text; what the guest
        writes to `disk` is kept, or thrown away; `incoming` waits for a snapshot.
        """
        kind = "qcow2" if disk.suffix == ".qcow2" else "raw"
        drive = f"if=none,id=root,file={disk},format={kind},cache=unsafe"
        return [
            *self.emulator.command,
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-chardev", f"socket,id=agent,path={sockets}/agent,server=on,wait=off"),
            *("-qmp", f"unix:{sockets}/qmp,server=on,wait=off"),
            *("-serial", f"file:{sockets}/console"),
            *("-drive", drive if keep else drive + ",snapshot=on"),
            *self.hardware(),
            *("-kernel", str(self.image / "vmlinux"), "-initrd", str(self.image / "initrd")),
            *("-append", " ".join(self.parameters)),
            *(("-incoming", "defer") if incoming else ()),
        ]
