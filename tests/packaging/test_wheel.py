"""pip wheel: what is inside, and that an installed wheel works."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import TREE, run

NEEDED = {
    "pyruntime/__init__.py",
    "pyruntime/__main__.py",
    "pyruntime/commands/create.py",
    "pyruntime/generated/config_checker.py",
    "pyruntime/init/pyruntime-init",
    "pyruntime/spec/config.schema.json",
}


def build_wheel(where: Path) -> Path:
    """Build from a copy, as the build writes into its tree and other tests use this one."""
    copy = where / "tree"
    copy.mkdir()
    for name in ("pyruntime", "spec"):
        shutil.copytree(TREE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "Makefile", "README.md", "meson.build", "pyproject.toml"):
        shutil.copy(TREE / name, copy / name)
    # What the tree's own build made must be made anew here.
    (copy / "pyruntime/init/pyruntime-init").unlink(missing_ok=True)
    shutil.rmtree(copy / "pyruntime/generated", ignore_errors=True)
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", where, copy])
    (wheel,) = where.glob("pyruntime-*.whl")
    return wheel


def install_wheel(wheel: Path, where: Path) -> Path:
    """A fresh environment with the wheel; its command."""
    run(["/usr/bin/python3", "-m", "venv", where])
    run([where / "bin/python", "-m", "pip", "install", "--quiet", wheel])
    return where / "bin/pyruntime"


@pytest.mark.slow
@pytest.mark.usefixtures("package_index")
def test_wheel_installs_and_works(tmp_path: Path, busybox_bundle: Path) -> None:
    wheel = build_wheel(tmp_path)
    assert set(zipfile.ZipFile(wheel).namelist()) >= NEEDED
    # The init is a program of this machine, but any Python from 3.11 on can use the wheel.
    assert "-abi3-linux" in wheel.name
    command = install_wheel(wheel, tmp_path / "venv")
    assert run([command, "--version"], cwd=tmp_path).startswith("pyruntime version 0.1.0")
    assert json.loads(run([command, "features"], cwd=tmp_path))["ociVersionMin"] == "1.0.0"
    run_a_container(command, tmp_path, busybox_bundle)


def run_a_container(command: Path, where: Path, bundle: Path) -> None:
    identifier = f"wheel-{os.getpid()}"
    output = run([command, "--root", where / "root", "run", "--bundle", bundle, identifier])
    assert "hostname: pyruntime-demo" in output
