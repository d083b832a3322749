"""config: reading the file of a bundle, and the validate command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyruntime import config
from pyruntime.errors import ConfigError, PyruntimeError

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
CONFIGS = sorted((TESTS / "data" / "configs").glob("*.json"))
MINIMAL: dict[str, Any] = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}


def write(directory: Path, document: object) -> str:
    (directory / "config.json").write_text(json.dumps(document))
    return str(directory)


@pytest.mark.rows("R10")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_loads_what_engines_write(path: Path) -> None:
    loaded = config.load("/nowhere", str(path))
    assert loaded.document == json.loads(path.read_bytes())
    assert loaded.text == path.read_bytes()
    assert loaded.path == str(path)


@pytest.mark.rows("R6", "R10")
def test_the_text_is_the_file_as_it_was_read(tmp_path: Path) -> None:
    bundle = write(tmp_path, MINIMAL)
    loaded = config.load(bundle)
    before = (tmp_path / "config.json").read_bytes()
    write(tmp_path, {**MINIMAL, "hostname": "later"})
    assert loaded.text == before
    assert loaded.document == MINIMAL
    assert loaded.path == f"{tmp_path}/config.json"


@pytest.mark.rows("R10")
def test_a_missing_file_is_told_in_the_words_of_runc(tmp_path: Path) -> None:
    with pytest.raises(PyruntimeError) as caught:
        config.load(str(tmp_path))
    assert str(caught.value) == "JSON specification file config.json not found"


@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_refuses_what_is_no_regular_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(PyruntimeError, match="not a regular file"):
        config.load(str(tmp_path))


def test_refuses_a_file_above_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(config.SIZE_LIMIT + 1)
    with pytest.raises(PyruntimeError, match="larger than 16777216 bytes"):
        config.read(str(path))
    with path.open("wb") as file:
        file.truncate(config.SIZE_LIMIT)
    assert len(config.read(str(path))) == config.SIZE_LIMIT


def test_reads_a_file_whose_size_the_kernel_does_not_tell() -> None:
    assert config.read("/proc/self/status").startswith(b"Name:")


@pytest.mark.rows("R5")
def test_what_is_no_json_is_told_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"ociVersion": "1.3.0",\n "root": 1,\n "root": 2}')
    with pytest.raises(ConfigError) as caught:
        config.load(str(tmp_path))
    assert caught.value.faults == [
        '.: line 3 column 2: the name "root" is there twice in one object'
    ]


@pytest.mark.rows("R4", "R15", "R64", "R130")
def test_faults_of_shape_and_of_meaning_are_told_together(tmp_path: Path) -> None:
    bundle = write(
        tmp_path,
        {
            "ociVersion": "x",
            "hostname": "h",
            "process": {"cwd": "relative", "args": ["a"], "user": {"uid": -1, "gid": 0}},
            "linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}, {"type": "utss"}]},
        },
    )
    with pytest.raises(ConfigError) as caught:
        config.load(bundle)
    assert {line.split(": ")[0] for line in caught.value.faults} == {
        ".process.user.uid",
        ".linux.namespaces[2].type",
        ".ociVersion",
        ".root",
        ".hostname",
        ".process.cwd",
        ".linux.namespaces[1].type",
    }
    assert len(caught.value.faults) == 7


def test_null_is_read_as_absent_as_go_reads_it(tmp_path: Path) -> None:
    bundle = write(tmp_path, {**MINIMAL, "mounts": None, "linux": {"seccomp": None}})
    assert config.load(bundle).document == {**MINIMAL, "linux": {}}


@pytest.mark.rows("R280")
def test_null_is_not_enough_for_what_is_required(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.root\.path: missing"):
        config.load(write(tmp_path, {**MINIMAL, "root": {"path": None}}))


@pytest.mark.rows("R250")
def test_annotations_must_be_text(tmp_path: Path) -> None:
    values: list[object] = [None, 1, [], True]
    for value in values:
        with pytest.raises(ConfigError, match=r'\.annotations\["a\.b"\]'):
            config.load(write(tmp_path, {**MINIMAL, "annotations": {"a.b": value}}))


@pytest.mark.rows("R91")
def test_nul_characters_are_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path, {**MINIMAL, "hostname": "", "root": {"path": "root\0fs"}})
    with pytest.raises(ConfigError, match=r"\.root\.path: has a NUL character"):
        config.load(bundle)


@pytest.mark.rows("R3")
def test_unknown_members_are_kept_and_ignored(tmp_path: Path) -> None:
    document = {**MINIMAL, "windows": {"x": None}, "linux": {"unknown": [1.5]}, "freebsd": 1}
    assert config.load(write(tmp_path, document)).document == document


@pytest.mark.rows("R64", "R65")
def test_a_process_on_its_own() -> None:
    process = {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}, "rlimits": None}
    del (expected := dict(process))["rlimits"]
    assert config.check_process(process) == expected
    with pytest.raises(ConfigError) as caught:
        config.check_process({**process, "cwd": "x", "env": ["A"]})
    assert [line.split(": ")[0] for line in caught.value.faults] == [".cwd", ".env[0]"]
    with pytest.raises(ConfigError, match=r"\.user: missing"):
        config.check_process({"cwd": "/", "args": ["a"]})


@pytest.mark.rows("R173", "R294")
def test_resources_on_their_own() -> None:
    for resources in ({"pids": {"limit": 5}}, {"memory": {"swap": 5}}):
        assert config.check_resources(resources) == resources
    with pytest.raises(ConfigError, match=r"\.memory\.swap"):
        config.check_resources({"memory": {"limit": 10, "swap": 5}})
    with pytest.raises(ConfigError, match=r"\.pids\.limit"):
        config.check_resources({"pids": {"limit": "5"}})


def test_without_the_generated_checker_the_answer_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyruntime.generated.config_checker", None)
    monkeypatch.delattr("pyruntime.generated.config_checker", raising=False)
    assert config.load(write(tmp_path, MINIMAL)).document == MINIMAL
    with pytest.raises(ConfigError, match=r"\.root\.path: 1 has the wrong type"):
        config.load(write(tmp_path, {**MINIMAL, "root": {"path": 1}}))


def test_a_sound_document_loads_no_expensive_module(tmp_path: Path) -> None:
    pytest.importorskip(
        "pyruntime.generated.config_checker", reason="the checker has not been generated"
    )
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pyruntime import config
config.load({write(tmp_path, MINIMAL)!r})
dear = {{"json", "re", "os", "typing", "jsonschema", "decimal", "enum"}}
print(sorted(sys.modules.keys() & dear))
"""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# The command


def validate(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "bin" / "pyruntime"), "validate", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_validate_says_that_a_bundle_is_valid(tmp_path: Path) -> None:
    bundle = write(tmp_path, MINIMAL)
    done = validate("--bundle", bundle, cwd=Path("/"))
    assert (done.returncode, done.stdout) == (0, f"{bundle}/config.json is valid\n")
    done = validate(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "./config.json is valid\n")


def test_validate_prints_every_fault_on_a_line(tmp_path: Path) -> None:
    write(tmp_path, {"ociVersion": "1.3.0", "hostname": "h", "process": {"cwd": "x"}})
    done = validate(cwd=tmp_path)
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
        ".process.args",
        ".process.user",
        ".root",
        ".hostname",
        ".process.cwd",
    ]


def test_validate_takes_another_file(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(MINIMAL))
    done = validate("--config", str(path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{path} is valid\n")


def test_validate_fails_without_a_file(tmp_path: Path) -> None:
    done = validate(cwd=tmp_path)
    assert done.returncode == 1
    assert "JSON specification file config.json not found" in done.stderr
