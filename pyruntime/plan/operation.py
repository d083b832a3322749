"""One operation of a plan, as Python holds it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Argument = int | str | bytes | list[str] | None


class Operation:
    """A kernel operation: its number and arguments in the order of spec/plan.toml.

    `at` is the JSON path that asks for it. `pardons` holds up to two pairs
    (errno, count): if the operation fails with that errno, the plan goes on
    past the next `count` operations.
    """

    __slots__ = ("arguments", "at", "number", "pardons")

    def __init__(self, number: int, arguments: tuple[Argument, ...]) -> None:
        self.number = number
        self.arguments = arguments
        self.at = ""
        self.pardons: tuple[tuple[int, int], ...] = ()
