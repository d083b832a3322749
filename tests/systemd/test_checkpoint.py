"""checkpoint and restore of a container whose cgroup is a unit's."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.runtime import Container, nothing_left
from conformance.test_checkpoint import (
    counting,
    inability,
    restore,
    said,
    save,
    wait_number,
)
from tests.systemd.conftest import Unit


@pytest.fixture(autouse=True)
def criu() -> None:
    """Skip where nothing can be saved."""
    if inability():
        pytest.skip(inability())


@pytest.mark.rows("R296", "R160")
def test_the_unit_is_made_anew(container: Container, unit: Unit, workplace: Path) -> None:
    """systemd makes it around CRIU, and the restored processes are born in it."""
    images = workplace / "images"
    container.bundle.resources["pids"] = {"limit": 55}
    word, _ = counting(container)
    save(container, images)
    unit.gone()
    number = said(container)[1]
    container.bundle.resources["pids"] = {"limit": 66}
    restore(container, images)
    assert wait_number(container, number)[0] == word
    assert unit.show("ActiveState", "TasksMax") == ["active", "66"]
    assert str(container.pid) in unit.read("cgroup.procs").split()
    assert unit.read("pids.max") == "66"
    container.stop().delete()
    unit.gone()
    nothing_left(container.runtime, container.id, container.bundle)
