"""The checkout as one tar, which the guest reads from a disk.

One archive, because a shared directory costs milliseconds a file under TCG. The host's
.venv stays behind: its interpreter is another one. The guest gets a virtual environment
of its own over Debian's packages, with what Debian has no package for: by its metadata it
can be installed there, too (tools/vendor.py).
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.vm.failures import Failure

LEFT_OUT = {".git", ".venv", "build", "dist", "__pycache__"}
BUILT = (
    "pyruntime/init/pyruntime-init",
    "pyruntime/launcher/pyruntime-launcher",
    "pyruntime/generated/config_checker.py",
)
# Pure Python, so the host's copy serves the guest's interpreter.
MODULES = ("pyseccomp.py", "pyseccomp-*.dist-info/*")
# Packages with compiled parts, of the guest's release of Python: tools/setup.sh makes it.
PACKAGES = "build/vm-packages"
ENVIRONMENT = "home = /usr/bin\ninclude-system-site-packages = true\nversion = {python}\n"


def wanted(name: str) -> bool:
    """Whether the guest needs a directory or file of that name."""
    return name not in LEFT_OUT and not name.endswith("_cache") and not name.endswith(".pyc")


def pack(tree: Path, python: str, target: Path) -> None:
    """Write the tree and a virtual environment to a tar. Raises Failure if it is not built."""
    missing = [name for name in BUILT if not (tree / name).exists()]
    if missing:
        raise Failure(f"not built: {', '.join(missing)}; run: make build")
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(tree.iterdir()):
            if wanted(path.name):
                archive.add(path, path.name, filter=_filter)
        _add_environment(archive, tree, python)
        _add_packages(archive, tree / PACKAGES, f".venv/lib/python{python}/site-packages")


def _filter(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not wanted(member.name.rpartition("/")[2]):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _add_environment(archive: tarfile.TarFile, tree: Path, python: str) -> None:
    _add_file(archive, ".venv/pyvenv.cfg", ENVIRONMENT.format(python=python).encode())
    link = tarfile.TarInfo(".venv/bin/python")
    link.type, link.linkname = tarfile.SYMTYPE, f"/usr/bin/python{python}"
    archive.addfile(link)
    for pattern in MODULES:
        found = sorted(tree.glob(f".venv/lib/python3*/site-packages/{pattern}"))
        if not found:
            raise Failure(f"no {pattern} in .venv; run: tools/setup.sh venv")
        for path in found:
            name = str(path).rpartition("/site-packages/")[2]
            _add_file(archive, f".venv/lib/python{python}/site-packages/{name}", path.read_bytes())


def _add_packages(archive: tarfile.TarFile, source: Path, target: str) -> None:
    """Without the directory nothing is added, and the tests that need a package skip."""
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        if not path.name.startswith("."):
            archive.add(path, f"{target}/{path.name}", filter=_filter)


def _add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
