"""Values in GVariant's text form, as `org.systemd.property.*` annotations hold them (R252).

Pure. The form is described in the GLib manual, "GVariant Text Format". Of its types those are
read that properties of systemd units have: booleans, numbers, strings, and arrays and tuples
of them. The text comes from whoever wrote the image or the pod, so its length, its depth and
every number are checked here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Typed = tuple[str, Any]

LONGEST = 65536
DEEPEST = 8

# Keyword -> D-Bus type.
_WORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_RANGES = {
    "y": (0, (1 << 8) - 1),
    "n": (-(1 << 15), (1 << 15) - 1),
    "q": (0, (1 << 16) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
    "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1),
    "t": (0, (1 << 64) - 1),
}
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BLANK = " \t\r\n"
_ENDS = _BLANK + ",]()[<>{}'\""
# Types that are still open. A number is an int32 or a double unless something says more.
_NUMBER = "@number"
_NUMBERS = "a" + _NUMBER
_NOTHING = "@nothing"  # an array without elements


class Malformed(ValueError):
    """The text is not a value; says what is wrong at which character."""


def parse(text: str) -> Typed:
    """(D-Bus signature, value): arrays are lists, tuples are tuples. Raises Malformed."""
    if len(text) > LONGEST:
        raise Malformed(f"is longer than {LONGEST} characters")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Malformed("has a character that D-Bus cannot carry")
    reader = _Reader(text)
    kind, value = _settle(*reader.value(0))
    if reader.peek():
        raise reader.wrong("something follows the value")
    return kind, value


class _Reader:
    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def wrong(self, why: str) -> Malformed:
        return Malformed(f"{why} at character {self.at}")

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while self.at < len(self.text) and self.text[self.at] in _BLANK:
            self.at += 1
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Typed:
        if depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} values inside each other")
        first = self.peek()
        if not first:
            raise self.wrong("the value is missing")
        if first == "@":
            return self.annotated(depth)
        if first == "[":
            return _array(self.items("]", depth), self)
        if first == "(":
            return _tuple(self.items(")", depth))
        if first in "'\"":
            return "s", self.string(first)
        return self.word(depth)

    def annotated(self, depth: int) -> Typed:
        """`@ay [1, 2]`: the signature first."""
        self.at += 1
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _BLANK:
            self.at += 1
        signature = self.text[start : self.at]
        if not signature or signature.strip("abynqiuxtdsog()") or len(signature) > 64:
            raise self.wrong(f"{signature!r} is not a type")
        return signature, self.converted(signature, self.value(depth + 1))

    def converted(self, signature: str, given: Typed) -> Any:
        try:
            return _as(signature, given)
        except Malformed as error:
            raise self.wrong(str(error)) from None

    def word(self, depth: int) -> Typed:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _ENDS:
            self.at += 1
        word = self.text[start : self.at]
        if word in ("true", "false"):
            return "b", word == "true"
        if word in _WORDS:
            kind = _WORDS[word]
            return kind, self.converted(kind, self.value(depth + 1))
        if word == "b" and self.text[self.at : self.at + 1] in ("'", '"'):
            return "ay", self.string(self.text[self.at]).encode() + b"\0"
        try:
            return _NUMBER, _number(word)
        except ValueError:
            raise self.wrong(f"{word!r} is not a value") from None

    def items(self, end: str, depth: int) -> list[Typed]:
        self.at += 1
        found: list[Typed] = []
        while self.peek() != end:
            found.append(self.value(depth + 1))
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != end:
                raise self.wrong(f"neither ',' nor {end!r}")
        self.at += 1
        return found

    def string(self, quote: str) -> str:
        self.at += 1
        letters: list[str] = []
        while True:
            letter = self.text[self.at : self.at + 1]
            self.at += 1
            if not letter:
                raise self.wrong("the string does not end")
            if letter == quote:
                return "".join(letters)
            letters.append(self.escape() if letter == "\\" else letter)

    def escape(self) -> str:
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if letter in ("u", "U"):
            size = 4 if letter == "u" else 8
            digits = self.text[self.at : self.at + size]
            self.at += size
            return self.character(digits, size)
        return _ESCAPES.get(letter, letter)

    def character(self, digits: str, size: int) -> str:
        plain = len(digits) == size and not digits.strip("0123456789abcdefABCDEF")
        code = int(digits, 16) if plain else 0
        if not 0 < code < 0x110000 or 0xD800 <= code < 0xE000:
            raise self.wrong("a \\u that names no character")
        return chr(code)


def _number(word: str) -> int | float:
    """A number as C writes it: decimal, 0x and 0 for octal, or with a point or exponent."""
    if not word.isascii() or "_" in word or len(word) > 40:
        raise ValueError(word)
    sign, digits = (word[0], word[1:]) if word[:1] in ("-", "+") else ("", word)
    if not digits[:1].isdigit() and digits[:1] != ".":
        raise ValueError(word)
    if digits[:2] in ("0x", "0X"):
        number: int | float = int(digits[2:], 16)
    elif digits.isdigit():
        number = int(digits, 8 if digits[0] == "0" else 10)
    else:
        number = float(digits)
        if number == float("inf"):
            raise ValueError(word)
    return -number if sign == "-" else number


def _settle(kind: str, value: Any) -> Typed:
    """The type of what nobody has given one. Raises Malformed."""
    if kind == _NUMBER:
        kind = "d" if isinstance(value, float) else "i"
        return kind, _as(kind, (_NUMBER, value))
    if kind == _NUMBERS:
        kind = "ad" if any(isinstance(each, float) for each in value) else "ai"
        return kind, _as(kind, (_NUMBERS, value))
    if kind == _NOTHING:
        raise Malformed("an empty array has no type; write it as @as []")
    return kind, value


def _array(items: list[Typed], reader: _Reader) -> Typed:
    """All elements have one type: that of any which says it, else what numbers have."""
    if not items:
        return _NOTHING, []
    if all(kind == _NUMBER for kind, _ in items):
        return _NUMBERS, [value for _, value in items]
    settled = [item if item[0] == _NUMBER else _settle(*item) for item in items]
    kinds = {kind for kind, _ in settled if kind != _NUMBER}
    if len(kinds) > 1:
        raise reader.wrong(f"an array of different types ({', '.join(sorted(kinds))})")
    kind = kinds.pop()
    return "a" + kind, [reader.converted(kind, item) for item in settled]


def _tuple(items: list[Typed]) -> Typed:
    settled = [_settle(*item) for item in items]
    kinds = "".join(kind for kind, _ in settled)
    return f"({kinds})", tuple(value for _, value in settled)


def _as(signature: str, given: Typed) -> Any:
    """A value as one of that type. Raises Malformed if it is of another or out of range."""
    kind, value = given
    if kind == signature:
        return value
    if kind == _NOTHING and signature[0] == "a":
        return []
    if kind == _NUMBERS and signature[0] == "a":
        return [_as(signature[1:], (_NUMBER, each)) for each in value]
    if kind == _NUMBER and signature == "d":
        return float(value)
    if kind == _NUMBER and signature in _RANGES and isinstance(value, int):
        least, most = _RANGES[signature]
        if not least <= value <= most:
            raise Malformed(f"{value} does not fit into type {signature}")
        return value
    if kind == "s" and signature == "o" and _is_path(value):
        return value
    if kind == "s" and signature == "g" and not value.strip("abynqiuxtdsogv(){}"):
        return value
    raise Malformed(f"a value of type {kind.strip('@')} where {signature} is wanted")


def _is_path(text: str) -> bool:
    parts = text.split("/")
    plain = text.isascii() and text.replace("/", "").replace("_", "").isalnum()
    return text == "/" or (plain and parts[0] == "" and all(parts[1:]))
