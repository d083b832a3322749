"""What one look at the host has found."""

from __future__ import annotations

YES = "yes"
NO = "no"
UNKNOWN = "unknown"


class Finding:
    """One ability of the host.

    `state`: YES, NO, or UNKNOWN where it could not be tried. `detail` says what was
    seen, `cost` what does not work without the ability. Containers can run only
    where nothing that is `needed` is missing.
    """

    __slots__ = ("cost", "detail", "group", "name", "needed", "state")

    def __init__(
        self, name: str, state: str, detail: str = "", cost: str = "", needed: bool = False
    ) -> None:
        self.group = ""
        self.name = name
        self.state = state
        self.detail = detail
        self.cost = cost
        self.needed = needed

    def as_json(self) -> dict[str, str | bool]:
        """The finding as --json shows it; `cost` only for a gap."""
        result: dict[str, str | bool] = {
            "group": self.group,
            "name": self.name,
            "state": self.state,
            "needed": self.needed,
        }
        if self.detail:
            result["detail"] = self.detail
        if self.cost and self.state != YES:
            result["cost"] = self.cost
        return result


def can_run(findings: list[Finding]) -> bool:
    """Whether this host has all that a container cannot be without."""
    return not any(each.needed and each.state == NO for each in findings)
