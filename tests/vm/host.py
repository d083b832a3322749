"""The machine that runs the guest: what it must have, and commands on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.vm.failures import Failure

TOOLS = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs", "cpio", "busybox", "depmod")
TAIL_LINES = 15


def os_release(text: str) -> dict[str, str]:
    """The pairs of an os-release file, without their quotes."""
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    return {name: value.strip("\"'") for name, value in pairs}


def codename() -> str:
    """The release of this Debian, such as `bookworm`. Raises Failure on another system."""
    release = os_release(Path("/etc/os-release").read_text())
    if release.get("ID") != "debian":
        raise Failure(
            f"this is {release.get('PRETTY_NAME', 'no known system')}; the guest is built "
            "with the tools and archive keys of Debian 12 or 13"
        )
    return release.get("VERSION_CODENAME", "")


def check_processor() -> None:
    """Raise Failure unless this machine can run the guest's machine code by TCG."""
    if platform.machine() != "x86_64":
        raise Failure(f"the guest is an x86_64 machine, and this one is {platform.machine()}")


def check_builder() -> None:
    """Raise Failure unless this process can build an image."""
    check_processor()
    codename()
    if os.geteuid() != 0:
        raise Failure("not root: mmdebstrap must make files of every owner; run it as root")
    missing = [tool for tool in TOOLS if shutil.which(tool, path=search_path()) is None]
    if missing:
        raise Failure(f"not installed: {', '.join(missing)}; run: tools/setup.sh vm")


def search_path() -> str:
    """PATH with the directories of root's commands, which a user's may lack."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


def run(
    command: Sequence[str],
    what: str,
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run a command on the host and return its output. Raises Failure with its last words."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            env={**os.environ, "PATH": search_path(), "LC_ALL": "C", **(environment or {})},
        )
    except OSError as error:
        raise Failure(f"{what}: {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise Failure(f"{what}: {command[0]} ended with {done.returncode}\n{tail(done.stderr)}")
    return done.stdout


def tail(output: bytes) -> str:
    """The last lines of what a command wrote."""
    return "\n".join(output.decode(errors="replace").splitlines()[-TAIL_LINES:])
