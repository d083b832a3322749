"""Conformance on a kernel that lacks system calls: WITHOUT_CALLS=clone3 pytest conformance

Every command of the runtime runs under a filter (without_calls.py) that answers those calls with
ENOSYS; the tests themselves do not. A test then has one of these outcomes:

    passed    the runtime has another way, or does not need the call here
    refused   the test failed, and a command in it was refused in words that name the call, the
              release of Linux that has it, and the one that is needed
    failed    anything else. Also, whatever the test says, a traceback, an ENOSYS without those
              words, a refusal with a wrong status, or traces of a container whose create was
              refused; and a command that did not end.

SPARED_VERBS=create,run lets these have all calls, so that there are containers for the others.
Loaded by conftest.py. Other processes that a test starts by `runtime.command` count as well, for
what they write lies in the test's directory.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.runtime import NO_END, Container, Result, Runtime, leftovers, wait_for, watchers
from conformance.without_calls import words_without
from pyruntime.failures import NEEDED, RELEASES

VARIABLE = "WITHOUT_CALLS"
SPARED = "SPARED_VERBS"
NAME = "kernel-floor"
REFUSED = "refused in words"
LARGEST = 1 << 20  # bytes of a file that is looked through
UNEXPLAINED = ("function not implemented", "[Errno 38]")


def missing_calls() -> str:
    """The calls that shall be missing, with commas between them; empty for none."""
    return os.environ.get(VARIABLE, "")


def explanation(call: str) -> str:
    """What a refusal says for want of the call."""
    return f"({call}(2) came with Linux {RELEASES.get(call, '?')}, pyruntime needs {NEEDED}"


@dataclass(frozen=True)
class Judge:
    """Tells what a test's outcome means where these calls are missing."""

    calls: tuple[str, ...]

    def refuses(self, *texts: str) -> bool:
        """Whether a text explains that one of the calls is missing."""
        return any(explanation(call) in text for call in self.calls for text in texts)

    def faults_of_text(self, text: str) -> list[str]:
        """What no command may write, whether or not it is refused."""
        faults = ["a traceback"] if "Traceback (most recent call last)" in text else []
        for line in text.splitlines():
            if any(word in line for word in UNEXPLAINED) and not self.refuses(line):
                faults.append(f"not explained: {line}")
        return faults

    def faults_of_result(self, result: Result) -> list[str]:
        """A refusal has the status of one, and is told once."""
        if not self.refuses(result.stderr):
            return []
        faults = []
        if result.status != (255 if _verb(result) == "exec" else 1):
            faults.append(f"refused with a wrong status: {result}")
        if result.stderr.count(UNEXPLAINED[0]) != 1:
            faults.append(f"refused more than once: {result}")
        return faults

    def faults_of_container(self, container: Container) -> list[str]:
        """What a refused create left of it."""
        texts = [
            result.stderr
            for result in container.runtime.results
            if _verb(result) in ("create", "run") and container.id in result.command
        ]
        if not self.refuses(texts[-1] if texts else container.errors()):
            return []

        def found() -> list[str]:
            lines = leftovers(container.runtime, container.id, container.bundle)
            return [line for line in lines if line not in container.found]

        def only_processes() -> bool:
            return not found() or not all(line.startswith("process: ") for line in found())

        try:
            wait_for(only_processes, f"the end of the processes of {container.id}")
        except AssertionError:
            pass  # they are among what is found
        return [f"left behind: {line}" for line in found()]

    def faults(self, runtimes: Iterable[Runtime], texts: Iterable[str]) -> list[str]:
        """All that is wrong in one test."""
        faults = [fault for text in texts for fault in self.faults_of_text(text)]
        for runtime in runtimes:
            for result in runtime.results:
                faults += self.faults_of_text(result.stderr) + self.faults_of_result(result)
            for container in runtime.containers:
                faults += self.faults_of_container(container)
        return list(dict.fromkeys(faults))


def _verb(result: Result) -> str:
    """The verb of a command line, as far as the verdict depends on it."""
    words = shlex.split(result.command)
    return next((word for word in words if word in ("create", "run", "exec")), "")


