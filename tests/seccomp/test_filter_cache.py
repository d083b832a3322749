"""The cache of compiled filters: what it saves, and what it must not believe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyruntime.errors import ConfigError
from pyruntime.seccomp import filter as filters
from pyruntime.seccomp.filter import Filter, filter_for, key
from tests.seccomp.profiles import LARGE, ROOT, binding_directory, profile, rule

# What `python3 -IS` has loaded anyway is subtracted before.
CHEAP = {
    "errno", "posix", "struct", "_struct", "time", "_blake2", "fcntl", "select", "_socket",
    "_signal", "_json", "__future__",
}  # fmt: skip


def library_of(tmp_path: Path) -> Path:
    """A file to stand for libseccomp."""
    library = tmp_path / "libseccomp.so.2"
    library.write_bytes(b"one")
    return library


class Compiler:
    """Stands for the real compiler and counts how often it is asked."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.calls = 0

    def __call__(self, seccomp: dict[str, Any]) -> Filter:
        self.calls += 1
        program = bytes([6, 0, 0, 0, 0, 0, 0xFF, 0x7F])
        return Filter(program * 3, 12, True, ["careful: é"], str(self.library))


SECCOMP = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent"}


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    counting = Compiler(library_of(tmp_path))
    monkeypatch.setattr(filters, "_compile", counting)
    return counting


def only_file(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


def same(one: Filter, other: Filter) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in Filter.__slots__)


def test_second_time_comes_from_the_file(tmp_path: Path, compiler: Compiler) -> None:
    directory = tmp_path / "run" / "cache"
    first = filter_for(SECCOMP, str(directory))
    second = filter_for(dict(SECCOMP), str(directory))
    assert compiler.calls == 1
    assert same(first, second)
    assert second.warnings == ["careful: é"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert only_file(directory).stat().st_mode & 0o777 == 0o600


def test_key_is_all_that_decides() -> None:
    base = profile(rule("mkdir", "ERRNO"))
    different = [
        base,
        {**base, "defaultAction": "SCMP_ACT_LOG"},
        {**base, "defaultErrnoRet": 1},
        {**base, "architectures": []},
        {**base, "flags": []},
        {**base, "syscalls": []},
        profile(rule("mkdir", "ERRNO", errnoRet=1)),
        profile(rule("mkdir", "ERRNO", errnoRet=True)),
    ]
    assert len({key(seccomp) for seccomp in different}) == len(different)
    assert key(base) == key({**base, "flags": None, "listenerMetadata": "x"})


def test_key_has_kernel_and_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key(SECCOMP)}
    monkeypatch.setattr(filters, "COMPILER_VERSION", filters.COMPILER_VERSION + 1)
    keys.add(key(SECCOMP))
    system = os.uname()
    other = os.uname_result((*system[:2], system.release + "-other", *system[3:]))
    monkeypatch.setattr("posix.uname", lambda: other)
    keys.add(key(SECCOMP))
    assert len(keys) == 3


def test_new_libseccomp_compiles_anew(tmp_path: Path, compiler: Compiler) -> None:
    directory = str(tmp_path / "cache")
    filter_for(SECCOMP, directory)
    newer = tmp_path / "newer"
    newer.write_bytes(b"two")
    newer.rename(compiler.library)
    filter_for(SECCOMP, directory)
    filter_for(SECCOMP, directory)
    assert compiler.calls == 2
    compiler.library.unlink()
    filter_for(SECCOMP, directory)
    assert compiler.calls == 3


