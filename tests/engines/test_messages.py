"""The table of CRI messages fits together; `make test-engines` uses it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "cri/messages.toml"
SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64"}


def table() -> dict[str, Any]:
    """What messages.toml holds."""
    return tomllib.loads(TABLE.read_text())


def test_types_are_described() -> None:
    """A field's type is a scalar, a map, or in the table."""
    known = SCALARS | {"map"} | table()["enums"].keys() | table()["messages"].keys()
    for name, fields in table()["messages"].items():
        for field, text in fields.items():
            words = text.split()
            assert words[-1] in known, f"{name}.{field}: {text}"
            assert words[1:-1] in ([], ["repeated"]), f"{name}.{field}: {text}"


def test_numbers_differ() -> None:
    """No two fields of a message have the same number."""
    for name, fields in table()["messages"].items():
        numbers = [int(text.split()[0]) for text in fields.values()]
        assert len(set(numbers)) == len(numbers), name


def test_each_request_has_an_answer() -> None:
    """A call is a request and a response of its name."""
    names = set(table()["messages"])
    requests = {name.removesuffix("Request") for name in names if name.endswith("Request")}
    answers = {name.removesuffix("Response") for name in names if name.endswith("Response")}
    assert requests == answers
