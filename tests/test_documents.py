"""documents: JSON without the json package, checked against the json package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyruntime import documents
from pyruntime.documents import DocumentError

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "tests" / "data" / "configs").glob("*.json"))


@pytest.mark.rows("R5")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_reads_what_engines_write(path: Path) -> None:
    text = path.read_bytes()
    assert documents.loads(text) == json.loads(text)


@pytest.mark.rows("R7")
@pytest.mark.parametrize(
    "number", [0, -1, 2**53 + 1, 9223372036854772000, 2**63 - 1, -(2**63), 2**64 - 1]
)
def test_integers_survive_exactly(number: int) -> None:
    text = documents.dumps({"limit": number})
    assert text == f'{{"limit":{number}}}'
    assert documents.loads(text) == {"limit": number}


def test_numbers_with_a_fraction_are_no_integers() -> None:
    value = documents.loads("[1.0, 1e3, -2.5]")
    assert value == [1.0, 1000.0, -2.5]
    assert isinstance(value, list)
    assert [type(number) for number in value] == [float, float, float]


@pytest.mark.parametrize("text", [" \r\n\t[]\n ", b"\n[]", "[]"])
def test_space_around_the_document(text: str | bytes) -> None:
    assert documents.loads(text) == []


@pytest.mark.rows("R5")
@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        (b'{"a": 1,\n "b": {"c": 1, "c": 2}}', 2, 16, '"c" is there twice'),
        (b'{"a": 1, "\\u0061": 2}', 1, 10, '"a" is there twice'),
        (b'[{"a": "a"}, {"a": ["a", "a"], "b": "a", "a": 1}]', 1, 42, "twice"),
        (b'["x", {"y": 1, "y": 2}]', 1, 16, "twice"),
        (b"", 1, 1, "missing"),
        (b"  \n ", 2, 2, "missing"),
        (b"{]", 1, 2, "property name"),
        (b'{"a" 1}', 1, 6, "':'"),
        (b'{"a":\n\n  x}', 3, 3, "missing"),
        (b'["abc', 1, 2, "unterminated"),
        (b'["a\nb"]', 1, 4, "control character"),
        (b'["\\q"]', 1, 3, "escape"),
        (b"{} {}", 1, 4, "after the end"),
        (b"[1]\n]", 2, 1, "after the end"),
        (b"\xef\xbb\xbf{}", 1, 1, "byte order mark"),
        (b'{"a":\n"\xff"}', 2, 2, "0xff is not UTF-8"),
        (b'"\xed\xa0\x80"', 1, 2, "not UTF-8"),
        (b"[NaN]", 0, 0, "NaN"),
        (b"-Infinity", 0, 0, "Infinity"),
        (b"[1e999]", 0, 0, "1e999"),
        (b'["\\ud800"]', 0, 0, "surrogate"),
        (b'{"\\uDfff": 1}', 0, 0, "surrogate"),
        (b"[" * 200_000, 0, 0, "deep"),
        (b"1" * 10_000, 0, 0, "digits"),
    ],
)
def test_refuses(text: bytes, line: int, column: int, word: str) -> None:
    with pytest.raises(DocumentError) as caught:
        documents.loads(text)
    assert word in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert documents.loads('"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("path", CONFIGS[:4], ids=lambda path: path.stem)
def test_writes_what_it_reads(path: Path) -> None:
    value = json.loads(path.read_bytes())
    assert json.loads(documents.dumps(value)) == value
    assert json.loads(documents.dumps_indented(value)) == value


def test_layout_is_that_of_go() -> None:
    value = {"z": [], "a": {}, "list": [1, None, {"x": True}], "real": 1.5}
    assert documents.dumps_indented(value) == (
        '{\n  "z": [],\n  "a": {},\n  "list": [\n    1,\n    null,\n'
        '    {\n      "x": true\n    }\n  ],\n  "real": 1.5\n}'
    )
    assert documents.dumps_indented([[]], 4) == "[\n    []\n]"
    assert documents.dumps(value) == '{"z":[],"a":{},"list":[1,null,{"x":true}],"real":1.5}'


def test_escapes_are_those_of_go() -> None:
    """As runc 1.1.5 writes an annotation: letters stay, what HTML and JavaScript read do not."""
    expected = '"\\u003cé\\u003e\\u0026\\u2028\\u2029\\"\\\\/\\n"'
    assert documents.dumps('<é>&\u2028\u2029"\\/\n') == expected
    assert documents.dumps_indented('<é>&\u2028\u2029"\\/\n') == expected
    assert documents.dumps_indented({"<": 1}) == '{\n  "\\u003c": 1\n}'


def test_what_json_cannot_say_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        documents.dumps(float("nan"))
    with pytest.raises(TypeError, match="bytes"):
        documents.dumps_indented([b"x"])


def test_json_is_loaded_for_refused_documents_only() -> None:
    """The hot lane cannot pay 11 ms for the json package, nor 8 ms for re."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pyruntime import documents
documents.loads('{{"a": [1, 2.5]}}')
documents.dumps_indented({{"a": "<"}})
print(sorted(sys.modules.keys() & {{"json", "re", "os", "typing"}}))
try:
    documents.loads('{{"a" 1}}')
except documents.DocumentError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "line 1 column 6: expecting ':' delimiter"]
