"""pyruntime delete: remove a container (R39)."""

from __future__ import annotations

from pyruntime import deletion
from pyruntime.matching import matching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Delete one container, or with --regex each that matches."""
    name = request.arguments[0]
    names = matching(request.root, name) if request.options.get("regex") else [name]
    for identifier in names:
        failed = deletion.delete(request.root, identifier, bool(request.options.get("force")))
        for warning in failed:
            request.log.warning(warning)
    return 0
