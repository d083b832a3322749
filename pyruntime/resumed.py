"""Going on from the snapshot of an interpreter (pyruntime/snapshot), and leaving it.

The snapshot holds the modules of the verbs that engines call. It has no shared objects but
those that were put into it, so what needs one (ctypes, jsonschema, click's help) is left to
the interpreter that the launcher would have started otherwise. It gets the same words, and
nothing must have been changed by then that it would not find and do again.
"""

from __future__ import annotations

import _io
import _signal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

# Of modules that are not in the snapshot Python's own path would find the source.
VERBS = ("create", "run", "exec", "start", "state", "kill", "delete", "pause", "resume", "update")


class Snapshot:
    """`words` are those this process was started with, none if there is no snapshot;
    `directory` is where it was started.
    """

    words: tuple[str, ...] = ()
    directory = ""


class Stream:
    """Standard output as Python makes it, but only when something is written."""

    def __init__(self, descriptor: int, errors: str) -> None:
        self.descriptor = descriptor
        self.errors = errors
        self.encoding = "utf-8"
        self.real: Any = None

    def write(self, text: str) -> int:
        """As io.TextIOWrapper; OSError if it is closed."""
        if self.real is None:
            self.real = _io.open(
                self.descriptor, "w", -1, "utf-8", self.errors, newline="\n", closefd=False
            )
        written: int = self.real.write(text)
        return written

    def flush(self) -> None:
        """Nothing, as long as nothing was written."""
        if self.real is not None:
            self.real.flush()


def resume(words: list[str], interrupts: int) -> NoReturn:
    """Be the command. `words`: the snapshot, "PYTHON FLAGS", the script, its own words.

    `interrupts`: whoever started it has not told it to ignore ^C.
    """
    from pyruntime.__main__ import main

    Snapshot.words = tuple(words)
    sys.argv = words[2:]
    sys.stdin = None  # nobody reads it but by its descriptor
    sys.stdout = Stream(1, "surrogateescape")
    sys.stderr = Stream(2, "backslashreplace")
    _set_signals(interrupts)
    try:
        Snapshot.directory = posix.getcwd()
    except FileNotFoundError:
        pass  # it was removed; where else could one be
    main()


def leave(verb: str = "") -> None:
    """Become the interpreter, unless this is it, or unless the verb is one of the snapshot's.

    Nothing may have been changed yet.
    """
    if not Snapshot.words or verb in VERBS:
        return
    if Snapshot.directory:
        posix.chdir(Snapshot.directory)
    python, _, flags = Snapshot.words[1].partition(" ")
    posix.execv(python, [python, *([flags] if flags else ()), *Snapshot.words[2:]])


def _set_signals(interrupts: int) -> None:
    """As Python does when it starts: errors instead of SIGPIPE, an exception for ^C."""
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    if interrupts:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
