"""One JSON object a line, in the form of runc's events (R295)."""

from __future__ import annotations

import sys

from pyruntime import documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Lines:
    """Events of one container as JSON on standard output."""

    def __init__(self, identifier: str) -> None:
        self._identifier = identifier

    def stats(self, figures: dict[str, Any]) -> None:
        """The figures of one moment (`cgroups.stats.collect`)."""
        self._emit({"type": "stats", "id": self._identifier, "data": figures})

    def oom(self) -> None:
        """The kernel ended a process, for memory ran out."""
        self._emit({"type": "oom", "id": self._identifier})

    def close(self) -> None:
        """Nothing to be put back."""

    def _emit(self, event: dict[str, Any]) -> None:
        """Print at once: whoever reads it waits for it."""
        sys.stdout.write(documents.dumps(event) + "\n")
        sys.stdout.flush()
