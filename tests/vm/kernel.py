"""The kernel of a guest: Debian's cloud kernel, as QEMU starts it fastest.

QEMU enters an uncompressed kernel directly. Without hardware help a guest takes seconds
to decompress its own, and again for each module.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tests.vm.debian import Archive
from tests.vm.failures import Failure
from tests.vm.host import run

METAPACKAGE = "linux-image-cloud-amd64"
# Offsets in a bzImage: Documentation/arch/x86/boot.rst of the kernel.
SETUP_SECTORS = 0x1F1
PAYLOAD = 0x248
DECOMPRESSORS = {
    b"\xfd7zX": ("xz", "-dc", "--single-stream"),
    b"\x02\x21\x4c\x18": ("lz4", "-dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dc"),
    b"\x1f\x8b\x08\x00": ("gzip", "-dc"),
}


def install(suite: str, root: Path, scratch: Path) -> str:
    """Unpack the kernel of a suite into a root directory; its release. Raises Failure."""
    archive = Archive(suite, scratch)
    archive.update()
    archive.unpack([archive.newest_dependency(METAPACKAGE)], root)
    images = sorted((root / "boot").glob("vmlinuz-*"))
    if not images:
        raise Failure(f"{METAPACKAGE} of {suite} brought no /boot/vmlinuz-*")
    release = images[-1].name.removeprefix("vmlinuz-")
    _merge_modules(root)
    _decompress_modules(root / "usr/lib/modules" / release)
    run(["depmod", "-b", str(root), release], "listing the kernel's modules")
    return release


def _merge_modules(root: Path) -> None:
    """Where a kernel package still ships /lib/modules, dpkg-deb -x replaces the link /lib."""
    lib = root / "lib"
    if lib.is_symlink():
        return
    run(["cp", "-a", f"{lib}/.", str(root / "usr/lib")], "moving the modules to /usr/lib")
    run(["rm", "-rf", str(lib)], "removing /lib")
    lib.symlink_to("usr/lib")


def _decompress_modules(directory: Path) -> None:
    packed = [str(path) for path in directory.rglob("*.ko.xz")]
    if packed:
        run(["xz", "-d", *packed], "decompressing modules")


def payload(image: bytes) -> bytes:
    """The compressed kernel inside a bzImage. Raises Failure."""
    if len(image) < 0x250 or image[0x202:0x206] < b"\x08\x02\x00\x00":
        raise Failure("the kernel is no bzImage of boot protocol 2.8 or later")
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    start = (image[SETUP_SECTORS] + 1) * 512 + offset
    return image[start : start + length]


def extract(image: Path, target: Path) -> None:
    """Write the uncompressed kernel of a bzImage to `target`. Raises Failure."""
    packed = payload(image.read_bytes())
    command = DECOMPRESSORS.get(packed[:4])
    if command is None:
        raise Failure(f"{image.name}: compressed in an unknown way ({packed[:4].hex()})")
    # The payload ends with four bytes for the length, which are no part of the stream.
    kernel = run(command, "decompressing the kernel", stdin=packed[:-4])
    if kernel[:4] != b"\x7fELF":
        raise Failure(f"{image.name}: there is no ELF file inside")
    target.write_bytes(kernel)
