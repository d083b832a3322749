"""A timeline as lines of text: the hottest operations, then a bar for each step."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.timeline.events import Event, Timeline

HOTTEST = 10
LABEL = 44
NUMBERS = 24
NARROWEST = 20
EIGHTHS = " ▏▎▍▌▋▊▉"
FULL = "█"


class Row:
    """Events that follow each other and belong to the same place in the config."""

    def __init__(self, event: Event) -> None:
        self.events = [event]

    @property
    def begin(self) -> float:
        return self.events[0].begin

    @property
    def end(self) -> float:
        return self.events[-1].end

    def takes(self, event: Event) -> bool:
        """Whether an event belongs to this row: only the init's have a place."""
        return bool(event.at) and event.at == self.events[0].at

    def label(self) -> str:
        """The place and how many operations, or the one event."""
        if len(self.events) == 1:
            return self.events[0].label()
        return f"{self.events[0].at} ({len(self.events)} operations)"


def lines(timeline: Timeline, width: int, plain: bool = False) -> list[str]:
    """The whole report, at most `width` columns; `plain`: with ASCII characters alone."""
    result = [f"{_milliseconds(timeline.duration)} ms in all", "", "hottest operations"]
    result += [_hot(event, timeline, width) for event in timeline.hottest(HOTTEST)]
    room = max(NARROWEST, width - LABEL - NUMBERS - 4)
    for lane, events in timeline.lanes.items():
        result += ["", f"{lane:<{LABEL + 2}}{'begin ms':>11}{'took ms':>11}"]
        result += [_line(row, timeline, room, plain) for row in rows(events)]
    return result


def rows(events: list[Event]) -> list[Row]:
    """Neighbours of the same place, taken together."""
    result: list[Row] = []
    for event in events:
        if result and result[-1].takes(event):
            result[-1].events.append(event)
        else:
            result.append(Row(event))
    return result


def bar(begin: float, end: float, room: int, plain: bool) -> str:
    """A bar from `begin` to `end`, shares of the whole, in `room` columns; never empty."""
    first = min(int(begin * room), room - 1)
    if plain:
        return " " * first + "#" * max(1, round(end * room) - first)
    eighths = max(1, round((end - begin) * room * 8))
    eighths = min(eighths, (room - first) * 8)
    return " " * first + FULL * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _hot(event: Event, timeline: Timeline, width: int) -> str:
    share = 100 * event.duration / timeline.duration if timeline.duration else 0.0
    text = f"{_milliseconds(event.duration):>10} ms{share:>6.1f} %  {event.lane}: {event.label()}"
    return _cut(text, width)


def _line(row: Row, timeline: Timeline, room: int, plain: bool) -> str:
    whole = timeline.duration or 1.0
    begin, end = row.begin - timeline.begin, row.end - timeline.begin
    drawn = bar(begin / whole, end / whole, room, plain)
    numbers = f"{_milliseconds(begin):>11}{_milliseconds(end - begin):>11}"
    return f"  {_cut(row.label(), LABEL):<{LABEL}}{numbers}  {drawn}"


def _cut(text: str, width: int) -> str:
    """What comes from a file must not steer the terminal."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.3f}"
