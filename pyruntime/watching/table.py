"""A live table on a terminal, drawn by rich; loaded only when somebody looks at it."""

from __future__ import annotations

import signal
import sys
import time

from pyruntime.errors import PyruntimeError
from pyruntime.packages import import_package
from pyruntime.watching.rows import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Table:
    """Events of one container as a table that is drawn anew with each figure.

    Raises PyruntimeError if the package rich is not installed.
    """

    def __init__(self, identifier: str) -> None:
        self._identifier = identifier
        self._before: tuple[float, dict[str, Any]] | None = None
        self._kills = 0
        self._rows: list[tuple[str, str, str]] = []
        self._live = _live()
        # The cursor is hidden meanwhile: an end by signal must bring it back, too.
        signal.signal(signal.SIGTERM, _terminated)
        self._live.start()

    def stats(self, figures: dict[str, Any]) -> None:
        """Show the figures of one moment (`cgroups.stats.collect`), and rates since the last."""
        now = time.monotonic()
        since, before = self._before or (now, None)
        self._rows = rows(figures, before, now - since, self._kills)
        self._before = (now, figures)
        self._draw()

    def oom(self) -> None:
        """Count a process that the kernel ended; the next figures show it."""
        self._kills += 1

    def close(self) -> None:
        """Leave the last table on the terminal, with its cursor."""
        self._live.stop()

    def _draw(self) -> None:
        table = import_package("rich.table").Table(title=self._identifier, title_justify="left")
        table.add_column("figure")
        table.add_column("now", justify="right", min_width=10)
        table.add_column("", style="dim")
        for row in self._rows:
            table.add_row(*row)
        self._live.update(table, refresh=True)


def _live() -> Any:
    """Drawn when told to, without a thread of its own."""
    try:
        console = import_package("rich.console").Console()
        return import_package("rich.live").Live(console=console, auto_refresh=False)
    except ModuleNotFoundError as error:
        raise PyruntimeError(
            f"the table needs the Python package rich ({error}); install it, or use --format json"
        ) from None


def _terminated(number: int, frame: object) -> None:
    sys.exit(128 + number)
