"""Log lines, in the two forms in which engines read runc's (the forms of logrus).

text   time="2026-01-02T03:04:05Z" level=error msg="container does not exist"
json   {"level":"error","msg":"container does not exist","time":"2026-01-02T03:04:05Z"}

Engines take the `msg` of the last line of level "error" from the file of --log.
"""

from __future__ import annotations

import posix
import sys
import time

from pyruntime.errors import PyruntimeError

_STDERR = 2
_COLOURS = {"error": 31, "warning": 33, "info": 36, "debug": 37}
_UNQUOTED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_JSON_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Go's encoding/json writes these as escapes, so that JSON can stand in HTML and JavaScript.
_JSON_UNSAFE = "<>&\u2028\u2029"


class Log:
    """The log of one invocation: a file, or standard error if the path is empty.

    `format` is "text" or "json"; debug lines are written only if `debug` is true, and
    then every line says where in the program it was written.
    """

    __slots__ = ("_began", "_fd", "debug_enabled", "format", "path")

    def __init__(self, path: str = "", format: str = "text", debug: bool = False) -> None:
        self.path = path
        self.format = format
        self.debug_enabled = debug
        self._fd = _STDERR
        self._began = time.monotonic()

    def open(self) -> None:
        """Open the file, for appending. Raises PyruntimeError."""
        if self.format not in ("text", "json"):
            refused, self.format = self.format, "text"
            self.path = ""
            raise PyruntimeError(f"invalid log-format: {refused}")
        if self.path and self._fd == _STDERR:
            flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
            try:
                self._fd = posix.open(self.path, flags, 0o644)
            except (OSError, ValueError) as error:
                path, self.path = self.path, ""
                raise PyruntimeError(f"open {path}: {_reason(error)}") from error

    def error(self, message: str) -> None:
        """Write an error that does not end the command."""
        self._write("error", message)

    def warning(self, message: str) -> None:
        """Write what a user should know although the command goes on."""
        self._write("warning", message)

    def info(self, message: str) -> None:
        """Write what may be of interest."""
        self._write("info", message)

    def debug(self, message: str) -> None:
        """Write a detail, if details are asked for."""
        if self.debug_enabled:
            self._write("debug", message)

    def fatal(self, message: str, place: tuple[str, str] | None = None) -> None:
        """Write the error that ends the command: to the log and, if that is a file, bare to stderr.

        `place` names the function and the "file:line" where the error began.
        """
        self._write("error", message, place)
        if self._fd != _STDERR:
            _write_all(_STDERR, _encode(message) + b"\n")

    def _write(self, level: str, message: str, place: tuple[str, str] | None = None) -> None:
        place = (place or _caller()) if self.debug_enabled else None
        if self.format == "json":
            line = json_line(level, message, place)
        elif posix.isatty(self._fd):
            line = coloured_line(level, message, place, time.monotonic() - self._began)
        else:
            line = text_line(level, message, place)
        _write_all(self._fd, line)


def text_line(level: str, message: str, place: tuple[str, str] | None = None) -> bytes:
    """One line of `key=value`, values quoted where they need it."""
    line = f"time={_text_value(timestamp())} level={level} msg={_text_value(message)}"
    if place:
        line += f" func={_text_value(place[0] + '()')} file={_text_value(place[1])}"
    return _encode(line) + b"\n"


def coloured_line(level: str, message: str, place: tuple[str, str] | None, elapsed: float) -> bytes:
    """One line for a terminal; `elapsed` is in seconds.

    Unlike logrus, this lets no control character of the message reach the terminal.
    """
    colour = _COLOURS[level]
    origin = f" {place[0]}() {place[1]}" if place else ""
    shown = "".join([char if char.isprintable() else _quoted(char) for char in message])
    head = f"\x1b[{colour}m{level.upper()[:4]}\x1b[0m[{int(elapsed):04d}]{origin}"
    return _encode(f"{head} {shown:<44} ") + b"\n"


def json_line(level: str, message: str, place: tuple[str, str] | None = None) -> bytes:
    """One JSON object, keys in logrus' order, characters escaped as Go's encoding/json does."""
    origin = f'"file":{_json_string(place[1])},"func":{_json_string(place[0])},' if place else ""
    line = f'{{{origin}"level":"{level}","msg":{_json_string(message)},"time":"{timestamp()}"}}'
    return line.encode() + b"\n"


def timestamp() -> str:
    """The local time, as RFC 3339 writes it, in whole seconds."""
    now = time.localtime()
    minutes = now.tm_gmtoff // 60
    if minutes == 0:
        zone = "Z"
    else:
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", now) + zone


def _text_value(text: str) -> str:
    if _UNQUOTED.issuperset(text):
        return text
    return '"' + "".join([_quoted(char) for char in text]) + '"'


def _quoted(char: str) -> str:
    """One character in a Go string literal."""
    escape = _ESCAPES.get(char)
    if escape is not None:
        return escape
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python carries it
        return f"\\x{code - 0xDC00:02x}"
    if char == " " or char.isprintable():
        return char
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_string(text: str) -> str:
    return '"' + "".join([_json_char(char) for char in text]) + '"'


def _json_char(char: str) -> str:
    escape = _JSON_ESCAPES.get(char)
    if escape is not None:
        return escape
    if char < " " or char in _JSON_UNSAFE:
        return f"\\u{ord(char):04x}"
    return "\\ufffd" if "\ud800" <= char <= "\udfff" else char


def _caller() -> tuple[str, str]:
    """The function that called `error`, `warning`, ...: its name and "file:line"."""
    frame = sys._getframe(3)
    function = f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_name}"
    return function, f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def _reason(error: OSError | ValueError) -> str:
    """The kernel's word for the error, in lower case as runc writes it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _write_all(fd: int, data: bytes) -> None:
    """Write a whole line; a log that cannot be written must not end the command."""
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except OSError:
        pass
