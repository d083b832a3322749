"""The events of a recorded trace, in the form of Chrome's trace events."""

from __future__ import annotations

from pyruntime import documents, failures
from pyruntime.errors import PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMPLETE = "X"
METADATA = "M"


class Event:
    """Something that took time: `begin` and `duration` are microseconds.

    `at` is the place in config.json that asked for it, `errno` why it failed, or 0.
    """

    __slots__ = ("at", "begin", "duration", "errno", "lane", "name")

    def __init__(self, lane: str, name: str, begin: float, duration: float) -> None:
        self.lane = lane
        self.name = name
        self.begin = begin
        self.duration = duration
        self.at = ""
        self.errno = 0

    @property
    def end(self) -> float:
        """When it ended, in microseconds."""
        return self.begin + self.duration

    def label(self) -> str:
        """The name, the place and the failure, for people."""
        parts = [self.name, self.at]
        if self.errno:
            parts.append(f"({failures.reason(self.errno)})")
        return " ".join(part for part in parts if part)


class Timeline:
    """The events of a trace by lane (host, init), each lane in the order of time."""

    def __init__(self, events: list[Event]) -> None:
        self.lanes: dict[str, list[Event]] = {}
        for event in sorted(events, key=lambda event: event.begin):
            self.lanes.setdefault(event.lane, []).append(event)
        self.begin = min((event.begin for event in events), default=0.0)
        self.end = max((event.end for event in events), default=0.0)

    @property
    def duration(self) -> float:
        """From the first beginning to the last end, in microseconds."""
        return self.end - self.begin

    def hottest(self, count: int) -> list[Event]:
        """The events that took longest, longest first.

        The host's waiting for the init is left out: what the init does meanwhile is listed.
        """
        events = [event for lane in self.lanes.values() for event in lane]
        if len(self.lanes) > 1:
            events = [event for event in events if (event.lane, event.name) != ("host", "wait")]
        return sorted(events, key=lambda event: -event.duration)[:count]


def load(text: bytes, name: str) -> Timeline:
    """The timeline in a file's text. Raises PyruntimeError if it is not a trace."""
    try:
        document = documents.loads(text)
        rows = document["traceEvents"] if isinstance(document, dict) else document
        if not isinstance(rows, list):
            raise TypeError
        lanes = _lanes(rows)
        events = [_event(row, lanes) for row in rows if row["ph"] == COMPLETE]
    except documents.DocumentError as error:
        raise PyruntimeError(f"{name}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise PyruntimeError(f"{name}: not a trace as --trace writes it") from None
    if not events:
        raise PyruntimeError(f"{name}: no event has a duration")
    return Timeline(events)


def _lanes(rows: list[Any]) -> dict[object, str]:
    """Thread numbers to names."""
    return {
        row["tid"]: str(row["args"]["name"])
        for row in rows
        if row["ph"] == METADATA and row["name"] == "thread_name"
    }


def _event(row: dict[str, Any], lanes: dict[object, str]) -> Event:
    lane = lanes.get(row.get("tid"), f"thread {row.get('tid')}")
    event = Event(lane, str(row["name"]), float(row["ts"]), max(0.0, float(row["dur"])))
    details = row.get("args") or {}
    event.at = str(details.get("at") or "")
    event.errno = int(details.get("errno") or 0)
    return event
