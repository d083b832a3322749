"""What is taken out of packages and put into archives: kernel, ramdisk, tree."""

from __future__ import annotations

import lzma
import shutil
import struct
import tarfile
from pathlib import Path

import pytest

from tests.vm.failures import Failure
from tests.vm.initrd import dependencies
from tests.vm.kernel import extract, payload
from tests.vm.tree import BUILT, MODULES, PACKAGES, pack


def boot_image(kernel: bytes) -> bytes:
    """A bzImage of one setup sector, as far as the bootloader's protocol tells."""
    packed = kernel + struct.pack("<I", 4)
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"\x08\x02\x00\x00"
    struct.pack_into("<II", image, 0x248, 16, len(packed))
    return bytes(image) + bytes(16) + packed + b"what follows"


def test_payload_lies_behind_the_setup_sectors() -> None:
    """Exactly the bytes that the header tells."""
    assert payload(boot_image(b"compressed")) == b"compressed" + struct.pack("<I", 4)


def test_no_kernel() -> None:
    """Whatever else lies in /boot is refused."""
    with pytest.raises(Failure, match="no bzImage"):
        payload(b"\x7fELF" + bytes(2000))


def test_unknown_compression(tmp_path: Path) -> None:
    """It is named by its first bytes."""
    (tmp_path / "vmlinuz").write_bytes(boot_image(b"????????"))
    with pytest.raises(Failure, match="3f3f3f3f"):
        extract(tmp_path / "vmlinuz", tmp_path / "vmlinux")


def test_what_is_inside_must_be_a_program(tmp_path: Path) -> None:
    """The guest would not say a word otherwise."""
    if shutil.which("xz") is None:
        pytest.skip("no xz (package xz-utils)")
    packed = lzma.compress(b"\x7fELF and the rest", check=lzma.CHECK_CRC32)
    (tmp_path / "vmlinuz").write_bytes(boot_image(packed))
    extract(tmp_path / "vmlinuz", tmp_path / "vmlinux")
    assert (tmp_path / "vmlinux").read_bytes() == b"\x7fELF and the rest"
    (tmp_path / "vmlinuz").write_bytes(boot_image(lzma.compress(b"no ELF")))
    with pytest.raises(Failure, match="no ELF"):
        extract(tmp_path / "vmlinuz", tmp_path / "vmlinux")


def test_modules_in_their_order() -> None:
    """Built-in modules need no file."""
    listing = "insmod /m/virtio.ko \nbuiltin virtio_ring\ninsmod /m/virtio_blk.ko x=1\n"
    assert dependencies(listing) == ["/m/virtio.ko", "/m/virtio_blk.ko"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout that is built, with things that the guest does not need."""
    names = [*BUILT, "build/vm/x", ".git/HEAD", "pyruntime/__pycache__/a.pyc", ".mypy_cache/x"]
    names += [f".venv/lib/python3.11/site-packages/{name.replace('*', '1')}" for name in MODULES]
    for name in names:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text("content")
    return tmp_path / "tree"


def test_tree(tree: Path, tmp_path: Path) -> None:
    """What is built goes along; the host's .venv is replaced by one for the guest's Python."""
    pack(tree, "3.13", tmp_path / "tar")
    with tarfile.open(tmp_path / "tar") as archive:
        members = {member.name: member for member in archive}
    files = {name for name, member in members.items() if not member.isdir()}
    environment = {".venv/pyvenv.cfg", ".venv/bin/python"}
    site = ".venv/lib/python3.13/site-packages"
    environment |= {f"{site}/{name.replace('*', '1')}" for name in MODULES}
    assert files == {*BUILT, *environment}
    assert members[".venv/bin/python"].linkname == "/usr/bin/python3.13"
    assert {member.uid for member in members.values()} == {0}
    assert (tmp_path / "tar").stat().st_size % 512 == 0, "a disk has whole sectors"


def test_packages_for_the_guest(tree: Path, tmp_path: Path) -> None:
    """What setup.sh has installed for the guest's Python lies beside the modules, but its mark."""
    for name in ("grpc/__init__.py", "grpc/__pycache__/x.pyc", ".packages"):
        (tree / PACKAGES / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / PACKAGES / name).write_text("content")
    pack(tree, "3.13", tmp_path / "tar")
    with tarfile.open(tmp_path / "tar") as archive:
        names = {member.name for member in archive if not member.isdir()}
    site = ".venv/lib/python3.13/site-packages"
    found = {name for name in names if name.startswith(site)}
    ours = {pattern.replace("*", "1") for pattern in MODULES}
    assert found == {f"{site}/{name}" for name in (*ours, "grpc/__init__.py")}


def test_a_tree_that_is_not_built(tree: Path, tmp_path: Path) -> None:
    """The guest has no compiler."""
    (tree / BUILT[0]).unlink()
    with pytest.raises(Failure, match="pyruntime-init; run: make build"):
        pack(tree, "3.13", tmp_path / "tar")
