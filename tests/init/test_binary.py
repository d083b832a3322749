"""The compiled program itself: static, small, and the same on aarch64."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pyruntime.plan import operations as op
from tests.init.machine import PROGRAM, perform

TREE = PROGRAM.parents[2]
LIMIT = 100 * 1024
MACHINES = {"x86_64": 62, "aarch64": 183}
PT_INTERP, PT_GNU_STACK = 3, 0x6474E551
EXECUTABLE = 1
HERE = -1  # AT_FDCWD
# The release is fixed so that this is a test of our code and not of a new compiler.
ZIG = "ziglang==0.13.0"


class Elf:
    """The header and the program headers of a 64-bit ELF file."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        assert data[:6] == b"\x7fELF\x02\x01", "a 64-bit little endian ELF file"
        self.kind, self.machine = struct.unpack_from("<HH", data, 16)
        offset = struct.unpack_from("<Q", data, 32)[0]
        size, count = struct.unpack_from("<HH", data, 54)
        # (type, flags) of each segment
        self.segments = [struct.unpack_from("<II", data, offset + size * i) for i in range(count)]


def check_program(path: Path, machine: str) -> None:
    elf = Elf(path)
    assert elf.machine == MACHINES[machine]
    assert PT_INTERP not in [kind for kind, _ in elf.segments], "it asks for a dynamic linker"
    assert path.stat().st_size <= LIMIT
    stacks = [flags for kind, flags in elf.segments if kind == PT_GNU_STACK]
    assert all(not flags & EXECUTABLE for flags in stacks), "its stack is executable"


def test_it_is_static_and_small() -> None:
    check_program(PROGRAM, os.uname().machine)


def test_it_is_newer_than_its_sources() -> None:
    """The other tests of this directory are about the sources, not about an old program."""
    sources = [*PROGRAM.parent.glob("*.[ch]")]
    assert len(sources) >= 4
    assert PROGRAM.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def test_generated_tables_are_those_of_the_specification() -> None:
    command = [sys.executable, "spec/generate_operations.py", "--check"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- aarch64 ----------------------------------------------------------------------------------


def compiler_flags() -> list[str]:
    command = ["make", "--no-print-directory", "print-init-cflags"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"make cannot say the compiler's flags: {done.stderr.strip()}")
    return done.stdout.split()


def zig(cache: Path) -> list[str]:
    """Zig's C compiler, which brings the headers of every kernel; fetched once from PyPI."""
    directory = cache / ZIG
    if not directory.exists():
        if os.environ.get("OFFLINE"):
            pytest.skip("no aarch64 compiler, and OFFLINE is set: ziglang is not fetched")
        fetched = cache / f"{ZIG}.{os.getpid()}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "1"]
        done = subprocess.run(
            [*command, "--only-binary=:all:", "--target", str(fetched), ZIG],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            pytest.skip(f"no aarch64 compiler, and pip cannot fetch {ZIG}: {lines[-1]}")
        try:
            fetched.rename(directory)
        except OSError:  # another test process was first
            shutil.rmtree(fetched)
    headers = directory / "ziglang/lib/libc/include"
    # -nostdlib leaves out the directories with the kernel's headers as well.
    named = [f"-isystem{headers / name}" for name in ("aarch64-linux-any", "any-linux-any")]
    return [str(directory / "ziglang/zig"), "cc", "-target", "aarch64-linux-musl", *named]


def compiler(cache: Path) -> list[str]:
    cross = shutil.which("aarch64-linux-gnu-gcc")
    return [cross] if cross else zig(cache)


@pytest.fixture(scope="module")
def aarch64(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The init for aarch64."""
    if os.uname().machine == "aarch64":
        return PROGRAM
    command = compiler(pytestconfig.cache.mkdir("compilers"))
    target = tmp_path_factory.mktemp("aarch64") / "pyruntime-init"
    sources = sorted(map(str, PROGRAM.parent.glob("*.c")))
    # Zig's linker keeps debugging information unless it is told not to; it counts in the size.
    done = subprocess.run(
        [*command, *compiler_flags(), "-s", "-o", str(target), *sources],
        capture_output=True,
        text=True,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(target.parent / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return target


@pytest.mark.slow
def test_it_compiles_for_aarch64(aarch64: Path) -> None:
    check_program(aarch64, "aarch64")


@pytest.fixture
def emulator() -> Sequence[str]:
    if os.uname().machine == "aarch64":
        return []
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if found is None:
        pytest.skip("no qemu-aarch64-static (package qemu-user-static)")
    return [found]


@pytest.mark.slow
def test_it_performs_a_plan_on_aarch64(
    aarch64: Path, emulator: Sequence[str], tmp_path: Path
) -> None:
    command = [*emulator, str(aarch64)]
    # qemu does not know openat2(2), so paths count from the working directory here.
    plan = [
        op.umask(0),
        op.chdir(str(tmp_path)),
        op.mkdirat(HERE, "directory", 0o751),
        op.symlinkat("directory", HERE, "link"),
        op.chdir("missing"),
        op.find_executable("program", f"/none:{tmp_path}"),
        op.exit(7),
    ]
    plan[4].pardons = ((errno.ENOENT, 0),)
    plan[5].pardons = ((errno.ENOENT, 0),)
    done = perform(plan, command=command)
    assert (done.status, done.failed) == (7, -1), (done.failed, done.error)
    assert (tmp_path / "link").is_dir()
    assert (tmp_path / "directory").stat().st_mode & 0o7777 == 0o751
    assert perform(b"no plan", command=command).rejected
