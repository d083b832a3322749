"""The bytes of a plan, read back by a decoder that follows the description and not the encoder."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pyruntime.plan import operations as op
from pyruntime.plan.encode import encode, results_size
from pyruntime.plan.operation import Operation
from tests.plan import compiled

NONE = -1


class Decoder:
    """Header of 32 bytes, records of 64, then the texts; everything little endian."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        fields = struct.unpack_from("<IIIIIiiI", data)
        self.magic, self.interface, self.size, self.count, self.slots = fields[:5]
        self.failure = fields[5:7]

    def text(self, offset: int) -> str | None:
        if offset == NONE:
            return None
        return self.data[offset : self.data.index(b"\0", offset)].decode("utf-8", "surrogateescape")

    def vector(self, offset: int) -> list[str | None] | None:
        if offset == NONE:
            return None
        assert offset % 8 == 0
        texts = []
        while entry := struct.unpack_from("<Q", self.data, offset)[0]:
            texts.append(self.text(entry))
            offset += 8
        return texts

    def operation(self, index: int) -> tuple[int, tuple[tuple[int, int], ...], list[Any]]:
        record = struct.unpack_from("<8H6q", self.data, 32 + 64 * index)
        number, numbers = record[0], list(record[8:])
        pardons = tuple(pair for pair in (record[1:3], record[3:5]) if pair[0])
        arguments: list[Any] = []
        for kind in op.KINDS[number].replace("bn", "b"):
            value = numbers.pop(0)
            if kind == "b":
                arguments.append(self.data[value : value + numbers.pop(0)])
            elif kind in "tm":
                arguments.append(self.text(value))
            elif kind == "v":
                arguments.append(self.vector(value))
            else:
                arguments.append(value)
        return number, pardons, arguments


def decoded(*operations: Operation) -> list[list[Any]]:
    decoder = Decoder(encode(list(operations), 4))
    return [decoder.operation(index)[2] for index in range(decoder.count)]


def test_header() -> None:
    data = encode([op.setsid(), op.exit(3)], 7)
    decoder = Decoder(data)
    assert data[:4] == b"YPLN"
    assert decoder.interface == op.INTERFACE
    assert decoder.size == len(data)
    assert (decoder.count, decoder.slots) == (2, 7)
    assert decoder.failure == (-1, 0)
    assert data[-1] == 0


def test_injected_failure_is_in_the_header() -> None:
    assert Decoder(encode([op.setsid()], 0, (5, 13))).failure == (5, 13)


def test_every_kind_of_argument_comes_back() -> None:
    attributes = bytes(range(32))
    written = [
        op.openat2(3, -1, "/a b/ü", 0o2000000, 0o644, 0x10),
        op.mount_setattr(2, "", 0x1000, attributes, -1),
        op.run_hook("/hook", ["hook", "--x", ""], ["A=1", "B="], 1, 2000),
        op.execve(None, None, []),
        op.fsconfig(0, 1, "mode", None, 0),
    ]
    assert decoded(*written) == [list(each.arguments) for each in written]


def test_none_and_empty_differ() -> None:
    assert decoded(op.execve(None, [], None), op.execve("", None, [])) == [
        [None, [], None],
        ["", None, []],
    ]


def test_numbers_keep_all_64_bits() -> None:
    greatest = 2**64 - 1
    (arguments,) = decoded(op.prlimit(7, greatest, 2**63))
    assert [value % 2**64 for value in arguments] == [7, greatest, 2**63]
    assert decoded(op.prctl(-1, -(2**63), 2**63 - 1, 0, 0))[0][:3] == [-1, -(2**63), 2**63 - 1]


def test_a_number_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(struct.error):
        encode([op.prctl(0, -(2**63) - 1, 0, 0, 0)], 0)


def test_bytes_that_are_no_utf_8_come_back_as_they_were() -> None:
    name = b"/\xff\xfe".decode("utf-8", "surrogateescape")
    data = encode([op.chdir(name)], 0)
    assert b"/\xff\xfe\0" in data
    assert decoded(op.chdir(name)) == [[name]]


def test_byte_strings_may_hold_nul() -> None:
    assert decoded(op.sethostname(b"a\0b"), op.sethostname(b"")) == [[b"a\0b"], [b""]]


def test_texts_are_kept_once_but_vectors_are_not() -> None:
    """The init turns vectors into pointers in place, which may happen only once to each."""
    data = encode([op.execve("/x", ["same"], ["same"]), op.execve("/x", ["same"], None)], 0)
    assert data.count(b"same\0") == 1
    records = [struct.unpack_from("<8H6q", data, 32 + 64 * index)[8:11] for index in (0, 1)]
    assert records[0][0] == records[1][0]
    assert len({records[0][1], records[0][2], records[1][1]}) == 3


def test_pardons() -> None:
    operation = op.setsid()
    operation.pardons = ((2, 3), (20, 0))
    assert Decoder(encode([operation], 0)).operation(0)[1] == ((2, 3), (20, 0))


def test_every_operation_has_its_number_and_arity() -> None:
    for number, kinds in op.KINDS.items():
        function = getattr(op, op.NAMES[number])
        values = {"t": "x", "m": "x", "b": b"y", "v": ["z"]}
        arguments = [values.get(kind, 1) for kind in kinds.replace("bn", "b")]
        operation = function(*arguments)
        assert operation.number == number
        assert decoded(operation) == [arguments]
        assert len(kinds) <= 6


def test_a_whole_plan_comes_back() -> None:
    document = compiled.config(linux={"maskedPaths": ["/proc/kcore"]}, hostname="x")
    plan = compiled.plan(document)
    decoder = Decoder(encode(plan.operations, len(plan.slots)))
    assert decoder.count == len(plan.operations)
    for index, operation in enumerate(plan.operations):
        number, pardons, arguments = decoder.operation(index)
        assert number == operation.number
        assert pardons == tuple(pair for pair in operation.pardons if pair[0])
        assert [v % 2**64 if isinstance(v, int) else v for v in arguments] == [
            v % 2**64 if isinstance(v, int) else v for v in operation.arguments
        ]


def test_results_have_room_for_every_operation() -> None:
    assert results_size([op.setsid()] * 3) == 24 + 3 * 24
