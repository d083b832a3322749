"""The initial ramdisk: a static busybox and the modules that lead to the root disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.failures import Failure
from tests.vm.host import run, search_path

# What the kernel needs before /lib/modules can be read, and the host's serial port.
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4", "overlay")
SCRIPT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
for module in {modules}; do /bin/busybox insmod /modules/$module; done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 500 ]; do
    /bin/busybox usleep 20000
    tries=$((tries + 1))
done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root || {{ echo "initrd: no /dev/vda"; exit 1; }}
for place in dev proc sys; do /bin/busybox mount --move /$place /root/$place; done
exec /bin/busybox switch_root /root /lib/systemd/systemd
"""


def dependencies(listing: str) -> list[str]:
    """The files that `modprobe --show-depends` names, in its order."""
    lines = [line.split() for line in listing.splitlines()]
    return [words[1] for words in lines if len(words) > 1 and words[0] == "insmod"]


def modules(root: Path, release: str) -> list[Path]:
    """The module files to insert, each after those that it needs."""
    found: list[Path] = []
    for name in MODULES:
        command = ["modprobe", "-d", str(root), "-S", release, "--show-depends", name]
        try:
            listing = run(command, f"looking up the module {name}").decode()
        except Failure:
            if name in ("crc32c_generic",):  # gone in later kernels
                continue
            raise
        found += [Path(path) for path in dependencies(listing) if Path(path) not in found]
    return found


def make(root: Path, release: str, scratch: Path, target: Path) -> None:
    """Write the ramdisk for a root directory's kernel. Raises Failure."""
    for name in ("bin", "modules", "dev", "proc", "sys", "root"):
        (scratch / name).mkdir(parents=True)
    shutil.copy(_busybox(), scratch / "bin/busybox")
    files = modules(root, release)
    for path in files:
        shutil.copy(path, scratch / "modules")
    script = scratch / "init"
    script.write_text(SCRIPT.format(modules=" ".join(path.name for path in files)))
    script.chmod(0o755)
    names = [str(path.relative_to(scratch)) for path in sorted(scratch.rglob("*"))]
    packed = run(
        ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
        "packing the initial ramdisk",
        cwd=scratch,
        stdin="\n".join(names).encode(),
    )
    target.write_bytes(packed)


def _busybox() -> str:
    path = shutil.which("busybox", path=search_path())
    if path is None:
        raise Failure("no busybox; run: tools/setup.sh vm")
    return path
