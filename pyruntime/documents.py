"""JSON in and out without the json package, which costs 11 ms to import.

The scanner and the encoder written in C (`_json`) do the work. What they leave
out is here: duplicate names, numbers that are not JSON, garbage after the
document, a message with line and column. Nothing here knows what a document means.
"""

from __future__ import annotations

import _json

from pyruntime.errors import PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Never

_SPACE = " \t\n\r"


class DocumentError(PyruntimeError):
    """A text is not a JSON document.

    `line` and `column` count characters from 1; both are 0 when the place is not known.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        place = f"line {line} column {column}: " if line else ""
        super().__init__(place + message)


class _DuplicateError(Exception):
    """An object names a member twice."""


class _NumberError(Exception):
    """A number that JSON does not have, or that would not survive as it is."""


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateError
    return members


def _constant(name: str) -> Never:
    raise _NumberError(f"{name} is not a JSON value")


def _real(digits: str) -> float:
    number = float(digits)
    if number - number != 0.0:  # true of infinity only: NaN cannot be written
        raise _NumberError(f"the number {digits} is too large")
    return number


class _Rules:
    """What `_json.make_scanner` reads once, when the scanner is made."""

    strict = True
    object_hook = None
    object_pairs_hook: Any = staticmethod(_members)
    parse_int = int  # exact, R7: limits above 2**53 are common
    parse_float = staticmethod(_real)
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's contract, cleared by it


class _OwnRules(_Rules):
    """For what this program has written itself: no name stands twice in it."""

    object_pairs_hook = None


_scan = _json.make_scanner(_Rules())  # type: ignore[arg-type]  # typeshed wants a JSONDecoder
_scan_own = _json.make_scanner(_OwnRules())  # type: ignore[arg-type]


def loads_own(text: bytes) -> object:
    """As `loads`, for a document that this program has written: in half the time.

    `list` reads many. Whatever is not as it was written is judged by `loads`.
    """
    try:
        decoded = text.decode("utf-8")
        value, end = _scan_own(decoded, 0)
        if end == len(decoded) and "\\ud" not in decoded and "\\uD" not in decoded:
            return value
    except (StopIteration, SystemError, _NumberError, RecursionError, ValueError):
        pass  # `loads` says what is wrong, in its words
    return loads(text)


def loads(text: bytes | str) -> object:
    """The value of one JSON document (R5, R7).

    Bytes must be UTF-8; a byte order mark is refused, as Go's decoder refuses it.
    Integers are exact, numbers with a fraction or an exponent become floats.

    Raises DocumentError: not UTF-8, not JSON, a name twice in an object, NaN or
    Infinity, half a surrogate pair, or anything but space after the document.
    """
    if isinstance(text, bytes):
        text = _decode(text)
    start = _skip_space(text, 0)
    try:
        value, end = _scan(text, start)
    except SystemError:
        raise _explained_by_json(text, start) from None
    except (StopIteration, _DuplicateError, _NumberError, RecursionError, ValueError) as error:
        raise _explained(text, error) from None
    end = _skip_space(text, end)
    if end != len(text):
        raise _error(text, end, "there is something after the end of the document")
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_pairs(value)
    return value


def dumps(value: object) -> str:
    """The value as JSON on one line, without any space.

    Names keep their order, and text stays as it is but for what JSON and Go escape
    (see `_as_go`). Raises ValueError for NaN and TypeError for what JSON cannot say.
    """
    return _as_go("".join(_encode(value, 0)))


def dumps_indented(value: object, indent: int = 2) -> str:
    """The value as JSON over several lines, laid out like Go's `json.MarshalIndent`.

    `indent` is the number of spaces a level. Nothing follows the last bracket.
    """
    pieces: list[str] = []
    _write(value, "\n", " " * indent, pieces)
    return _as_go("".join(pieces))


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _error(before, len(before), f"byte 0x{data[error.start]:02x} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise DocumentError("the document begins with a byte order mark", 1, 1)
    return text


def _skip_space(text: str, index: int) -> int:
    while text[index : index + 1] in _SPACE and index < len(text):
        index += 1
    return index


def _error(text: str, index: int, message: str) -> DocumentError:
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    return DocumentError(message, line, column)


def _explained_by_json(text: str, start: int) -> DocumentError:
    """Scan again with json.decoder loaded.

    The scanner looks for JSONDecodeError in sys.modules only, and fails without an
    exception when it is not there. That costs 11 ms, for a refused document only.
    """
    import json.decoder  # noqa: F401

    try:
        _scan(text, start)
    except (StopIteration, ValueError) as error:
        return _explained(text, error)
    return DocumentError("the document cannot be read")


def _explained(text: str, error: Exception) -> DocumentError:
    if isinstance(error, StopIteration):
        return _error(text, int(error.value), "a JSON value is missing")
    if isinstance(error, _DuplicateError):
        return _explained_duplicate(text)
    if isinstance(error, RecursionError):
        return DocumentError("the document is nested too deeply")
    position = getattr(error, "pos", None)  # json.JSONDecodeError, made by the C scanner
    if isinstance(position, int):
        message = str(getattr(error, "msg", error))
        return _error(text, position, message[:1].lower() + message[1:])
    if isinstance(error, _NumberError):
        return DocumentError(str(error))
    return DocumentError("a number has more digits than any limit needs")  # int() refused it


def _explained_duplicate(text: str) -> DocumentError:
    """Where the second of two equal names is: a slow walk, for a refused document only."""
    objects: list[set[str] | None] = []
    index = 0
    while index < len(text):
        character = text[index]
        index += 1
        if character in "{[":
            objects.append(set() if character == "{" else None)
        elif character in "}]":
            objects.pop()
        elif character == '"':
            begin = index - 1
            name, index = _json.scanstring(text, index, True)
            names = objects[-1] if objects else None
            if names is None or text[_skip_space(text, index) :][:1] != ":":
                continue
            if name in names:
                return _error(text, begin, f"the name {dumps(name)} is there twice in one object")
            names.add(name)
    return DocumentError("a name is there twice in one object")


def _refuse_half_pairs(value: object) -> None:
    """Refuse text with half a surrogate pair: no UTF-8 can carry it further (R5)."""
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise DocumentError(f"half a surrogate pair in {value!a}")
    elif isinstance(value, dict):
        for name, member in value.items():
            _refuse_half_pairs(name)
            _refuse_half_pairs(member)
    elif isinstance(value, list):
        for element in value:
            _refuse_half_pairs(element)


def _default(value: object) -> Never:
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encode = _json.make_encoder(
    None, _default, _json.encode_basestring, None, ":", ",", False, False, False
)


def _write(value: object, newline: str, indent: str, pieces: list[str]) -> None:
    if isinstance(value, dict) and value:
        inner = newline + indent
        mark = "{"
        for name, member in value.items():
            pieces.append(f"{mark}{inner}{_json.encode_basestring(name)}: ")
            _write(member, inner, indent, pieces)
            mark = ","
        pieces.append(newline + "}")
    elif isinstance(value, list | tuple) and value:
        inner = newline + indent
        mark = "["
        for element in value:
            pieces.append(mark + inner)
            _write(element, inner, indent, pieces)
            mark = ","
        pieces.append(newline + "]")
    else:
        pieces.extend(_encode(value, 0))


def _as_go(text: str) -> str:
    """Escape what Go's encoder escapes in strings: <, >, & and the two line separators.

    None of them can stand outside a string, so the whole text may be replaced at once.
    Readers of state see the bytes that runc would have written.
    """
    for character, escaped in _GO_ESCAPES:
        if character in text:
            text = text.replace(character, escaped)
    return text


_GO_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)
