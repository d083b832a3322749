"""A timeline as an SVG image: a lane for each thread, a box for each event."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.timeline.events import Event, Timeline

WIDTH = 1400
MARGIN = 20
HEADING = 60
LANE = 64
BOX = 30
LETTER = 6.6  # the width of a letter of 11 px
THINNEST = 0.6
HOTTEST = 10
LINE = 18
TICKS = 10
FAILED = "#c0392b"
COLOURS = (
    "#4e79a7",
    "#f28e2b",
    "#59a14f",
    "#b07aa1",
    "#76b7b2",
    "#edc948",
    "#9c755f",
    "#86bcb6",
    "#d4a6c8",
    "#8cd17d",
)


def draw(timeline: Timeline, title: str) -> str:
    """The image as text. Boxes tell name, place and duration when pointed at."""
    lanes = len(timeline.lanes)
    list_top = HEADING + lanes * LANE + 40
    height = list_top + LINE * (HOTTEST + 1) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(MARGIN, 24, f"{title}: {_milliseconds(timeline.duration)} ms", 'font-size="15"'),
        *_axis(timeline, HEADING + lanes * LANE),
    ]
    colours = _colours(timeline)
    for number, (lane, events) in enumerate(timeline.lanes.items()):
        parts += _lane(lane, events, timeline, HEADING + number * LANE, colours)
    parts += _hottest(timeline, list_top, colours)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _colours(timeline: Timeline) -> dict[str, str]:
    """A colour for each name, in the order in which they appear."""
    names = dict.fromkeys(each.name for lane in timeline.lanes.values() for each in lane)
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def _place(timeline: Timeline, moment: float) -> float:
    whole = timeline.duration or 1.0
    return MARGIN + (moment - timeline.begin) / whole * (WIDTH - 2 * MARGIN)


def _axis(timeline: Timeline, bottom: int) -> list[str]:
    """Thin lines at round shares of the whole, with their time."""
    parts = []
    for tick in range(TICKS + 1):
        moment = timeline.begin + timeline.duration * tick / TICKS
        x = _place(timeline, moment)
        parts.append(
            f'<line x1="{x:.1f}" y1="{HEADING - 18}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
        )
        anchor = "start" if tick == 0 else "end" if tick == TICKS else "middle"
        label = f"{_milliseconds(moment - timeline.begin)} ms"
        parts.append(_text(x, bottom + 14, label, f'fill="#666" text-anchor="{anchor}"'))
    return parts


def _lane(
    name: str, events: list[Event], timeline: Timeline, top: int, colours: dict[str, str]
) -> list[str]:
    parts = [_text(MARGIN, top, name, 'font-weight="bold"')]
    return parts + [_box(event, timeline, top + 8, colours[event.name]) for event in events]


def _box(event: Event, timeline: Timeline, top: int, colour: str) -> str:
    x = _place(timeline, event.begin)
    width = max(THINNEST, _place(timeline, event.end) - x)
    fill = FAILED if event.errno else colour
    hint = escape(f"{event.label()}: {_milliseconds(event.duration)} ms")
    box = (
        f'<g><title>{hint}</title><rect x="{x:.2f}" y="{top}" width="{width:.2f}" '
        f'height="{BOX}" fill="{fill}"/>'
    )
    if width > (len(event.name) + 1) * LETTER:
        box += _text(x + 3, top + 19, event.name, 'fill="white" pointer-events="none"')
    return box + "</g>"


def _hottest(timeline: Timeline, top: int, colours: dict[str, str]) -> list[str]:
    parts = [_text(MARGIN, top, "hottest operations", 'font-weight="bold"')]
    for number, event in enumerate(timeline.hottest(HOTTEST), 1):
        y = top + number * LINE
        fill = FAILED if event.errno else colours[event.name]
        parts.append(f'<rect x="{MARGIN}" y="{y - 9}" width="10" height="10" fill="{fill}"/>')
        time = f"{_milliseconds(event.duration)} ms"
        parts.append(_text(MARGIN + 80, y, time, 'text-anchor="end"'))
        parts.append(_text(MARGIN + 92, y, f"{event.lane}: {event.label()}", ""))
    return parts


def _text(x: float, y: float, text: str, attributes: str) -> str:
    space = " " if attributes else ""
    return f'<text x="{x:.1f}" y="{y}"{space}{attributes}>{escape(text)}</text>'


def escape(text: str) -> str:
    """Text for XML, which has no way to write control characters and lone surrogates."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.3f}"
