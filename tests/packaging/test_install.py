"""make install: the files it makes, and that the installed command works."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import run


def install(prefix: Path, destdir: str = "") -> None:
    """make install, without what goes before it: the tree is built."""
    run(["make", "install-files", f"PREFIX={prefix}", f"DESTDIR={destdir}"])


def commands_work(command: Path) -> None:
    """The command answers from its own files alone, wherever it is started."""
    assert run([command, "--version"], cwd=Path("/")).startswith("pyruntime version ")
    features = json.loads(run([command, "features"], cwd=Path("/")))
    assert features["ociVersionMin"] == "1.0.0"


@pytest.mark.usefixtures("built")
def test_destdir_is_not_in_the_installed_files(tmp_path: Path) -> None:
    install(Path("/opt/there"), str(tmp_path))
    command = (tmp_path / "opt/there/bin/pyruntime").read_text()
    launcher = "/opt/there/lib/pyruntime/pyruntime/launcher/pyruntime-launcher"
    assert command.startswith(f"#!{launcher} /usr/bin/python3 -IS\n")
    assert '"/opt/there/lib/pyruntime"' in command
    compiled = list((tmp_path / "opt/there/lib/pyruntime").rglob("__main__.*.pyc"))
    assert compiled
    assert all(str(tmp_path).encode() not in path.read_bytes() for path in compiled)


@pytest.mark.usefixtures("built")
def test_everything_the_command_needs_is_installed(tmp_path: Path) -> None:
    install(tmp_path / "usr")
    package = tmp_path / "usr/lib/pyruntime/pyruntime"
    assert os.access(package / "init/pyruntime-init", os.X_OK)
    assert os.access(package / "launcher/pyruntime-launcher", os.X_OK)
    assert (package / "generated/config_checker.py").is_file()
    assert {path.name for path in (package / "spec").iterdir()} >= {"config.schema.json"}


@pytest.mark.usefixtures("built")
def test_installing_again_leaves_no_old_module(tmp_path: Path) -> None:
    install(tmp_path / "usr")
    old = tmp_path / "usr/lib/pyruntime/pyruntime/removed_since.py"
    old.touch()
    install(tmp_path / "usr")
    assert not old.exists()


@pytest.mark.usefixtures("built")
def test_installed_command_works(tmp_path: Path) -> None:
    install(tmp_path / "usr")
    command = tmp_path / "usr/bin/pyruntime"
    commands_work(command)
    assert "Usage" in run([command, "--help"], cwd=Path("/"))
    assert (tmp_path / "usr/lib/pyruntime/vendor/click").is_dir()


@pytest.mark.usefixtures("built")
def test_installed_command_runs_a_container(tmp_path: Path, busybox_bundle: Path) -> None:
    install(tmp_path / "usr")
    command = tmp_path / "usr/bin/pyruntime"
    identifier = f"install-{os.getpid()}"
    root = tmp_path / "root"
    output = run([command, "--root", root, "run", "--bundle", busybox_bundle, identifier])
    assert "hostname: pyruntime-demo" in output


@pytest.mark.usefixtures("built")
def test_pages_and_completions_are_installed(tmp_path: Path) -> None:
    install(Path("/usr"), str(tmp_path))
    share = tmp_path / "usr/share"
    for path in (
        "man/man8/pyruntime.8",
        "man/man8/pyruntime-create.8",
        "bash-completion/completions/pyruntime",
        "zsh/site-functions/_pyruntime",
        "fish/vendor_completions.d/pyruntime.fish",
    ):
        assert (share / path).stat().st_mode & 0o777 == 0o644


@pytest.mark.usefixtures("built")
def test_installed_launcher_needs_no_python(tmp_path: Path, busybox_bundle: Path) -> None:
    install(tmp_path / "usr")
    launcher = tmp_path / "usr/lib/pyruntime/pyruntime/launcher/pyruntime-launcher"
    identifier = f"install-{os.getpid()}-launcher"
    words: list[str | Path] = ["--root", tmp_path / "root"]
    command: list[str | Path] = [
        tmp_path / "usr/bin/pyruntime",
        *words,
        "create",
        "--bundle",
        busybox_bundle,
    ]
    with open(tmp_path / "output", "wb") as output:  # a pipe would stay open in the container
        subprocess.run([*command, identifier], stdout=output, stderr=output, check=True)
    alone: list[str | Path] = [launcher, "/nonexistent/python3 -IS", "/nonexistent/script", *words]
    assert json.loads(run([*alone, "state", identifier]))["status"] == "created"
    run([*alone, "delete", "--force", identifier])
