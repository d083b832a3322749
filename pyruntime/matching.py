"""The containers that a command line names: one id, or all that match with --regex."""

from __future__ import annotations

from pyruntime import state
from pyruntime.errors import PyruntimeError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def each(request: Request) -> list[state.Container]:
    """Load the container, or with --regex every one whose id matches the extended expression."""
    name = request.arguments[0]
    if not request.options.get("regex"):
        return [state.load(request.root, name)]
    found = []
    for identifier in matching(request.root, name):
        try:
            found.append(state.load(request.root, identifier))
        except StateError:
            continue  # deleted meanwhile, or torn: an expression does not name it
    return found


def matching(root: str, expression: str) -> list[str]:
    """The ids that match. Raises PyruntimeError for a bad expression."""
    import re

    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise PyruntimeError(f"invalid regular expression {expression!r}: {error}") from None
    return [identifier for identifier in state.identifiers(root) if pattern.search(identifier)]
