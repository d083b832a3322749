"""A plan while it is being compiled."""

from __future__ import annotations

from pyruntime.plan import operations as op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.operation import Operation

AT_FDCWD = -1


class Plan:
    """Operations in order, the slots they use, and warnings for the log.

    `at` is the JSON path which the operations added now belong to.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.slots: dict[str, int] = {}
        self.warnings: list[str] = []
        self.at = ""
        self.joined = False  # is the process in its cgroup at this point?

    def slot(self, name: str) -> int:
        """The number of the slot of that name; a new one the first time."""
        return self.slots.setdefault(name, len(self.slots))

    def add(self, operation: Operation, *pardons: tuple[int, int]) -> None:
        """Append an operation; `pardons` as in Operation."""
        operation.at = self.at
        operation.pardons = pardons
        self.operations.append(operation)

    def attempt(self, errnos: tuple[int, ...], first: Operation, *rest: Operation) -> None:
        """Add operations of which `rest` is left out when `first` fails with one of `errnos`."""
        self.add(first, *[(errno, len(rest)) for errno in errnos])
        for operation in rest:
            self.add(operation)

    def either(
        self, errnos: tuple[int, ...], first: list[Operation], otherwise: list[Operation]
    ) -> None:
        """Add `first`, and `otherwise` for when one of it fails with one of `errnos`."""
        for index, operation in enumerate(first):
            left = len(first) - index  # the rest of first, and the skip after it
            self.add(operation, *[(errno, left) for errno in errnos])
        self.add(op.skip(len(otherwise)))
        for operation in otherwise:
            self.add(operation)

    def close(self, name: str) -> None:
        """Close the slot of that name and forget the name."""
        self.add(op.close(self.slots[name]))