def test_every_flipped_byte_is_noticed(tmp_path: Path, compiler: Compiler) -> None:
    directory = tmp_path / "cache"
    wanted = filter_for(SECCOMP, str(directory))
    file = only_file(directory)
    sound = file.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        assert same(filter_for(SECCOMP, str(directory)), wanted)
        assert compiler.calls == 2 + position
        assert file.read_bytes() == sound


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 60, -1])
def test_cut_file_is_noticed(tmp_path: Path, compiler: Compiler, length: int) -> None:
    directory = tmp_path / "cache"
    filter_for(SECCOMP, str(directory))
    file = only_file(directory)
    sound = file.read_bytes()
    file.write_bytes(sound[:length])
    filter_for(SECCOMP, str(directory))
    assert compiler.calls == 2
    assert file.read_bytes() == sound


def test_file_of_another_profile_is_refused(tmp_path: Path, compiler: Compiler) -> None:
    directory = tmp_path / "cache"
    filter_for(SECCOMP, str(directory))
    other = {**SECCOMP, "defaultAction": "SCMP_ACT_KILL"}
    only_file(directory).rename(directory / key(other))
    filter_for(other, str(directory))
    assert compiler.calls == 2


def replace_by_link(file: Path) -> None:
    target = file.parent.parent / "elsewhere"
    file.rename(target)
    file.symlink_to(target)


def replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def replace_by_hole(file: Path) -> None:
    os.truncate(file, 1 << 30)


@pytest.mark.parametrize(
    "spoil",
    [
        replace_by_link,
        replace_by_fifo,
        replace_by_hole,
        lambda file: file.chmod(0o620),
        lambda file: file.chmod(0o602),
    ],
    ids=["link", "fifo", "hole", "group may write", "others may write"],
)
def test_doubtful_file_is_replaced(tmp_path: Path, compiler: Compiler, spoil: Any) -> None:
    directory = tmp_path / "cache"
    filter_for(SECCOMP, str(directory))
    file = only_file(directory)
    spoil(file)
    filter_for(SECCOMP, str(directory))
    assert compiler.calls == 2
    assert not file.is_symlink() and file.is_file()
    filter_for(SECCOMP, str(directory))
    assert compiler.calls == 2


def give_away(path: Path) -> None:
    try:
        os.chown(path, 12345, 12345)
    except OSError as error:
        pytest.skip(f"cannot give a file to another user: {error}")


def test_file_of_another_user_is_replaced(tmp_path: Path, compiler: Compiler) -> None:
    directory = tmp_path / "cache"
    filter_for(SECCOMP, str(directory))
    give_away(only_file(directory))
    filter_for(SECCOMP, str(directory))
    assert compiler.calls == 2
    assert only_file(directory).stat().st_uid == os.geteuid()


def open_to_group(directory: Path) -> None:
    directory.chmod(0o770)


def open_to_all(directory: Path) -> None:
    directory.chmod(0o707)


def link_instead(directory: Path) -> None:
    target = directory.with_name("target")
    directory.rename(target)
    directory.symlink_to(target)


def file_instead(directory: Path) -> None:
    directory.rmdir()
    directory.touch()


@pytest.mark.parametrize(
    "spoil", [open_to_group, open_to_all, link_instead, file_instead, give_away]
)
def test_doubtful_directory_is_not_used(tmp_path: Path, compiler: Compiler, spoil: Any) -> None:
    directory = tmp_path / "cache"
    directory.mkdir(0o700)
    spoil(directory)
    for count in (1, 2):
        found = filter_for(SECCOMP, str(directory))
        assert compiler.calls == count
        assert str(directory) in found.warnings[-1] and "not used" in found.warnings[-1]
    if directory.is_dir():
        assert not list(directory.iterdir())


