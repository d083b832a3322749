"""What a guest is made of, and the hash that names its place in the cache.

A recipe is data only: building reads it in image.py, booting in machine.py. The hash
covers the data and every file that shapes the image, so that a change of either makes
a new image and an unchanged tree finds the old one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Files of this directory that decide what is in an image.
SOURCES = ("recipe.py", "rootfs.py", "kernel.py", "initrd.py", "image.py")

INIT_SYSTEM = (
    "systemd systemd-sysv dbus dbus-user-session libpam-systemd udev kmod passwd procps "
    "util-linux iproute2 iptables nftables"
)
ENGINES = (
    "runc crun podman containerd netavark aardvark-dns uidmap slirp4netns fuse-overlayfs fuse3"
)
TOOLS = "apparmor busybox-static criu strace bpftool jq make selinux-utils libseccomp2"
PYTHON_PACKAGES = (
    "python3 python3-pytest python3-pytest-xdist python3-pytest-timeout python3-packaging "
    "python3-click python3-jsonschema python3-fastjsonschema python3-pyroute2 "
    "python3-rich python3-jeepney"
)
SELINUX = "selinux-policy-default policycoreutils"

KERNELS = {"6.12": "trixie", "6.1": "bookworm"}
SECURITY_MODULES = ("apparmor", "selinux")


@dataclass(frozen=True)
class Recipe:
    """A guest: Debian `suite` with `packages`, and the cloud kernel of `kernel_suite`.

    `lsm` is the security module that the kernel starts with; `python` the release of
    the suite's Python, whose directories the tree's packages go to.
    """

    suite: str
    python: str
    packages: tuple[str, ...]
    kernel_suite: str
    lsm: str
    disk_bytes: int = 6 << 30

    def digest(self) -> str:
        """Sixteen hex digits for the recipe and the files that carry it out."""
        total = hashlib.sha256(repr(sorted(asdict(self).items())).encode())
        for path in image_sources():
            total.update(f"\n{path.name}\n".encode())
            total.update(path.read_bytes())
        return total.hexdigest()[:16]


def image_sources() -> list[Path]:
    """The files whose change makes another image."""
    return [*(HERE / name for name in SOURCES), *sorted((HERE / "guest_files").iterdir())]


def recipe(kernel: str = "6.12", lsm: str = "apparmor") -> Recipe:
    """The recipe with that kernel and security module. Raises KeyError for a kernel unknown."""
    words = [INIT_SYSTEM, ENGINES, TOOLS, PYTHON_PACKAGES]
    if lsm == "selinux":
        words.append(SELINUX)
    return Recipe(
        suite="trixie",
        python="3.13",
        packages=tuple(" ".join(words).split()),
        kernel_suite=KERNELS[kernel],
        lsm=lsm,
    )
