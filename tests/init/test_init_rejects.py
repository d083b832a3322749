"""Broken plans: the init refuses them before it performs anything, and never crashes."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pyruntime.plan import operations as op
from pyruntime.plan.encode import encode
from pyruntime.plan.operation import Operation
from tests.init.machine import EMPTY, PROGRAM, SLOTS, Init, perform

HEADER, RECORD = 32, 64
# The first operation leaves, so whatever else passes the check is not performed.
LEFT = 9
PLAN: list[Operation] = [
    op.exit(LEFT),
    op.openat2(3, -1, "nowhere/a", 0, 0, 0),
    op.run_hook("nowhere/b", ["b", "-x"], ["A=1"], 1, 5),
    op.execve("nowhere/c", ["c"], None),
    op.sethostname(b"name"),
    op.mount_setattr(2, "", 0, bytes(32), -1),
    op.find_executable("d", "nowhere"),
    op.skip(1),
    op.setsid(),
]


def encoded() -> bytearray:
    return bytearray(encode(PLAN, SLOTS))


def header(**fields: int) -> bytes:
    """The plan with header fields changed."""
    data = encoded()
    offsets = {"magic": 0, "interface": 4, "size": 8, "operations": 12, "slots": 16}
    for name, value in fields.items():
        struct.pack_into("<I", data, offsets[name], value)
    return bytes(data)


def argument(index: int, place: int, value: int) -> bytes:
    """The plan with one argument changed."""
    data = encoded()
    struct.pack_into("<q", data, HEADER + RECORD * index + 16 + 8 * place, value)
    return bytes(data)


def test_the_plan_itself_is_good() -> None:
    assert perform(bytes(encoded())).status == LEFT


@pytest.mark.parametrize("length", [0, 1, 8, 31, 32, 33, 95, 96, 300, -9, -1])
def test_truncated(length: int) -> None:
    data = bytes(encoded())[:length]
    done = perform(data)
    assert done.status == 2 if not data else done.rejected


@pytest.mark.parametrize("more", [b"\0", b"x", bytes(4096)])
def test_longer_than_it_says(more: bytes) -> None:
    assert perform(bytes(encoded()) + more).rejected


@pytest.mark.parametrize(
    "fields",
    [
        {"magic": 0},
        {"magic": 0x59504C4E},
        {"interface": op.INTERFACE ^ 1},
        {"size": 0},
        {"size": 2**32 - 1},
        {"operations": 1000},
        {"operations": 2**26},
        {"operations": 2**32 - 1},
        {"slots": 65537},
        {"slots": 2**32 - 1},
        {"slots": 0},
    ],
    ids=str,
)
def test_bad_header(fields: dict[str, int]) -> None:
    assert perform(header(**fields)).rejected


@pytest.mark.parametrize("number", [0, 67, 255, 1000, 65535])
def test_unknown_operation(number: int) -> None:
    data = encoded()
    struct.pack_into("<H", data, HEADER + RECORD, number)
    assert perform(bytes(data)).rejected


@pytest.mark.parametrize("value", [-2, SLOTS, SLOTS + 1, 2**31, 2**32, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("place", [0, 1], ids=["out", "slot"])
def test_slot_out_of_range(place: int, value: int) -> None:
    assert perform(argument(1, place, value)).rejected


def test_a_result_needs_a_slot() -> None:
    assert perform(argument(1, 0, -1)).rejected


@pytest.mark.parametrize("value", [-2, 0, 31, 100_000, 2**32, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize(
    ("index", "place"), [(1, 2), (4, 0), (5, 3), (2, 1)], ids=["text", "bytes", "attr", "vector"]
)
def test_offset_out_of_range(index: int, place: int, value: int) -> None:
    assert perform(argument(index, place, value)).rejected


@pytest.mark.parametrize("length", [-1, 100_000, 2**63 - 1, -(2**63)])
def test_length_out_of_range(length: int) -> None:
    assert perform(argument(4, 1, length)).rejected


def test_bytes_have_no_null_pointer() -> None:
    assert perform(argument(4, 0, -1)).rejected


def vector_at(data: bytearray) -> int:
    offset = struct.unpack_from("<q", data, HEADER + RECORD * 2 + 16 + 8)[0]
    assert isinstance(offset, int)
    return offset


@pytest.mark.parametrize("entry", [1, 31, 100_000, 2**32, 2**64 - 1])
def test_entry_of_a_vector_out_of_range(entry: int) -> None:
    data = encoded()
    struct.pack_into("<Q", data, vector_at(data), entry)
    assert perform(bytes(data)).rejected


def test_unaligned_vector() -> None:
    assert perform(argument(2, 1, vector_at(encoded()) + 1)).rejected


def test_vector_without_an_end() -> None:
    """The row of offsets runs up to the last byte of the plan."""
    data = encoded()
    data += bytes(-len(data) % 8)
    start = len(data)
    data += struct.pack("<Q", HEADER) * 4
    struct.pack_into("<q", data, HEADER + RECORD * 2 + 24, start)
    struct.pack_into("<I", data, 8, len(data))
    assert data[-1] == 0
    assert perform(bytes(data)).rejected


def test_vector_that_two_operations_share() -> None:
    """The init turns vectors into pointers in place; pointers are no offsets."""
    offset = vector_at(encoded())
    assert perform(argument(3, 1, offset)).rejected


def test_last_byte_must_end_a_text() -> None:
    data = encoded()
    data[-1] = 1
    assert perform(bytes(data)).rejected


TEXTS = [
    (number, place)
    for number, kinds in op.KINDS.items()
    for place, kind in enumerate(kinds)
    if kind == "t"
]


@pytest.mark.parametrize(
    ("number", "place"), TEXTS, ids=[f"{op.NAMES[number]}-{place}" for number, place in TEXTS]
)
def test_missing_text(number: int, place: int) -> None:
    """What takes a text apart cannot leave it to the kernel to refuse a null pointer."""
    values: dict[str, Any] = {"t": "x", "m": "x", "b": bytes(32), "v": ["x"]}
    kinds = op.KINDS[number].replace("bn", "b")
    operation = getattr(op, op.NAMES[number])(*[values.get(kind, 0) for kind in kinds])
    data = bytearray(encode([op.exit(LEFT), operation], SLOTS))
    assert perform(bytes(data)).status == LEFT
    struct.pack_into("<q", data, HEADER + RECORD + 16 + 8 * place, -1)
    assert perform(bytes(data)).rejected


@pytest.mark.parametrize("count", [-1, -2, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)])
def test_skip_goes_forward_and_not_beyond_the_plan(count: int) -> None:
    """A count that wraps around would perform operations again, perhaps for ever."""
    with_limit = [op.prlimit(0, 5, 5), op.skip(count), op.exit(LEFT)]
    assert perform(with_limit).rejected


@pytest.mark.parametrize("results", [b"", EMPTY[:8], EMPTY, EMPTY + bytes(24)])
def test_no_room_for_results(results: bytes) -> None:
    with Init(bytes(encoded()), results=results) as init:
        init.process.wait(60)
        assert init.process.returncode == (1 if results else 2)


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "2"], ["1", "2", "3", "4"], ["", "", ""]])
def test_started_by_hand(arguments: list[str]) -> None:
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 2
    assert done.stdout == done.stderr == b""


def flip_bit(data: bytearray, choose: random.Random) -> None:
    place = choose.randrange(len(data))
    data[place] ^= 1 << choose.randrange(8)


def set_byte(data: bytearray, choose: random.Random) -> None:
    data[choose.randrange(len(data))] = choose.choice([0, 1, 0x7F, 0x80, 0xFF])


def set_word(data: bytearray, choose: random.Random) -> None:
    place = choose.randrange(len(data) // 8) * 8
    values = [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(data), len(data) - 1, HEADER]
    struct.pack_into("<Q", data, place, choose.choice(values))


def cut(data: bytearray, choose: random.Random) -> None:
    del data[choose.randrange(len(data)) :]


def repeat(data: bytearray, choose: random.Random) -> None:
    start = choose.randrange(len(data))
    piece = data[start : start + choose.randrange(1, 64)]
    place = choose.randrange(len(data))
    data[place : place + len(piece)] = piece


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip_bit,
    set_byte,
    set_word,
    cut,
    repeat,
]


@pytest.mark.parametrize("part", range(6))
def test_random_mutations(part: int) -> None:
    """Whatever is changed: it is refused, or found good and the first operation leaves."""
    seen = set()
    for seed in range(part * 50, part * 50 + 50):
        choose = random.Random(seed)
        data = encoded()
        first = bytes(data[HEADER : HEADER + RECORD])
        for _ in range(choose.randrange(1, 4)):
            choose.choice(MUTATIONS)(data, choose)
            if not data:
                break
        if len(data) >= HEADER + RECORD:
            data[HEADER : HEADER + RECORD] = first
        status = perform(bytes(data)).status
        nothing_to_do = data[12:16] == bytes(4)
        assert status in ((0, 1) if nothing_to_do else (1, 2, LEFT)), f"seed {seed}: {status}"
        seen.add(status)
    assert seen >= {1, LEFT}
