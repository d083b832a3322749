"""GVariant's text form, as annotations have it; and what nobody should write there."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.cgroups.gvariant import DEEPEST, LONGEST, Malformed, parse

pytestmark = pytest.mark.rows("R252")


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("15", "i", 15),
        (" -1 ", "i", -1),
        ("0x1f", "i", 31),
        ("017", "i", 15),
        ("0", "i", 0),
        ("+3", "i", 3),
        ("uint64 10000000", "t", 10000000),
        ("uint64 18446744073709551615", "t", (1 << 64) - 1),
        ("int64 -9223372036854775808", "x", -(1 << 63)),
        ("byte 0xff", "y", 255),
        ("double 2", "d", 2.0),
        ("1.5", "d", 1.5),
        ("1e3", "d", 1000.0),
        ("true", "b", True),
        ("boolean false", "b", False),
        ("'control-group'", "s", "control-group"),
        ('"it\'s"', "s", "it's"),
        (r"'a\'b\n\u00e9\U0001f600\z'", "s", "a'b\né😀z"),
        ("string 'x'", "s", "x"),
        ("objectpath '/org/a_b/c1'", "o", "/org/a_b/c1"),
        ("['a', 'b']", "as", ["a", "b"]),
        ("['a.service' , ]", "as", ["a.service"]),
        ("@as []", "as", []),
        ("@ay [1, 0x02]", "ay", [1, 2]),
        ("[byte 1, 2]", "ay", [1, 2]),
        ("[1, uint64 2]", "at", [1, 2]),
        ("[1, 2]", "ai", [1, 2]),
        ("[1, 2.5]", "ad", [1.0, 2.5]),
        ("b'ab'", "ay", b"ab\0"),
        ("('/dev/null', 'rw')", "(ss)", ("/dev/null", "rw")),
        ("[('/dev/sda', uint64 1000)]", "a(st)", [("/dev/sda", 1000)]),
        ("[[1], [2]]", "aai", [[1], [2]]),
        ("uint32\n7", "u", 7),
    ],
)
def test_values(text: str, signature: str, value: Any) -> None:
    found = parse(text)
    assert found == (signature, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "SIGTERM",
        "15 16",
        "uint64",
        "uint64 -1",
        "uint64 18446744073709551616",
        "2147483648",
        "byte 256",
        "byte 1.5",
        "boolean 1",
        "'open",
        "'a\\",
        "'\\u12'",
        "'\\u0000'",
        "'\\ud800'",
        "['a'",
        "['a' 'b']",
        "['a', 1]",
        "[]",
        "[[]]",
        "(1",
        "(]",
        "@as",
        "@as [1]",
        "@{sv} []",
        "@a [1]",
        "@() 1",
        "objectpath 'x'",
        "objectpath '/a//b'",
        "1_000",
        "٣",
        "0x",
        "08",
        "1e999",
        "nan",
        "inf",
        ".",
        "-",
        "a\0b",
        "'\udc80'",
        "{'a': 1}",
        "<1>",
        "9" * 5000,
        "[" * 100000,
        "[" * 5000,
        "(" * (DEEPEST + 2) + "1" + ",)" * (DEEPEST + 2),
        "uint64 " * 5000 + "1",
        "@i " * 5000 + "1",
        "'" + "a" * LONGEST + "'",
    ],
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_every_prefix_of_a_value_is_a_value_or_refused() -> None:
    text = "[('/dev/null', uint64 0x10, [byte 1, 2], -1.5e3, \"q\\u00e9\", true, @as [])]"
    for end in range(len(text)):
        for mangled in (text[:end], text[end:], text[:end] + "," + text[end:]):
            try:
                signature, _ = parse(mangled)
            except Malformed as error:
                assert str(error)
            else:
                assert "@" not in signature
