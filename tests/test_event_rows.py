"""The rows of the live table that `events` shows on a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.cgroups.figures import UNLIMITED
from pyruntime.watching.rows import rows, size


def _figures(**members: Any) -> dict[str, Any]:
    return {"cpu": {}, "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}, **members}


def _row(name: str, *arguments: Any) -> tuple[str, str]:
    found = {row[0]: row[1:] for row in rows(*arguments)}
    return found[name]


def test_cpu_is_the_share_of_the_time_between_two_figures() -> None:
    before = _figures(cpu={"usage": {"total": 1_000_000_000}})
    now = _figures(cpu={"usage": {"total": 2_500_000_000}})
    assert _row("cpu", now, before, 2.0, 0) == ("75.0 %", "2.50 s in all")


def test_first_figures_have_no_rates() -> None:
    assert _row("cpu", _figures(), None, 0.0, 0)[0] == "-"


def test_memory_is_shown_with_its_share_of_the_limit() -> None:
    now = _figures(memory={"usage": {"usage": 5 << 20, "limit": 20 << 20, "max": 6 << 20}})
    assert _row("memory", now, None, 0.0, 0) == ("5.0 MiB", "25 % of 20 MiB")
    assert _row("memory, most", now, None, 0.0, 0)[0] == "6.0 MiB"


@pytest.mark.parametrize("limit", [0, UNLIMITED, 9223372036854771712])
def test_no_limit_in_the_words_of_either_version_is_no_limit(limit: int) -> None:
    now = _figures(memory={"usage": {"usage": 1, "limit": limit}})
    assert _row("memory", now, None, 0.0, 0)[1] == "no limit"


def test_disk_rates_sum_the_devices() -> None:
    def reads(*values: int) -> dict[str, Any]:
        entries = [{"op": "Read", "value": value} for value in values]
        return _figures(blkio={"ioServiceBytesRecursive": entries})

    assert _row("disk read", reads(3072, 1024), reads(1024, 1024), 2.0, 0) == (
        "1.0 KiB/s",
        "4.0 KiB in all",
    )


def test_tasks_pressure_huge_pages_and_kills_are_told() -> None:
    now = _figures(
        pids={"current": 3, "limit": 10},
        hugetlb={"2MB": {"usage": 2 << 20, "failcnt": 0}, "1GB": {"failcnt": 0}},
    )
    now["cpu"] = {"psi": {"some": {"avg10": 12.34}}}
    found = {row[0]: row[1:] for row in rows(now, None, 0.0, 2)}
    assert found["tasks"] == ("3", "of 10")
    assert found["huge pages of 2MB"] == ("2.0 MiB", "")
    assert "huge pages of 1GB" not in found
    assert found["waits for cpu"] == ("12.3 %", "last 10 s")
    assert found["out of memory"][0] == "2 killed"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 << 20, "20 MiB"), (1 << 42, "4.0 TiB")],
)
def test_sizes_are_short(amount: int, text: str) -> None:
    assert size(amount) == text
