"""Writing limits, on directories that only look like cgroups: what this host cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyruntime.cgroups.conversions import Write
from pyruntime.cgroups.limits import restoring
from pyruntime.cgroups.manager import Cgroup
from pyruntime.errors import CgroupError


@pytest.fixture
def v2(tmp_path: Path) -> Cgroup:
    """A v2 cgroup whose memory files are plain files."""
    files = {
        "cgroup.controllers": "memory\n",
        "memory.current": "1000\n",
        "memory.max": "max\n",
        "memory.swap.current": "50\n",
        "memory.swap.max": "max\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return Cgroup.from_paths({"": str(tmp_path)})


@pytest.mark.rows("R179")
@pytest.mark.parametrize(
    ("memory", "refused"),
    [
        ({"limit": 1000}, "limit: 1000 is not above the 1000 in use"),
        ({"limit": 2000, "swap": 2050}, "swap: 50 is not above the 50 in use"),
        ({"limit": 1001, "swap": 1052}, None),
        ({"limit": -1}, None),
    ],
)
def test_check_before_update(
    v2: Cgroup, tmp_path: Path, memory: dict[str, object], refused: str | None
) -> None:
    before = (tmp_path / "memory.max").read_text()
    if refused is None:
        v2.update({}, {"memory": {**memory, "checkBeforeUpdate": True}})
        assert (tmp_path / "memory.max").read_text() != before or memory["limit"] == -1
        return
    with pytest.raises(CgroupError) as caught:
        v2.update({}, {"memory": {**memory, "checkBeforeUpdate": True}})
    assert str(caught.value) == "linux.resources.memory." + refused
    assert (tmp_path / "memory.max").read_text() == before
    v2.update({}, {"memory": memory})
    assert (tmp_path / "memory.max").read_text() != before


@pytest.mark.rows("R1", "R191", "R195")
@pytest.mark.parametrize(
    ("file", "value", "before", "back"),
    [
        ("memory.max", "5", "max\n", ["max"]),
        ("cpu.max", "5 100", "max 100000\n", ["max 100000"]),
        ("cpuset.cpus", "0", "\n", ["\n"]),
        ("memory.reclaim", "5", "", []),
        ("io.max", "8:0 rbps=1", "8:0 rbps=7 wbps=max\n", ["8:0 rbps=7 wbps=max"]),
        ("io.max", "8:0 rbps=1", "8:16 rbps=7\n", ["8:0 rbps=max wbps=max riops=max wiops=max"]),
        ("io.weight", "8:0 5", "default 100\n", ["8:0 default"]),
        ("blkio.throttle.read_bps_device", "8:0 5", "", ["8:0 0"]),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:0 9\n", ["8:0 9"]),
        ("rdma.max", "mlx5 hca_handle=1", "", ["mlx5 hca_handle=max hca_object=max"]),
    ],
)
def test_what_brings_a_value_back(file: str, value: str, before: str, back: list[str]) -> None:
    write = Write(file.partition(".")[0], file, value, "path")
    assert [one.value for one in restoring(write, before)] == back
