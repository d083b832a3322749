"""runc beside the runtime under test, to compare what the two make of the same config."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.conftest import runtime_name, unique_id
from conformance.runtime import Container, Runtime


@contextmanager
def runc_container(workplace: Path, busybox: Path) -> Iterator[Container]:
    """A container of runc, not yet created, on a bundle of its own; skips where there is no runc.

    Whatever is left of it is removed in the end.
    """
    program = shutil.which("runc")
    if program is None:
        pytest.skip("runc is not installed")
    if runtime_name() == "runc":
        pytest.skip("the runtime under test is runc itself")
    place = workplace / "runc"
    place.mkdir()
    identifier = unique_id()
    runtime = Runtime(program, "runc", place)
    container = Container(runtime, Bundle(place / identifier, busybox, identifier), identifier)
    try:
        yield container
    finally:
        container.clean()
