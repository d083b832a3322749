"""pyruntime trace: draw what --trace of create and run has recorded."""

from __future__ import annotations

import shutil
import sys

from pyruntime.commands.update import read
from pyruntime.errors import PyruntimeError
from pyruntime.failures import reason
from pyruntime.timeline import bars, events, svg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Print bars; with --svg write an image too. Raises PyruntimeError if it is no trace."""
    path = request.arguments[0]
    timeline = events.load(read(path), path)
    image = request.options.get("svg")
    if image:
        _write(image, svg.draw(timeline, path.rpartition("/")[2]))
    plain = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()
    width = shutil.get_terminal_size((120, 24)).columns
    sys.stdout.write("".join(line + "\n" for line in bars.lines(timeline, width, plain)))
    return 0


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise PyruntimeError(f"open {path}: {reason(error.errno or 0)}") from None
