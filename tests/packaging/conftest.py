"""What the packaging tests share: the tree, a busybox bundle, the package index."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
INIT = TREE / "pyruntime/init/pyruntime-init"


def run(command: Sequence[str | Path], cwd: Path = TREE) -> str:
    """The standard output of a command; fails the test with all its output if it fails."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
    )
    words = " ".join(map(str, command))
    assert result.returncode == 0, f"{words}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture
def built() -> Path:
    """The init of this tree; packaging needs it compiled."""
    if not INIT.exists() or not (TREE / ".venv").exists():
        pytest.skip("the tree is not built: make build")
    return INIT


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed command, which tests leave as it is."""
    return install(tmp_path_factory.mktemp("installed") / "usr")


def install(prefix: Path, *settings: str) -> Path:
    """Install below `prefix`, with settings of make such as SNAPSHOT=try; the command."""
    if not INIT.exists() or not (TREE / ".venv").exists():
        pytest.skip("the tree is not built: make build")
    run(["make", "install-files", f"PREFIX={prefix}", *settings])
    return prefix / "bin/pyruntime"


@pytest.fixture
def package_index(tmp_path: Path) -> None:
    """Skip where pip cannot download: most of these tests fetch packages."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
    command = [*download, "--dest", str(tmp_path / "probe"), "click"]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=280)
    if os.environ.get("OFFLINE") or probe.returncode != 0:
        lines = probe.stderr.strip().splitlines() or ["OFFLINE is set"]
        pytest.skip(f"pip reaches no package index: {lines[-1]}")


@pytest.fixture
def busybox_bundle(tmp_path: Path) -> Path:
    """The demo's bundle."""
    demo = TREE / "tools/demo.sh"
    if subprocess.run([demo, "--find-busybox"], capture_output=True).returncode != 0:
        pytest.skip("no static busybox (package busybox-static)")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be made here, so no container")
    run([demo, "--bundle", tmp_path / "bundle"])
    return tmp_path / "bundle"
