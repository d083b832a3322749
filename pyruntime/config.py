"""Reading config.json and refusing a bad one with every fault that it has.

The shape is checked by code generated from spec/config.schema.json, the rest by
pyruntime/semantics.py. Both cost well below a millisecond; only a refused document
pays for explanations.
"""

from __future__ import annotations

import errno
import posix

from pyruntime import documents, semantics
from pyruntime.errors import ConfigError, PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Larger than any real one (the largest seen is 100 kB); bounds what a caller can make us read.
SIZE_LIMIT = 16 * 1024 * 1024

_REGULAR = 0o100000
_FIFO = 0o010000
_PIECE = 1 << 16
_TYPE_BITS = 0o170000


class Config:
    """A config.json that has been found sound.

    `document` is its content, without members that are null; `text` is the file as it
    was read once, which is what the container lives by from then on (R6); `path` is
    where it was.
    """

    __slots__ = ("document", "path", "text")

    def __init__(self, document: dict[str, Any], text: bytes, path: str) -> None:
        self.document = document
        self.text = text
        self.path = path


def load(bundle_directory: str, config_path: str | None = None) -> Config:
    """The configuration of a bundle: `config_path`, or config.json in the directory.

    Raises ConfigError with every fault, or PyruntimeError if the file is missing, is
    not a regular file, cannot be read or is larger than SIZE_LIMIT.
    """
    path = config_path or bundle_directory.rstrip("/") + "/config.json"
    text = read(path)
    return Config(parse(text), text, path)


def read(path: str, pipes: bool = False) -> bytes:
    """The bytes of a regular file, or with `pipes` of a pipe too, of at most SIZE_LIMIT.

    Raises PyruntimeError.
    """
    try:
        # Without O_NONBLOCK a fifo in place of the file would hold the runtime up.
        wait = 0 if pipes else posix.O_NONBLOCK
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | wait)
    except OSError as error:
        raise PyruntimeError(_unreadable(path, error)) from None
    try:
        return _read_all(fd, path, pipes)
    except OSError as error:
        raise PyruntimeError(_unreadable(path, error)) from None
    finally:
        posix.close(fd)


def parse(text: bytes) -> dict[str, Any]:
    """The document in a text, checked. Raises ConfigError with every fault."""
    document = checked(_loads(text))
    found = semantics.faults(document)
    if b"\\u0000" in text:  # the only way in which JSON can carry the character
        found += semantics.nul_faults(document)
    if found:
        raise ConfigError(found)
    return document


def checked(document: object) -> dict[str, Any]:
    """The document if it has the shape of config.json, otherwise ConfigError.

    Null members are taken out where the document is refused with them: Go reads them
    as absent, and engines written in Go may leave some.
    """
    if _passes(document, "check"):
        return document  # type: ignore[return-value]  # the checker lets nothing else pass
    document = _without_nulls(document)
    if _passes(document, "check"):
        return document  # type: ignore[return-value]
    raise ConfigError(_explained(document))


def check_process(document: object) -> dict[str, Any]:
    """A process on its own, as exec reads it with --process. Raises ConfigError."""
    document = _part(document, "process")
    found = semantics.process_faults(document, "") + semantics.nul_faults(document)
    if found:
        raise ConfigError(found)
    return document


def check_resources(document: object) -> dict[str, Any]:
    """Resources on their own, as update reads them. Raises ConfigError."""
    document = _part(document, "resources")
    found = semantics.resources_faults(document, "") + semantics.nul_faults(document)
    if found:
        raise ConfigError(found)
    return document


def _part(document: object, name: str) -> dict[str, Any]:
    """The document if it has the shape of a definition of the schema, without nulls."""
    document = _without_nulls(document)
    if _passes(document, "check_" + name, name):
        return document  # type: ignore[return-value]
    from pyruntime import resumed

    resumed.leave()
    from pyruntime import explain

    raise ConfigError([fault.line() for fault in explain.faults(document, name)])


def _loads(text: bytes) -> object:
    try:
        return documents.loads(text)
    except documents.DocumentError as error:
        raise ConfigError([f".: {error}"]) from None


def _read_all(fd: int, path: str, pipes: bool) -> bytes:
    status = posix.fstat(fd)
    kind = status.st_mode & _TYPE_BITS
    if kind != _REGULAR and not (pipes and kind == _FIFO):
        raise PyruntimeError(f"{path} is not a regular file")
    text = b""
    while len(text) <= SIZE_LIMIT:
        piece = posix.read(fd, min(status.st_size or _PIECE, SIZE_LIMIT) + 1)
        if not piece:
            return text
        text += piece
    raise PyruntimeError(f"{path} is larger than {SIZE_LIMIT} bytes")


def _unreadable(path: str, error: OSError) -> str:
    """Engines and people know runc's words for a file that is missing."""
    name = path.rpartition("/")[2]
    if error.errno == errno.ENOENT and name == "config.json":
        return f"JSON specification file {name} not found"
    return f"open {path}: {posix.strerror(error.errno or 0).lower()}"


def _passes(document: object, function: str, definition: str = "") -> bool:
    try:
        from pyruntime.generated import config_checker
    except ImportError:  # not built: slower, and with the same answer
        from pyruntime import explain

        return not explain.faults(document, definition)
    try:
        getattr(config_checker, function)(document)
    except config_checker.RefusedError:
        return False
    return True


def _without_nulls(value: object, keep: bool = False) -> Any:
    """A copy without null members. Annotations keep them: they must be strings (R250)."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(member, name == "annotations")
            for name, member in value.items()
            if member is not None or keep
        }
    if isinstance(value, list):
        return [_without_nulls(element) for element in value]
    return value


def _explained(document: object) -> list[str]:
    """Every fault of a refused document: of its shape first, then of what is sound in it."""
    from pyruntime import resumed

    resumed.leave()
    from pyruntime import explain

    try:
        found = explain.faults(document)
    except ImportError:
        return [".: not the shape of config.json; install jsonschema to see every fault"]
    sound = explain.without(document, found)
    lines = [fault.line() for fault in found]
    if isinstance(sound, dict):
        lines += [line for line in semantics.faults(sound) if not _is_told(line, lines)]
    return lines or [".: not the shape of config.json"]


def _is_told(line: str, lines: list[str]) -> bool:
    """Whether a line is about a place that another line is about already."""
    place = line.partition(": ")[0]
    return any(other.partition(": ")[0] == place for other in lines)
