"""Build a guest's image: the files vmlinux, initrd and root.ext4 in one directory.

It is made beside its place and renamed, so that a build that was cut short leaves no
half an image behind; a lock keeps two builds of one image apart.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm import initrd, kernel, rootfs
from tests.vm.host import check_builder, run
from tests.vm.recipe import Recipe

Say = Callable[[str], None]


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Hold the cache alone: builds are long, and two of one image would be one too many."""
    cache.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def image(recipe: Recipe, cache: Path, say: Say) -> Path:
    """The directory of the recipe's image, built if it is not there. Raises Failure."""
    place = cache / recipe.digest()
    with locked(cache):
        if not place.is_dir():
            check_builder()
            _build(recipe, place, say)
    return place


def _build(recipe: Recipe, place: Path, say: Say) -> None:
    began = time.monotonic()
    say(f"building {place} (about 90 s)")
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="image.") as name:
        scratch = Path(name)
        root, result = scratch / "root", scratch / "result"
        result.mkdir()
        say(f"installing Debian {recipe.suite}, {len(recipe.packages)} packages")
        rootfs.make(recipe, root)
        say(f"unpacking the kernel of {recipe.kernel_suite}")
        release = kernel.install(recipe.kernel_suite, root, scratch / "apt")
        kernel.extract(root / f"boot/vmlinuz-{release}", result / "vmlinux")
        initrd.make(root, release, scratch / "initrd", result / "initrd")
        shutil.rmtree(root / "boot")
        say("writing the root file system")
        _write_disk(root, result / "root.ext4", recipe.disk_bytes)
        (result / "release").write_text(release + "\n")
        result.rename(place)
    say(f"built in {time.monotonic() - began:.0f} s: kernel {release}")


def _write_disk(root: Path, disk: Path, size: int) -> None:
    disk.touch()
    os.truncate(disk, size)
    # No journal: each run works on a throw-away layer above the image.
    features = "^has_journal,^metadata_csum,^resize_inode"
    command = ["mke2fs", "-q", "-t", "ext4", "-O", features, "-m", "0", "-L", "root"]
    command += ["-E", "lazy_itable_init=1,nodiscard", "-d", str(root), str(disk)]
    run(command, "writing the root file system")
