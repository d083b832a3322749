"""pyruntime list: the containers under the root, as runc prints them."""

from __future__ import annotations

import sys

from pyruntime import documents, state
from pyruntime.commands.state import summary
from pyruntime.errors import PyruntimeError, StateError, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.request import Request

COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
NARROWEST = 12
PADDING = 3


def execute(request: Request) -> int:
    """A table, ids only with --quiet, or one line of JSON (`null` if there are none)."""
    if not request.root_is_default and not state.exists(request.root):
        raise PyruntimeError(f"open {request.root}: no such file or directory")
    form = request.options.get("format") or "table"
    if form not in ("table", "json"):
        raise PyruntimeError("invalid format option")
    if request.options.get("quiet"):
        sys.stdout.write("".join(f"{name}\n" for name in state.identifiers(request.root)))
        return 0
    rows = [row for name in state.identifiers(request.root) for row in _load(request, name)]
    sys.stdout.write(documents.dumps(rows or None) + "\n" if form == "json" else table(rows))
    return 0


def _load(request: Request, name: str) -> list[dict[str, Any]]:
    """One container's row; one that cannot be read is reported, and the list goes on."""
    try:
        container = state.load(request.root, name, to_act=False)
        row = summary(container)
    except UnknownContainer:
        return []
    except StateError as error:
        request.log.error(f"load container {name}: {error}")
        return []
    row["owner"] = owner(int(container.values.get("owner") or 0))
    return [row]


NAMES: dict[int, str] = {}


def owner(uid: int) -> str:
    """The user's name, or #uid for one without."""
    if uid not in NAMES:
        from pwd import getpwuid

        try:
            NAMES[uid] = getpwuid(uid).pw_name
        except KeyError:
            NAMES[uid] = f"#{uid}"
    return NAMES[uid]


def table(rows: list[dict[str, Any]]) -> str:
    """Columns as wide as they need to be, at least 12, with 3 spaces between."""
    cells = [list(COLUMNS)] + [[str(row[c.lower()]) for c in COLUMNS] for row in rows]
    widths = [
        max(NARROWEST, max(len(line[i]) for line in cells) + PADDING) for i in range(len(COLUMNS))
    ]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False))
        + line[-1]
        for line in cells
    ]
    return "".join(line + "\n" for line in lines)
