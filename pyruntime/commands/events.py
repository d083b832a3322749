"""pyruntime events: what a container uses, and when its memory ran out (R295).

JSON lines in the form of runc's; a live table if it is a terminal that is written to.
"""

from __future__ import annotations

import select
import sys
import time

from pyruntime import processes, state
from pyruntime.cgroups import oom, stats
from pyruntime.errors import CgroupError, PyruntimeError, StateError
from pyruntime.watching.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.manager import Cgroup, NoCgroup
    from pyruntime.request import Request
    from pyruntime.watching.table import Table

_LONGEST_WAIT = 3600.0  # seconds; poll(2) counts milliseconds in an int
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def execute(request: Request) -> int:
    """Print events until the container stops, or with --stats one and no more."""
    form = _form(request)
    given = request.options.get("interval")
    interval = duration(given or ("1s" if form == "table" else "5s"))
    container = state.load(request.root, request.arguments[0])
    if interval <= 0:
        raise PyruntimeError("duration interval must be greater than 0")
    if container.status() in (state.STOPPED, state.CREATING):
        raise StateError(f"container with id {container.identifier} is not running")
    if request.options.get("stats"):
        Lines(container.identifier).stats(figures(container, container.cgroup()))
        return 0
    reporter = _reporter(form, container.identifier)
    try:
        Watch(container, interval / 1_000_000_000, reporter, request.log.warning).run()
    finally:
        reporter.close()
    return 0


def _form(request: Request) -> str:
    """json or table. Raises PyruntimeError for another --format, or for a table of one moment."""
    form = request.options.get("format") or "auto"
    if form not in ("auto", "json", "table"):
        raise PyruntimeError(f"invalid value {form!r} for flag -format: use json or table")
    if request.options.get("stats"):
        if form == "table":
            raise PyruntimeError("--stats prints JSON once: leave out --format table, or --stats")
        return "json"
    if form == "auto":
        return "table" if sys.stdout.isatty() else "json"
    return form


def _reporter(form: str, identifier: str) -> Lines | Table:
    if form == "json":
        return Lines(identifier)
    from pyruntime.watching.table import Table

    return Table(identifier)


def figures(container: state.Container, cgroup: Cgroup | NoCgroup) -> dict[str, Any]:
    """All figures of one moment. Raises CgroupError."""
    found = stats.collect(cgroup)
    if container.values.get("resctrl_tasks"):
        from pyruntime import resctrl_figures

        found["intel_rdt"] = resctrl_figures.collect(container)
    return found


class Watch:
    """One container under watch; `interval` is in seconds, `warn` is told what goes wrong."""

    def __init__(
        self, container: state.Container, interval: float, reporter: Lines | Table, warn: Any
    ) -> None:
        self.container = container
        self.cgroup = container.cgroup()
        self.interval = interval
        self.reporter = reporter
        self.warn = warn
        # Programs expect the first figures after one interval; people want to see some at once.
        self.next = time.monotonic() + (interval if isinstance(reporter, Lines) else 0)

    def run(self) -> None:
        """Print events until the container's first process is gone."""
        descriptor = processes.open_pidfd(self.container.pid, self.container.started)
        if descriptor == -1:
            return
        memory = self._watch_memory()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if memory:
            poll.register(memory.descriptor, memory.mask)
        stopped = False
        while not stopped:
            ready = poll.poll(self._wait())
            stopped = any(number == descriptor for number, _ in ready)
            # After the poll: what ended the container was counted before it ended.
            for _ in range(memory.count() if memory else 0):
                self.reporter.oom()
            if not stopped:
                self._tick()

    def _watch_memory(self) -> oom.WatchV1 | oom.WatchV2 | None:
        try:
            return oom.watch(self.cgroup)
        except CgroupError as error:
            self.warn(f"out of memory will not be noticed: {error}")
            return None

    def _wait(self) -> int:
        """Milliseconds until the next figures, rounded up."""
        left = min(self.next - time.monotonic(), _LONGEST_WAIT)
        return max(int(left * 1000) + 1, 0)

    def _tick(self) -> None:
        """Print figures if it is time; a turn that was missed is left out."""
        now = time.monotonic()
        if now < self.next:
            return
        self.next = max(self.next + self.interval, now)
        try:
            found = figures(self.container, self.cgroup)
        except CgroupError as error:
            self.warn(str(error))
            return
        self.reporter.stats(found)


def duration(text: str) -> int:
    """Nanoseconds of a duration as Go writes it: 5s, 100ms, 1m30s, 1.5h.

    Raises PyruntimeError.
    """
    rest = text[1:] if text[:1] in ("-", "+") else text
    total = 0
    if rest != "0":
        if not rest:
            raise _no_duration(text)
        while rest:
            amount, rest = _leading(rest, text)
            total += amount
    return -total if text[0] == "-" else total


def _leading(rest: str, text: str) -> tuple[int, str]:
    """The first number with its unit, in nanoseconds, and what follows."""
    end = 0
    while end < len(rest) and (rest[end] in "0123456789."):
        end += 1
    stop = end
    while stop < len(rest) and rest[stop] not in "0123456789.":
        stop += 1
    number, unit = rest[:end], rest[end:stop]
    whole, _, fraction = number.partition(".")
    if unit not in _UNITS or not whole + fraction or "." in fraction:
        raise _no_duration(text)
    scale = _UNITS[unit]
    below = int(fraction or 0) * scale // 10 ** len(fraction)
    return int(whole or 0) * scale + below, rest[stop:]


def _no_duration(text: str) -> PyruntimeError:
    return PyruntimeError(f'invalid value "{text}" for flag -interval: parse error')
