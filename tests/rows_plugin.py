"""Count the requirement rows that passing tests cover.

A test names its rows with ``@pytest.mark.rows("R15", "R16")``. At the end of a run
the plugin prints how many of the rows in requirement_rows.txt have a passing test,
and with -v or PYRUNTIME_ROWS=1 also the others, each with its reason from
reasons.txt if it stands there.

With --second-try the run counts as the continuation of the one before: the rows
join those already counted, and each test that passes is printed as unsteady,
because only tests that failed the first time are run again.

Loaded by ``-p tests.rows_plugin`` (make does) or by tests/conftest.py. With xdist
the counting happens in the controller: the rows travel in each report.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CACHE_KEY = "pyruntime/rows"
NAME = "requirement-rows"


def read_table(path: Path) -> dict[str, str]:
    """The lines ``R12  text`` of a file, as number to text; # begins a comment line."""
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = [line.split(maxsplit=1) for line in lines if re.match(r"R\d", line)]
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def rows_of(item: pytest.Item) -> list[str]:
    """Every row that a test names, in all of its marks."""
    return [str(row) for mark in item.iter_markers("rows") for row in mark.args]


class RowCounter:
    """Gathers the rows of passing tests and prints them at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.titles = read_table(HERE / "requirement_rows.txt")
        self.reasons = read_table(HERE / "reasons.txt")
        self.passed: set[str] = set()
        self.named: set[str] = set()
        self.unsteady: list[str] = []
        self.second_try = bool(config.getoption("second_try"))
        # Absent under -p no:cacheprovider.
        self.cache: pytest.Cache | None = getattr(config, "cache", None)
        if self.second_try and self.cache is not None:
            self.passed.update(self.cache.get(CACHE_KEY, []))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give each test its rows, and refuse a row that does not exist."""
        for item in items:
            rows = rows_of(item)
            unknown = [row for row in rows if row not in self.titles]
            if unknown:
                raise pytest.UsageError(f"{item.nodeid}: no such row: {', '.join(unknown)}")
            if rows:
                item.user_properties.append(("rows", " ".join(rows)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the rows out of a report; only the call itself counts as passing."""
        if report.when != "call":
            return
        rows = [
            row
            for name, value in report.user_properties
            if name == "rows"
            for row in str(value).split()
        ]
        self.named.update(rows)
        # A test that is expected to fail says that a row does not work, whatever it did.
        if report.passed and not hasattr(report, "wasxfail"):
            self.passed.update(rows)
            if self.second_try:
                self.unsteady.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Keep the rows for a second try; xdist's workers have nothing to keep."""
        if self.cache is not None and not hasattr(self.config, "workerinput"):
            self.cache.set(CACHE_KEY, sorted(self.passed))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the count, what was unsteady, and on request what is missing."""
        write = terminalreporter.write_line
        for nodeid in self.unsteady:
            write(f"unsteady: {nodeid} failed, then passed when run again by itself")
        counted = len(self.passed & self.titles.keys())
        write(f"requirement rows: {counted} of {len(self.titles)} have a passing test")
        if self.config.get_verbosity() > 0 or os.environ.get("PYRUNTIME_ROWS"):
            for row, title in self.titles.items():
                if row not in self.passed:
                    write(f"  {row:<5} {title} ({self.why_missing(row)})")

    def why_missing(self, row: str) -> str:
        """What there is to say about a row without a passing test."""
        if row in self.named:
            return "its tests did not pass"
        return self.reasons.get(row) or "no test ran"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --second-try."""
    parser.getgroup("requirement rows").addoption(
        "--second-try",
        action="store_true",
        dest="second_try",
        help="this run repeats the tests that failed in the one before",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start counting, once."""
    if not config.pluginmanager.has_plugin(NAME):
        config.pluginmanager.register(RowCounter(config), NAME)
