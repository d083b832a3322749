"""The times of a create as Chrome trace-event JSON: what took how long, on both sides.

Open the file in chrome://tracing or in Perfetto. Host steps and the init's
operations are two threads of one process; times are microseconds since the
first step.
"""

from __future__ import annotations

import time

from pyruntime import documents, failures
from pyruntime.state import write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.init_process import InitProcess

HOST, INIT = 1, 2


class Trace:
    """Collects the host side's steps; each lasts until the next."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []

    def mark(self, step: str) -> None:
        """A step begins now."""
        self.steps.append((step, time.monotonic_ns()))

    def write(self, path: str, init: InitProcess) -> None:
        """Write host steps and init operations to a file."""
        events = [_name(HOST, "host"), _name(INIT, "init"), *self._host(), *self._init(init)]
        text = documents.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
        write_atomically(path, text.encode(), 0o644)

    def _host(self) -> list[dict[str, Any]]:
        pairs = zip(self.steps, self.steps[1:], strict=False)
        zero = self._zero()
        return [_event(HOST, name, begin, end, zero, {}) for (name, begin), (_, end) in pairs]

    def _init(self, init: InitProcess) -> list[dict[str, Any]]:
        begin, outcomes = init.outcomes()
        events = []
        for operation, (value, errno, end) in zip(init.plan.operations, outcomes, strict=True):
            if end == 0:
                continue
            name = failures.name_of(operation.number)
            details = {"at": operation.at, "value": value, "errno": errno}
            events.append(_event(INIT, name, begin, end, self._zero(), details))
            begin = end
        return events

    def _zero(self) -> int:
        return self.steps[0][1]


def _event(
    thread: int, name: str, begin: int, end: int, zero: int, details: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "ph": "X",
        "pid": 1,
        "tid": thread,
        "ts": (begin - zero) / 1000,
        "dur": (end - begin) / 1000,
        "args": details,
    }


def _name(thread: int, name: str) -> dict[str, Any]:
    return {"name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": {"name": name}}
