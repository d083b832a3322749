"""Real containers of our own runtime, with the fixtures of the conformance tests."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.conftest import (
    PR_SET_CHILD_SUBREAPER,
    bundle,
    busybox,
    container,
    make_container,
    workplace,
)
from conformance.runtime import Runtime
from tests.root.host import PROGRAM, Host

__all__ = ["bundle", "busybox", "container", "make_container", "workplace"]


@pytest.fixture(scope="session", autouse=True)
def subreaper() -> None:
    """Be the parent of the containers' processes, as engines are."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture
def runtime(workplace: Path) -> Iterator[Runtime]:
    """This tree's runtime, whatever RUNTIME says, with a root directory of its own."""
    runtime = Runtime(str(PROGRAM), "pyruntime", workplace)
    yield runtime
    for each in runtime.containers:
        each.clean()
    if runtime.root.is_dir():
        for name in os.listdir(runtime.root):
            runtime.run("delete", "--force", name)


@pytest.fixture
def host(runtime: Runtime) -> Host:
    """What the runtime may leave on this host, looked at by the state that it keeps."""
    return Host(runtime)
