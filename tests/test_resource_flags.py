"""The flags and the document of update, as linux.resources; durations of events."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime import options, resource_flags
from pyruntime.commands.events import duration
from pyruntime.errors import PyruntimeError

KIB, MIB, GIB, TIB, PIB = (1 << 10 * power for power in range(1, 6))


def given(**flags: Any) -> dict[str, Any]:
    """The options of a request for update with some flags given."""
    verb = options.verb("update")
    assert verb is not None
    values: dict[str, Any] = {option.key: option.initial() for option in verb.options}
    assert set(flags) <= set(values)
    return {**values, **flags}


@pytest.mark.rows("R294")
def test_nothing_asked() -> None:
    assert resource_flags.from_flags(given()) == {}


@pytest.mark.rows("R294")
def test_every_flag() -> None:
    flags = given(
        blkio_weight=300,
        cpu_share="2",
        cpu_quota="-1",
        cpu_period="4",
        cpu_burst="0",
        cpu_idle="0",
        cpu_rt_runtime="7",
        cpu_rt_period="8",
        cpuset_cpus="0-1",
        cpuset_mems="0",
        memory="9",
        memory_swap="-1",
        memory_reservation="11k",
        kernel_memory="12",
        kernel_memory_tcp="13",
        pids_limit="0",
    )
    assert resource_flags.from_flags(flags) == {
        "blockIO": {"weight": 300},
        "cpu": {
            "shares": 2,
            "quota": -1,
            "period": 4,
            "burst": 0,
            "idle": 0,
            "realtimeRuntime": 7,
            "realtimePeriod": 8,
            "cpus": "0-1",
            "mems": "0",
        },
        "memory": {
            "limit": 9,
            "swap": -1,
            "reservation": 11 * KIB,
            "kernel": 12,
            "kernelTCP": 13,
        },
        "pids": {"limit": 0},
    }


@pytest.mark.rows("R294")
def test_every_flag_of_the_table_is_an_option() -> None:
    keys = set(given())
    names = {flag.replace("-", "_") for flag, *_ in resource_flags.FLAGS}
    others = {"resources", "blkio_weight", "l3_cache_schema", "mem_bw_schema"}
    assert keys == names | others


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-1", -1),
        ("1000", 1000),
        ("7b", 7),
        ("7B", 7),
        ("64k", 64 * KIB),
        ("64K", 64 * KIB),
        ("64kb", 64 * KIB),
        ("64KiB", 64 * KIB),
        ("64m", 64 * MIB),
        ("64 M", 64 * MIB),
        ("1.5g", 3 * GIB // 2),
        (".5G", GIB // 2),
        ("2.G", 2 * GIB),
        ("2T", 2 * TIB),
        ("3pib", 3 * PIB),
        ("1.9", 1),
        ("9223372036854775807", (1 << 63) - 1),
        ("9007199254740993", (1 << 53) + 1),
    ],
)
def test_size(text: str, expected: int) -> None:
    assert resource_flags.size(text) == expected


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "k",
        "",
        " ",
        "-2",
        "--1",
        "+5",
        "1x",
        "1kk",
        "1bb",
        "1bk",
        "1ibk",
        "1kibi",
        "1..5k",
        "1.2.3",
        "1e3",
        "0x10",
        "1_000",
        "٣",
        "²",
        "inf",
        "nan",
        "1 2k",
        "64\n",
        "9223372036854775808",
        "8192p",
    ],
)
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid s"):
        resource_flags.size(text)


@pytest.mark.rows("R294")
def test_numbers_have_64_bits() -> None:
    assert resource_flags.signed("-9223372036854775808") == -(1 << 63)
    assert resource_flags.signed("+5") == 5
    assert resource_flags.unsigned("18446744073709551615") == (1 << 64) - 1


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (resource_flags.signed, "9223372036854775808", "out of range"),
        (resource_flags.signed, "9" * 5000, "out of range"),
        (resource_flags.signed, "1.5", "invalid syntax"),
        (resource_flags.signed, "--5", "invalid syntax"),
        (resource_flags.signed, "-", "invalid syntax"),
        (resource_flags.signed, "1_0", "invalid syntax"),
        (resource_flags.unsigned, "-1", "invalid syntax"),
        (resource_flags.unsigned, "+1", "invalid syntax"),
        (resource_flags.unsigned, "x", "invalid syntax"),
        (resource_flags.unsigned, "18446744073709551616", "out of range"),
    ],
)
def test_a_number_that_is_none(read: Any, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(text)


@pytest.mark.rows("R294")
def test_the_error_names_the_flag() -> None:
    with pytest.raises(PyruntimeError, match=r"^invalid value for memory-swap: invalid size: 'x'$"):
        resource_flags.from_flags(given(memory_swap="x"))


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, {}),
        ({"pids": {"limit": 5}, "devices": "whatever"}, {"pids": {"limit": 5}}),
        ({"memory": None, "cpu": {"shares": None, "quota": 7}}, {"cpu": {"quota": 7}}),
        ({"unknown": [1]}, {"unknown": [1]}),
    ],
)
def test_document(document: Any, expected: Any) -> None:
    assert resource_flags.from_document(document) == expected


@pytest.mark.rows("R294", "R4")
@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"pids": {"limit": "5"}}, ".pids.limit"),
        ({"memory": {"limit": 1.5}, "cpu": 7}, ".cpu"),
        ([], "invalid resources"),
        (None, "invalid resources"),
    ],
)
def test_a_document_that_is_none(document: Any, where: str) -> None:
    with pytest.raises(PyruntimeError, match="invalid resources") as refusal:
        resource_flags.from_document(document)
    assert where in str(refusal.value)


@pytest.mark.rows("R174", "R175")
@pytest.mark.parametrize(
    ("memory", "left", "asked"),
    [
        ({"kernel": 5, "limit": 6}, {"limit": 6}, True),
        ({"kernelTCP": -1}, {}, True),
        ({"kernel": 0, "kernelTCP": 0, "limit": 6}, {"limit": 6}, False),
        ({"limit": 6}, {"limit": 6}, False),
    ],
)
def test_kernel_memory_is_left_out(memory: Any, left: Any, asked: bool) -> None:
    resources = {"memory": memory, "pids": {"limit": 1}}
    expected = {"memory": left, "pids": {"limit": 1}}
    assert resource_flags.without_kernel_memory(resources) == (expected, asked)
    assert resource_flags.without_kernel_memory({}) == ({}, False)


SECOND = 1_000_000_000


@pytest.mark.rows("R295")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-0", 0),
        ("5s", 5 * SECOND),
        ("+5s", 5 * SECOND),
        ("-5s", -5 * SECOND),
        ("100ms", SECOND // 10),
        ("1m30s", 90 * SECOND),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("2.s", 2 * SECOND),
        ("1h2m3s4ms5us6ns", 3723 * SECOND + 4_005_006),
        ("1µs1\u03bcs", 2000),
        ("1.9ns", 1),
    ],
)
def test_duration(text: str, expected: int) -> None:
    assert duration(text) == expected


@pytest.mark.rows("R295", "R4")
@pytest.mark.parametrize(
    "text", ["", "5", "s", "-", "+", ".", ".s", "1..s", "5x", "5sx", "5 s", "s5", "--5s", "00"]
)
def test_a_duration_that_is_none(text: str) -> None:
    with pytest.raises(PyruntimeError, match="parse error"):
        duration(text)
