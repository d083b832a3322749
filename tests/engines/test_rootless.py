"""Podman of a plain user, with pyruntime and with runc: the same answers to the same steps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.bundle import make_rootfs
from tests.packaging.conftest import install
from tests.root.host import can_make_user_namespace

USER = 54322
FIRST = 700000  # of her subordinate ids
PROGRAMS = ("podman", "runc", "newuidmap", "setpriv", "unshare", "busybox")
# Her account is there in a mount namespace only; setuid newuidmap looks for it in the files.
AS_USER = """
set -e
for name in passwd group subuid subgid; do mount --bind "$PLACE/etc-$name" "/etc/$name"; done
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --init-groups sh -c "$1"
"""
STEPS = {
    "ids": "run --rm ROOTFS sh -c 'id -u; id -G; cat /proc/self/uid_map'",
    "user": "run --rm --user 33:44 ROOTFS sh -c 'id -u; id -g; id -G'",
    "exit status": "run --rm ROOTFS sh -c 'exit 42'",
    "not found": "run --rm ROOTFS no-such-program",
    "read only": "run --rm --read-only ROOTFS sh -c 'echo x >/x'",
    "tmpfs": "run --rm --tmpfs /t ROOTFS sh -c 'echo x >/t/x; cat /t/x'",
    "capabilities": "run --rm --cap-drop all ROOTFS grep Cap /proc/self/status",
    "mounts": "run --rm ROOTFS sh -c 'ls /sys/fs/cgroup >/dev/null && wc -c </proc/1/environ'",
    "detached": "run -d --name one ROOTFS sleep 1000 >/dev/null",
    "exec": "exec one sh -c 'id -u; exit 7'",
    "top": "top one args",
    "kill": "kill one >/dev/null",
    "wait": "wait one",
    "rm": "rm one >/dev/null",
    "ps": "ps -a -q",
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that she may enter, with the runtime, a root file system and her account."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or not can_make_user_namespace():
        pytest.skip(f"needs user namespaces and {', '.join(missing or PROGRAMS)}")
    path = Path(tempfile.mkdtemp(prefix="rootless-"))
    path.chmod(0o755)
    install(path / "usr")
    busybox = Path(shutil.which("busybox") or "")
    make_rootfs(path / "rootfs", busybox)
    account(path)
    for name in ("run", "home"):
        (path / name).mkdir(mode=0o700)
    for name in ("run", "home", "rootfs"):
        subprocess.run(["chown", "-R", f"{USER}:{USER}", path / name], check=True)
    yield path
    # Podman leaves a process that keeps her user namespace.
    for file in (path / "run").rglob("pause.pid"):
        os.kill(int(file.read_text()), signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


def account(path: Path) -> None:
    """What the host's /etc has, and her."""
    lines = {
        "passwd": f"plainuser:x:{USER}:{USER}::{path}/home:/bin/sh\n",
        "group": f"plainuser:x:{USER}:\n",
        "subuid": f"plainuser:{FIRST}:65536\n",
        "subgid": f"plainuser:{FIRST}:65536\n",
    }
    for name, line in lines.items():
        known = Path("/etc", name)
        if not known.exists():
            pytest.skip(f"there is no {known}")
        Path(path, f"etc-{name}").write_text(known.read_text() + line)


def as_user(place: Path, script: str) -> tuple[int, str]:
    """Status and output of a script of hers."""
    environment = {
        "PATH": os.environ["PATH"],
        "PLACE": str(place),
        "USER_ID": str(USER),
        "HOME": f"{place}/home",
        "XDG_RUNTIME_DIR": f"{place}/run",
    }
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_USER, "sh", script],
        env=environment,
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
    )
    return done.returncode, done.stdout + done.stderr


def answers(place: Path, runtime: str) -> dict[str, str]:
    """Output and status of every step with a runtime, in one session of hers."""
    podman = (
        f"podman --log-level=fatal --storage-driver vfs --cgroup-manager cgroupfs"
        f" --root {place}/home/{Path(runtime).name} --runtime {runtime}"
    )
    lines = []
    for name, step in STEPS.items():
        words = step.replace("ROOTFS", f"--network none --rootfs {place}/rootfs", 1)
        lines.append(f"echo '== {name}'; {podman} {words} 2>/dev/null; echo status $?")
    status, text = as_user(place, "\n".join(lines))
    assert status == 0, text
    parts = [part.partition("\n") for part in text.split("== ")[1:]]
    return {name: answer for name, _, answer in parts}


def test_the_same_answers_as_with_runc(place: Path) -> None:
    status, text = as_user(place, "podman --storage-driver vfs info >/dev/null")
    if status != 0:
        pytest.skip(f"podman does not work for a plain user here: {text.strip()[-300:]}")
    theirs = answers(place, shutil.which("runc") or "runc")
    if "status 0" not in theirs["ids"]:
        pytest.skip(f"runc does not work for a plain user here: {theirs['ids']}")
    ours = answers(place, f"{place}/usr/bin/pyruntime")
    assert ours == theirs
    assert f"0 {USER} 1" in " ".join(ours["ids"].split())
    assert "status 42" in ours["exit status"]