def texts_below(places: Iterable[Path]) -> list[str]:
    """The content of the files that lie in these directories, and not further down.

    What cannot be read, such as a namespace that a test has mounted there, was written by nobody.
    """
    found = []
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST:
                try:
                    found.append(path.read_text(errors="replace"))
                except OSError:
                    continue
    return found


class Floor:
    """The plugin: hands out a program without the calls, and judges each test."""

    def __init__(self, calls: str) -> None:
        self.calls = calls
        self.judge = Judge(tuple(calls.split(",")))
        self.before = shlex.join(words_without(calls))
        self.spared = os.environ.get(SPARED, "").replace(",", "|") or "''"
        self.runtimes: list[Runtime] = []

    def wrap(self, runtime: Runtime) -> None:
        """Make the program of this runtime one that lacks the calls."""
        path = runtime.workplace / "without" / os.path.basename(runtime.program)
        path.parent.mkdir(mode=0o755)
        program = shlex.quote(runtime.program)
        path.write_text(
            "#!/bin/sh\n"
            f'for word; do case $word in {self.spared}) exec {program} "$@";; esac; done\n'
            f'exec {self.before} {program} "$@"\n'
        )
        path.chmod(0o755)
        runtime.program = str(path)
        self.runtimes.append(runtime)

    def watch(self, text: str) -> None:
        """Say that a test waits in vain: something was refused, in the text or in a file."""
        if self.judge.refuses(text, *texts_below(each.workplace for each in self.runtimes)):
            raise AssertionError(f"waited in vain: {text}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Forget the runtimes of the test before."""
        self.runtimes.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Change the report to what the outcome means."""
        report = yield
        if call.when == "call" or report.failed:
            watchers.clear()
        if call.when != "teardown" and not report.skipped:
            places = [runtime.workplace for runtime in self.runtimes]
            own = getattr(item, "funcargs", {}).get("tmp_path")
            self.change(report, texts_below([*places, own] if own else places))
        return report

    def change(self, report: pytest.TestReport, texts: list[str]) -> None:
        """Set the outcome of a report; `texts` are what commands wrote to files."""
        faults = self.judge.faults(self.runtimes, texts)
        results = [result.stderr for runtime in self.runtimes for result in runtime.results]
        said = [*texts, *results, report.longreprtext]
        if faults:
            report.longrepr = "\n".join([report.longreprtext, *faults])
            report.outcome = "failed"
        elif report.failed and NO_END not in report.longreprtext and self.judge.refuses(*said):
            path, line, _ = report.location
            report.longrepr = (path, line or 0, f"{REFUSED}: {self.calls}")
            report.outcome = "skipped"
            report.refused = True  # type: ignore[attr-defined]

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A word of their own for tests in which the runtime refused."""
        return (REFUSED, "r", "REFUSED") if hasattr(report, "refused") else None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The counts, in one line."""
        words = (("passed",), ("xfailed",), (REFUSED,), ("failed", "error"), ("skipped",))
        count = {
            names[0]: sum(len(terminalreporter.stats.get(name, [])) for name in names)
            for names in words
        }
        terminalreporter.write_line(
            f"without {self.calls}: "
            + ", ".join(f"{number} {name}" for name, number in count.items())
        )


def install(config: pytest.Config) -> None:
    """Register the plugin, if calls shall be missing; UsageError if they cannot be."""
    calls = missing_calls()
    if not calls or config.pluginmanager.has_plugin(NAME):
        return
    try:
        config.pluginmanager.register(Floor(calls), NAME)
    except (ImportError, OSError) as error:
        raise pytest.UsageError(f"{VARIABLE}={calls}: no filter could be made: {error}") from error


@contextmanager
def hiding(config: pytest.Config, runtime: Runtime) -> Iterator[None]:
    """Hide the calls from the runtime's commands; what cleans up after a test has them again."""
    plugin = config.pluginmanager.get_plugin(NAME)
    program = runtime.program
    if plugin is not None:
        plugin.wrap(runtime)
        watchers[:] = [plugin.watch]
    yield
    watchers.clear()
    runtime.program = program
