"""Fixtures for tests that drive a runtime by its command line.

    runtime           a Runtime with a --root of its own (which program: environment RUNTIME)
    bundle            a Bundle, not yet saved
    container         a Container on `bundle` with a unique id; not yet created
    make_container    make_container() gives one more, on a bundle of its own;
                      make_container(bundle) one on a given bundle
    workplace         the directory (mode 0755, short path) that all of these lie in

Whatever a test leaves, the fixtures kill, delete and remove. Marks:

    rows("R15", ...)            the requirement rows that the test covers
    departs("runc", "R17 ...")  that runtime is known to break the text here: expected to fail
    departs("runc<1.2", "...")  so are its releases before that one

The program is named by RUNTIME; without it, bin/pyruntime of this tree is tested.
WITHOUT_CALLS=clone3,openat2 hides these system calls from it (floor.py).
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from conformance import floor
from conformance.bundle import Bundle
from conformance.runtime import (
    Container,
    Runtime,
    heed_interrupts,
    kill_orphans,
    mounts_below,
)

MakeContainer = Callable[..., Container]
PR_SET_CHILD_SUBREAPER = 36
CAP_SYS_ADMIN = 21
_numbers = itertools.count()


def runtime_program() -> str:
    """The absolute path of the runtime under test."""
    default = Path(__file__).resolve().parent.parent / "bin/pyruntime"
    return os.path.abspath(os.environ.get("RUNTIME") or default)


@cache
def runtime_version() -> list[str]:
    """The words of the first line of --version, such as `runc version 1.1.15+ds1`."""
    try:
        version = subprocess.run(
            [runtime_program(), "--version"], capture_output=True, text=True, timeout=60
        )
    except OSError as error:
        return [f"none ({error})"]
    return version.stdout.partition("\n")[0].split() or ["unknown"]


def runtime_name() -> str:
    """The first word of what --version prints, such as `runc` or `crun`."""
    return runtime_version()[0]


def release(text: str) -> tuple[int, ...]:
    """The numbers that a release begins with: (1, 1, 15) of `1.1.15+ds1`, () of none."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", text)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def is_under_test(runtime: str) -> bool:
    """Whether that runtime is: `runc`, or `runc<1.2` for releases before that one."""
    name, _, fixed = runtime.partition("<")
    return name == runtime_name() and (not fixed or release(runtime_version()[-1]) < release(fixed))


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks; become the parent of orphans, as engines are; hide calls if asked to."""
    heed_interrupts()
    config.addinivalue_line("markers", "rows(*rows): the requirement rows that a test covers")
    config.addinivalue_line(
        "markers", "departs(runtime, reason): that runtime is known to break the text here"
    )
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    floor.install(config)


def pytest_report_header() -> str:
    """Name the runtime under test."""
    return f"runtime under test: {runtime_program()} ({' '.join(runtime_version())})"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect failures where the runtime is known to depart from the text."""
    for item in items:
        for mark in item.iter_markers("departs"):
            runtime, reason = mark.args
            if is_under_test(runtime):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def cases(
    values: Iterable[object], runtime: str, reason: str, departing: Iterable[object]
) -> list[object]:
    """Values for parametrize, of which that runtime is known to break the text in some."""
    mark = pytest.mark.departs(runtime, reason)
    known = [repr(value) for value in departing]
    return [
        pytest.param(value, marks=mark) if repr(value) in known else value for value in values
    ]


def has_capability(number: int) -> bool:
    """Whether this process has the capability in its effective set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the host's static busybox, for hard links."""
    if not has_capability(CAP_SYS_ADMIN):
        pytest.skip("no CAP_SYS_ADMIN: cannot make containers with a mount namespace of their own")
    source = shutil.which("busybox")
    if source is None:
        pytest.skip("no busybox (package busybox-static)")
    target = tmp_path_factory.mktemp("busybox") / "busybox"
    shutil.copy(source, target)
    target.chmod(0o755)
    return target


@pytest.fixture
def workplace() -> Iterator[Path]:
    """A directory which every user may enter, so that user namespaces can be tested in it."""
    path = Path(tempfile.mkdtemp(prefix="conformance-"))
    path.chmod(0o755)
    yield path
    for line in reversed(mounts_below(path)):
        subprocess.run(["umount", "-l", line.split()[4]], check=False, capture_output=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def source(workplace: Path) -> Path:
    """A directory on the host with one file."""
    path = workplace / "source"
    path.mkdir()
    (path / "file").write_text("content of the source\n")
    return path


@pytest.fixture
def runtime(workplace: Path, pytestconfig: pytest.Config) -> Iterator[Runtime]:
    """The runtime under test, with a root directory of its own."""
    assert os.access(runtime_program(), os.X_OK), f"no runtime at {runtime_program()}"
    runtime = Runtime(runtime_program(), runtime_name(), workplace)
    with floor.hiding(pytestconfig, runtime):
        yield runtime
    for container in runtime.containers:
        container.clean()
    if runtime.root.is_dir():
        for name in os.listdir(runtime.root):
            runtime.run("delete", "--force", name)
    kill_orphans()


def unique_id() -> str:
    """An id that no other test of this machine uses at the moment."""
    return f"c{os.getpid()}-{next(_numbers)}-{os.urandom(3).hex()}"


@pytest.fixture
def make_container(runtime: Runtime, busybox: Path, workplace: Path) -> MakeContainer:
    """A function that makes a container object, on a new bundle or on a given one."""

    def make(bundle: Bundle | None = None) -> Container:
        identifier = unique_id()
        if bundle is None:
            bundle = Bundle(workplace / identifier, busybox, identifier)
        return Container(runtime, bundle, identifier)

    return make


@pytest.fixture
def container(make_container: MakeContainer) -> Container:
    """A container object on a bundle of its own."""
    return make_container()


@pytest.fixture
def bundle(container: Container) -> Bundle:
    """The bundle of `container`."""
    return container.bundle
