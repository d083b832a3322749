"""Turn a list of operations into the bytes that the init reads.

The form (little endian): a header of 32 bytes, one record of 64 bytes for each
operation, then texts, byte strings and vectors, and a final NUL. Offsets count
from the beginning of the plan; -1 stands for None.
"""

from __future__ import annotations

import struct

from pyruntime.plan.operations import INTERFACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.operation import Argument, Operation

MAGIC = 0x4E4C5059
HEADER = struct.Struct("<IIIIIiiI")
RECORD = struct.Struct("<8H6q")
NOTHING = -1
RESULTS_HEADER = struct.Struct("<Qiiq")
OUTCOME = struct.Struct("<qiiQ")
PLAIN = struct.Struct("<H14x6q")  # RECORD without pardons
_PADDING = [(0,) * (6 - length) for length in range(7)]
_ALIGNMENT = [bytes(-length % 8) for length in range(8)]
_HALF = 1 << 63


class Area:
    """The texts and byte strings behind the records, each kept once."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.content = bytearray()
        self.known: dict[bytes, int] = {}
        self.texts: dict[str, int] = {}

    def put(self, data: bytes) -> int:
        """Place `data` at a multiple of 8 and return its offset in the plan."""
        if data in self.known:
            return self.known[data]
        return self._append(data)

    def _append(self, data: bytes) -> int:
        content = self.content
        content += _ALIGNMENT[len(content) & 7]
        offset = self.start + len(content)
        content += data
        self.known[data] = offset
        return offset

    def text(self, text: str) -> int:
        """A string with its NUL; bytes that are no UTF-8 come back as they were read."""
        offset = self.texts.get(text)
        if offset is None:
            offset = self.put(text.encode("utf-8", "surrogateescape") + b"\0")
            self.texts[text] = offset
        return offset

    def vector(self, texts: list[str]) -> int:
        """A row of offsets ended by 0. Not shared: the init turns it into pointers in place."""
        offsets = [self.text(text) for text in texts]
        return self._append(struct.pack(f"<{len(offsets) + 1}Q", *offsets, 0))


def encode(
    operations: list[Operation], slots: int, failure: tuple[int, int] = (NOTHING, 0)
) -> bytes:
    """The plan as bytes.

    `failure` is for tests: the operation of that index fails with that errno.
    """
    area = Area(HEADER.size + RECORD.size * len(operations))
    records = b"".join([_record(operation, area) for operation in operations])
    area.content += b"\0"
    size = area.start + len(area.content)
    head = HEADER.pack(MAGIC, INTERFACE, size, len(operations), slots, failure[0], failure[1], 0)
    return head + records + bytes(area.content)


def results_size(operations: list[Operation]) -> int:
    """How many bytes of results a plan needs."""
    return RESULTS_HEADER.size + OUTCOME.size * len(operations)


def _record(operation: Operation, area: Area) -> bytes:
    arguments: list[int] = []
    for value in operation.arguments:
        if type(value) is int and value < _HALF:
            arguments.append(value)
        else:
            _place(value, area, arguments)
    arguments += _PADDING[len(arguments)]
    if not operation.pardons:
        return PLAIN.pack(operation.number, *arguments)
    (errno_a, skip_a), (errno_b, skip_b) = (*operation.pardons, (0, 0))[:2]
    return RECORD.pack(operation.number, errno_a, skip_a, errno_b, skip_b, 0, 0, 0, *arguments)


def _place(value: Argument, area: Area, arguments: list[int]) -> None:
    if isinstance(value, str):
        offset = area.texts.get(value)
        arguments.append(area.text(value) if offset is None else offset)
    elif value is None:
        arguments.append(NOTHING)
    elif isinstance(value, int):
        # Addresses and masks use all 64 bits; the record's numbers are signed.
        arguments.append(value - (1 << 64) if value >= _HALF else value)
    elif isinstance(value, bytes):
        arguments += (area.put(value), len(value))
    else:
        arguments.append(area.vector(value))
