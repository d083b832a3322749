"""`spec` writes the config.json that runc writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyruntime import config
from pyruntime.commands import spec

CHECKOUT = Path(__file__).resolve().parents[1]
COMMAND = str(CHECKOUT / "bin" / "pyruntime")
VARIANTS = pytest.mark.parametrize("words", [[], ["--rootless"]], ids=["root", "rootless"])


def made(command: str, bundle: Path, words: list[str]) -> Any:
    bundle.mkdir()
    subprocess.run([command, "spec", "--bundle", str(bundle), *words], check=True)
    return json.loads((bundle / "config.json").read_text())


@VARIANTS
def test_it_is_the_same_as_runc_makes(tmp_path: Path, words: list[str]) -> None:
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    version = subprocess.run(["runc", "--version"], capture_output=True, text=True).stdout
    if not version.startswith("runc version 1.1."):
        pytest.skip("the list of masked paths is that of runc 1.1")
    ours = made(COMMAND, tmp_path / "ours", words)
    theirs = made("runc", tmp_path / "theirs", words)
    assert (ours.pop("hostname"), theirs.pop("hostname")) == ("pyruntime", "runc")
    assert ours.pop("ociVersion") == "1.3.0"
    theirs.pop("ociVersion")
    assert ours == theirs
    assert list(ours) == list(theirs)
    kinds = [file.stat().st_mode for file in tmp_path.glob("*/config.json")]
    assert kinds[0] == kinds[1]


@VARIANTS
def test_it_is_valid(tmp_path: Path, words: list[str]) -> None:
    made(COMMAND, tmp_path / "bundle", words)
    (tmp_path / "bundle" / "rootfs").mkdir()
    config.load(str(tmp_path / "bundle"), str(tmp_path / "bundle" / "config.json"))


def test_it_is_indented_with_tabs(tmp_path: Path) -> None:
    made(COMMAND, tmp_path / "bundle", [])
    text = (tmp_path / "bundle" / "config.json").read_text()
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true')
    assert text.endswith("\n}")


def test_the_bundle_is_the_current_directory_by_default(tmp_path: Path) -> None:
    subprocess.run([COMMAND, "spec"], cwd=tmp_path, check=True)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def refused(*words: str, command: str = COMMAND) -> str:
    """The message with which the command ends."""
    result = subprocess.run(
        [command, "--log-format", "json", "spec", *words], capture_output=True, text=True
    )
    assert result.returncode == 1
    message: str = json.loads(result.stderr)["msg"]
    return message


def test_what_exists_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    expected = "File config.json exists. Remove it first"
    assert refused("-b", str(tmp_path)) == expected
    assert (tmp_path / "config.json").read_text() == "mine"
    if shutil.which("runc"):
        assert refused("-b", str(tmp_path), command="runc") == expected


def test_a_link_that_leads_nowhere_is_not_replaced_either(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "elsewhere")
    assert refused("-b", str(tmp_path)) == "File config.json exists. Remove it first"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("none", "no such file or directory"), ("file", "not a directory")]
)
def test_a_bundle_that_is_none(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    bundle = str(tmp_path / name)
    assert refused("-b", bundle) == f"chdir {bundle}: {reason}"
    if shutil.which("runc"):
        assert refused("-b", bundle, command="runc") == f"chdir {bundle}: {reason}"


def test_without_privileges_the_caller_is_mapped() -> None:
    linux = spec.specification(rootless=True)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    kinds = [namespace["type"] for namespace in linux["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds
    assert "resources" not in linux
