"""Signals by number or by name (runtimes.md of runc: `9`, `KILL`, `SIGKILL`, in any case)."""

from __future__ import annotations

import _signal

from pyruntime.errors import PyruntimeError

ALIASES = {"IOT": "ABRT", "CLD": "CHLD", "POLL": "IO", "UNUSED": "SYS"}
GREATEST = 64


def number(text: str) -> int:
    """The signal of that number or name. Raises PyruntimeError for an unknown one."""
    if text.lstrip("-").isdigit():
        value = int(text)
        if not 0 <= value <= GREATEST:
            raise PyruntimeError("unable to signal init: invalid argument (1 to 64 are signals)")
        return value
    name = text.upper().removeprefix("SIG")
    value = _named(ALIASES.get(name, name))
    if not value:
        raise PyruntimeError(
            f"unknown signal {text!r} (a number, or a name such as TERM or SIGTERM)"
        )
    return value


def _named(name: str) -> int:
    for prefix, base in (("RTMIN", _signal.SIGRTMIN), ("RTMAX", _signal.SIGRTMAX)):
        offset = name.removeprefix(prefix)
        if offset != name:
            digits = offset.lstrip("+-")
            return int(base) + (int(offset) if digits.isdigit() else 0)
    return int(getattr(_signal, "SIG" + name, 0))
