"""Which v2 controllers a container's limits need, and what is enabled beside processes."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.cgroups.creation import _for_a_busy_one, needed


@pytest.mark.rows("R165", "R162")
@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, set()),
        ({"memory": {}}, set()),
        ({"memory": {"limit": 5}}, {"memory"}),
        ({"cpu": {"shares": 5}}, {"cpu"}),
        ({"cpu": {"cpus": "0"}}, {"cpuset"}),
        ({"cpu": {"mems": "0", "idle": 0}}, {"cpu", "cpuset"}),
        ({"pids": {"limit": 0}}, {"pids"}),
        ({"blockIO": {"weight": 100}, "rdma": {"x": {}}}, {"io", "rdma"}),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, {"hugetlb"}),
        ({"unified": {"memory.high": "1", "cgroup.max.depth": "2"}}, {"memory"}),
        ({"devices": [{"allow": False}]}, set()),
    ],
)
def test_controllers_that_limits_need(resources: dict[str, Any], expected: set[str]) -> None:
    assert needed(resources) == expected


@pytest.mark.rows("R165")
@pytest.mark.parametrize(
    ("asked", "enabled"),
    [
        (set(), []),
        ({"pids"}, ["+pids"]),
        ({"cpu", "pids"}, ["+cpu", "+pids"]),
        ({"memory"}, []),
        ({"memory", "pids"}, []),
    ],
)
def test_a_cgroup_with_processes_is_changed_only_if_that_helps(
    asked: set[str], enabled: list[str]
) -> None:
    """It becomes the root of threaded ones by that, which cannot limit memory."""
    assert _for_a_busy_one(asked) == enabled
