"""Command lines as engines write them, read without any library.

What is not understood in full (help, an unknown flag, a missing argument) is left
to cli.py, which can explain.
"""

from __future__ import annotations

from pyruntime import options
from pyruntime.errors import UsageError
from pyruntime.log import Log
from pyruntime.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyruntime.options import Option, Value, Verb

UNKNOWN_COMMAND = 3
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class NotUnderstood(UsageError):
    """The words are not a command with its options and arguments; the message says why.

    `status` is the exit status, `log` the log that the words ask for.
    """

    def __init__(self, reason: str, status: int = 1) -> None:
        self.status = status
        self.log = Log()
        super().__init__(reason)


def parse(words: Sequence[str]) -> Request | None:
    """The request that the words (argv without the program) make, or None."""
    try:
        return _request(list(words))
    except NotUnderstood:
        return None


def fault(words: Sequence[str]) -> str:
    """Why `parse` did not understand the words, or "" if it does."""
    try:
        _request(list(words))
    except NotUnderstood as error:
        return str(error)
    return ""


def _request(words: list[str]) -> Request:
    settings, rest = scan(options.global_options(), words, stop_at_first=True)
    if settings["help"] or settings["version"] or not rest:
        raise NotUnderstood("no command")
    verb = options.verb(rest[0])
    if verb is None:
        raise NotUnderstood(f"No help topic for '{rest[0]}'", UNKNOWN_COMMAND)
    values, arguments = scan(verb.options, rest[1:], verb.stop_at_first_argument)
    return request_of(verb, values, arguments, settings)


def request_of(
    verb: Verb, values: dict[str, Value], arguments: list[str], settings: dict[str, Value]
) -> Request:
    """The request for a verb, if the number of arguments is right. Raises NotUnderstood."""
    if not verb.takes(len(arguments)):
        raise NotUnderstood(verb.requirement())
    return Request(verb.name, values, arguments, settings)


def scan(
    known: list[Option], words: list[str], stop_at_first: bool
) -> tuple[dict[str, Value], list[str]]:
    """Split words into the values of the known options and the arguments.

    One dash or two begin an option, long or short, as in Go's flag package. Raises
    NotUnderstood.
    """
    named = {name: option for option in known for name in option.names}
    values = {option.key: option.initial() for option in known}
    arguments: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            return values, arguments + words[position:]
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if stop_at_first:
                return values, arguments + words[position:]
            continue
        position += _take(named, values, word, words[position : position + 1])
    return values, arguments


def _take(
    named: dict[str, Option], values: dict[str, Value], word: str, following: list[str]
) -> int:
    """Store the option that `word` is; the number of following words that belong to it."""
    name, equals, text = word[2 if word[:2] == "--" else 1 :].partition("=")
    option = named.get(name)
    if option is None:
        raise NotUnderstood(_unknown(word, name))
    if option.kind == options.FLAG:
        values[option.key] = _boolean(name, text) if equals else True
        return 0
    if not equals and not following:
        raise NotUnderstood(f"flag needs an argument: -{name}")
    _store(option, values, text if equals else following[0])
    return 0 if equals else 1


def _unknown(word: str, name: str) -> str:
    if name[:1] in ("", "-"):
        return f"bad flag syntax: {word}"
    return f"flag provided but not defined: -{name}"


def _store(option: Option, values: dict[str, Value], text: str) -> None:
    if option.kind == options.REPEAT:
        earlier = values[option.key]
        assert isinstance(earlier, list)
        earlier.append(text)
    elif option.kind == options.INT:
        values[option.key] = _number(option.names[0], text)
    else:
        values[option.key] = text


def _boolean(name: str, text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise NotUnderstood(f'invalid boolean value "{text}" for -{name}: parse error')


def _number(name: str, text: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise NotUnderstood(f'invalid value "{text}" for flag -{name}: parse error')
    return int(text)