def test_full_disk_does_not_matter(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> int:
        raise OSError(28, "No space left on device")

    directory = tmp_path / "cache"
    monkeypatch.setattr("posix.write", fail)
    assert filter_for(SECCOMP, str(directory)).flags == 12
    assert not list(directory.iterdir())


def test_cache_does_not_grow_for_ever(tmp_path: Path, compiler: Compiler) -> None:
    directory = tmp_path / "cache"
    for number in range(300):
        filter_for({**SECCOMP, "defaultErrnoRet": number}, str(directory))
        assert len(list(directory.iterdir())) <= 128
    filter_for({**SECCOMP, "defaultErrnoRet": 299}, str(directory))
    assert compiler.calls == 300


WRITER = """
import sys
sys.path[:0] = [sys.argv[1]]
from pyruntime.seccomp import cache
directory = cache.open_directory(sys.argv[2])
for _ in range(200):
    cache.write(directory, "name", sys.argv[3].encode() * 20000)
    found = cache.read(directory, "name")
    assert found and len(found) == 20000 and found == found[:1] * 20000, found and found[:9]
"""


def test_parallel_writers(tmp_path: Path) -> None:
    """Four processes write the same file: each read finds one whole version."""
    command = [sys.executable, "-IS", "-c", WRITER, str(ROOT), str(tmp_path / "cache")]
    writers = [subprocess.Popen([*command, letter]) for letter in "abcd"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0, 0]
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["name"]


HOT = """
import sys
before = set(sys.modules)
root, site, directory, profile = sys.argv[1:]
sys.path[:0] = [root]
sys.path.append(site)
from pyruntime.seccomp import listener
from pyruntime.seccomp.filter import filter_for
hot = set(sys.modules) - before
import json
seccomp = json.load(open(profile))
before = set(sys.modules)
found = filter_for(seccomp, directory)
used = set(sys.modules) - before
print(json.dumps([sorted(hot), sorted(used), found.program.hex()]))
"""


def test_hit_imports_nothing_dear(tmp_path: Path) -> None:
    command = [sys.executable, "-IS", "-c", HOT, str(ROOT), binding_directory()]
    command += [str(tmp_path / "cache"), str(LARGE)]
    runs = []
    for _ in range(2):
        text = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
        runs.append(json.loads(text))
    (hot, compiling, first), (_, hitting, second) = runs
    ours = [name for name in hot if name.partition(".")[0] == "pyruntime"]
    assert set(hot) - set(ours) <= CHEAP
    assert "ctypes" in compiling
    assert hitting == []
    assert first == second


def test_without_binding_only_a_hit_works(tmp_path: Path) -> None:
    """The error names the package; what has been compiled before needs no package."""
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [shutil.which("python3", path="/usr/bin") or sys.executable, "-IS", "-c"]
    without = [*command, "import sys; sys.modules['pyseccomp'] = None\n" + HOT, str(ROOT)]
    without += [str(empty), str(tmp_path / "cache"), str(LARGE)]
    failed = subprocess.run(without, check=False, capture_output=True, text=True, timeout=120)
    assert failed.returncode == 1
    assert "the Python package pyseccomp is not installed" in failed.stderr
    with_it = [sys.executable, "-IS", "-c", HOT, str(ROOT), binding_directory()]
    with_it += [str(tmp_path / "cache"), str(LARGE)]
    subprocess.run(with_it, check=True, capture_output=True, timeout=120)
    subprocess.run(without, check=True, capture_output=True, timeout=120)


@pytest.mark.rows("R234")
def test_notify_needs_somebody_to_notify(tmp_path: Path, compiler: Compiler) -> None:
    """Also on a hit, since the listener is no part of what is compiled."""
    directory = str(tmp_path / "cache")
    without = {"defaultAction": "SCMP_ACT_ALLOW"}
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"linux\.seccomp\.listenerPath: "):
            filter_for(without, directory)
    assert filter_for(SECCOMP, directory).listener
    assert compiler.calls == 1


@pytest.mark.rows("R235")
def test_metadata_needs_a_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Filter(bytes(8), 0, False, [], str(library_of(tmp_path)))
    monkeypatch.setattr(filters, "_compile", lambda seccomp: compiled)
    directory = str(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"linux\.seccomp\.listenerMetadata: "):
        filter_for({"listenerMetadata": "x"}, directory)
    assert filter_for({**SECCOMP, "listenerMetadata": "x"}, directory) is not None
