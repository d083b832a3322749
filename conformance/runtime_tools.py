"""Run the validation tests of opencontainers/runtime-tools on our runtime and on an oracle.

    python -m conformance.runtime_tools --tree DIR [--runtime OURS] [--oracle runc]

DIR is a tree of runtime-tools in which its test programs (validation/TEST/TEST.t) and its
`runtimetest` have been built; none of it is part of this project. One table compares the two
runtimes. The exit status is 1 when an assertion that the oracle passes fails with ours and is not
listed, with its reason, in runtime_tools_known.toml; 2 when nothing could be compared.

The tests share fixed cgroup names, so they run one after the other. Each runtime is called through
a small script that gives it a state directory of its own, from which leftovers are removed.

Some tests ask for a container without a mount namespace, and then its mounts, /proc and /sys among
them, are made in the caller's. So everything runs in a mount namespace of its own, what was mounted
is unmounted after each test, and no directory is removed across a mount point.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

KNOWN_FILE = Path(__file__).with_name("runtime_tools_known.toml")
OURS_DEFAULT = Path(__file__).parent.parent / "bin" / "pyruntime"
ENDED_WELL = "(the test program ends with status 0)"
NO_STRAY_ERROR = "(no error outside the assertions)"
NOT_REACHED = "not reached"
ASSERTION = re.compile(r"^(not )?ok\b *\d* *(?:- )?(.*)$")
DIRECTIVE = re.compile(r"^(.*?)# *(SKIP|TODO)\b *(.*)$", re.IGNORECASE)
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
IN_NAMESPACE = "PYRUNTIME_RUNTIME_TOOLS_NAMESPACE"
# Where the tests put cgroups; a test that fails leaves them behind.
CGROUPS = ("cgrouptest", "testdir/cgrouptest/container", "testdir/cgrouptest", "testdir")


class Assertion:
    """One line `ok` or `not ok` of TAP, and what was said about it.

    `name` is the text of the assertion; when a test has several of one name, the second and later
    ones have the number of the occurrence in `key`.
    """

    __slots__ = ("detail", "key", "name", "passed", "skipped")

    def __init__(
        self, name: str, passed: bool, *, skipped: bool = False, detail: str = "", key: str = ""
    ) -> None:
        self.name = name
        self.passed = passed
        self.skipped = skipped
        self.detail = detail
        self.key = key or name

    def __repr__(self) -> str:
        word = "skip" if self.skipped else "ok" if self.passed else "not ok"
        return f"<{word} {self.key}>"


class Difference:
    """An assertion that comes out otherwise with ours than with the oracle.

    `kind` is "worse", "known" (worse, and listed) or "better".
    """

    __slots__ = ("detail", "key", "kind")

    def __init__(self, kind: str, key: str, detail: str) -> None:
        self.kind = kind
        self.key = key
        self.detail = detail

    def __repr__(self) -> str:
        return f"<{self.kind}: {self.key}>"


Outcome = dict[str, Assertion]
Known = dict[tuple[str, str], str]


class _Reader:
    """The state of reading one TAP document."""

    def __init__(self) -> None:
        self.assertions: list[Assertion] = []
        self.stray: list[str] = []
        self._ahead = ""
        self._explained = False

    def assertion(self, failed: bool, text: str) -> None:
        directive = DIRECTIVE.match(text)
        word = directive[2].upper() if directive else ""
        name = (directive[1].strip(" -") or directive[3]) if directive else text
        skipped = word == "SKIP"
        passed = word == "TODO" or (not failed and not skipped)
        self.assertions.append(Assertion(name, passed, skipped=skipped, detail=self._ahead))
        self._ahead, self._explained = "", False

    def comment(self, text: str) -> None:
        if self.assertions:
            self._add(text)

    def block(self, text: str) -> None:
        values = _json_object(text)
        if "stdout" in values:
            # The output of a test inside the container stands before the assertion it explains.
            self._ahead = _nested_failures(values)
        elif self.assertions and not self._explained:
            self._add(_explanation(values) or text)
            self._explained = True
        elif values.get("error"):
            self.stray.append(_explanation(values))

    def _add(self, text: str) -> None:
        last = self.assertions[-1]
        last.detail = f"{last.detail}\n{text}".strip()


def _json_object(text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _explanation(values: dict[str, object]) -> str:
    names = ("error", "stderr", "actual", "expected")
    return "\n".join(f"{name}: {values[name]}".strip() for name in names if values.get(name))


def _nested_failures(values: dict[str, object]) -> str:
    inner = [item for item in parse(str(values["stdout"])) if not item.passed and not item.skipped]
    lines = [f"{item.name}: {item.detail}" for item in inner]
    return "\n".join([*lines, str(values.get("stderr", ""))]).strip()


def _numbered(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    seen: dict[str, int] = {}
    for item in assertions:
        seen[item.name] = seen.get(item.name, 0) + 1
        if seen[item.name] > 1:
            item.key = f"{item.name} [{seen[item.name]}]"
        yield item


def parse(text: str) -> list[Assertion]:
    """Return the assertions of a TAP 13 document in order.

    An error that is reported in a block of its own, outside any assertion, as runtime-tools does
    when a test breaks off, becomes a failed assertion `NO_STRAY_ERROR`.
    """
    reader = _Reader()
    block: list[str] | None = None
    for line in text.splitlines():
        match = ASSERTION.match(line)
        if block is not None:
            if line.strip() == "...":
                reader.block(textwrap.dedent("\n".join(block)))
                block = None
            else:
                block.append(line)
        elif line.strip() == "---":
            block = []
        elif match:
            reader.assertion(bool(match[1]), match[2].strip())
        elif line.startswith("#"):
            reader.comment(line[1:].strip())
    if reader.stray:
        reader.assertions.append(Assertion(NO_STRAY_ERROR, False, detail=reader.stray[0]))
    return list(_numbered(reader.assertions))


def outcome(output: str, errors: str, status: int | None) -> Outcome:
    """Return the assertions of one run by key, with how the program ended as one more.

    `status` is the exit status, or None when the program had to be killed for taking too long.
    """
    items = parse(output)
    if not any(item.name == NO_STRAY_ERROR for item in items):
        items.append(Assertion(NO_STRAY_ERROR, True))
    ending = "killed: took too long" if status is None else f"exit status {status}"
    detail = f"{ending}\n{errors}".strip()
    items.append(Assertion(ENDED_WELL, status == 0, detail=detail))
    return {item.key: item for item in items}


def _judge(test: str, key: str, ours: Outcome, theirs: Outcome, known: Known) -> Difference | None:
    mine, other = ours.get(key), theirs.get(key)
    i_pass, other_passes = bool(mine and mine.passed), bool(other and other.passed)
    if i_pass == other_passes:
        return None
    if mine is not None and i_pass:
        return Difference("better", key, other.detail if other else "")
    name = other.name if other else key
    detail = NOT_REACHED if mine is None else "skipped" if mine.skipped else mine.detail
    reason = known.get((test, name))
    return Difference("known", key, reason) if reason else Difference("worse", key, detail)


def compare(test: str, ours: Outcome, theirs: Outcome, known: Known) -> list[Difference]:
    """Return where the two outcomes of a test differ, in the order of the oracle's assertions.

    An assertion that ours skips or never reaches counts as failed: what the oracle has shown, ours
    has not.
    """
    keys = dict.fromkeys([*theirs, *ours])
    found = (_judge(test, key, ours, theirs, known) for key in keys)
    return [difference for difference in found if difference is not None]


def load_known(path: Path) -> Known:
    """Return the reasons by test and assertion.

    Raises ValueError when an entry is not complete: nothing is excused without a reason.
    """
    with path.open("rb") as file:
        entries = tomllib.load(file).get("known", [])
    known: Known = {}
    for entry in entries:
        test, name, reason = (str(entry.get(key, "")) for key in ("test", "assertion", "reason"))
        if not (test and name and reason):
            raise ValueError(f"{path}: needs test, assertion and reason: {entry}")
        known[test, name] = reason
    return known


def count(result: Outcome) -> str:
    """Return "passed/total" of the assertions that were not skipped."""
    items = [item for item in result.values() if not item.skipped]
    return f"{sum(item.passed for item in items)}/{len(items)}"


def row(test: str, ours: Outcome, theirs: Outcome, differences: list[Difference]) -> str:
    """Return one line of the table."""
    kinds = [difference.kind for difference in differences]
    words = [
        f"{kinds.count(kind)} {kind}" for kind in ("worse", "known", "better") if kind in kinds
    ]
    return f"{test:<36}{count(ours):>10}{count(theirs):>10}  {', '.join(words)}".rstrip()


class Driver:
    """One runtime under test: the script that stands for it, and where its leftovers are."""

    def __init__(self, runtime: str, tree: Path, work: Path, timeout: float) -> None:
        self.tree = tree
        self.timeout = timeout
        self.work = work
        self.script = work / "runtime"
        command = shlex.join([runtime, "--root", str(work / "root")])
        self.script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        self.script.chmod(0o755)
        (work / "tmp").mkdir()

    def run(self, test: str) -> Outcome:
        """Run one test and clean up behind it."""
        output, errors = self.work / "output", self.work / "errors"
        program = self.tree / "validation" / test / f"{test}.t"
        environment = os.environ | {"RUNTIME": str(self.script), "TMPDIR": str(self.work / "tmp")}
        with output.open("wb") as out, errors.open("wb") as err:
            # Files, not pipes: a process that stays behind would keep a pipe open for ever.
            status = self._wait([str(program)], out.fileno(), err.fileno(), environment)
        self._clean()
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (output, errors)]
        return outcome(texts[0], texts[1], status)

    def _wait(
        self, command: list[str], out: int, err: int, environment: dict[str, str] | None = None
    ) -> int | None:
        process = subprocess.Popen(
            command,
            cwd=self.tree,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
        )
        try:
            return process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def _clean(self) -> None:
        kill_strays()
        root = self.work / "root"
        for container in sorted(os.listdir(root)) if root.is_dir() else []:
            words = [str(self.script), "delete", "--force", container]
            self._wait(words, subprocess.DEVNULL, subprocess.DEVNULL)
        kill_strays()
        remove(*(self.work / "tmp").iterdir())
        remove_cgroups()


def adopt_orphans() -> None:
    """Become the parent of what the tests leave behind (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children(parent: int) -> list[int]:
    """Return the processes whose parent is `parent`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text(encoding="latin-1").rpartition(")")[2]
        except OSError:
            continue
        if int(fields.split()[1]) == parent:
            found.append(int(name))
    return found


def kill_strays(seconds: float = 10) -> None:
    """Kill, each by its id, and reap the processes that a finished test has left to us."""
    deadline = time.monotonic() + seconds
    while (strays := children(os.getpid())) and time.monotonic() < deadline:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _reap(pid, deadline)


def _reap(pid: int, deadline: float) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)


def enter_namespace() -> None:
    """Start this program again in a mount namespace from which nothing gets out.

    Raises OSError when unshare(1) cannot be started.
    """
    if os.environ.get(IN_NAMESPACE) == str(os.getpid()):
        return
    # exec keeps the process id; the children of this program do not have it.
    os.environ[IN_NAMESPACE] = str(os.getpid())
    words = ["unshare", "--mount", "--propagation", "slave", sys.executable]
    os.execvp("unshare", [*words, "-m", "conformance.runtime_tools", *sys.argv[1:]])


def mounts_below(directory: Path, mountinfo: str) -> list[Path]:
    """Return the mount points in `directory`, itself included, in the order to unmount them."""
    fields = (line.split()[4] for line in mountinfo.splitlines())
    paths = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name) for name in fields]
    inside = [Path(name) for name in paths if Path(name).is_relative_to(directory)]
    return inside[::-1]


def unmount_below(directory: Path) -> None:
    """Unmount what is mounted in `directory`; raises OSError when something stays."""
    libc = ctypes.CDLL(None, use_errno=True)
    mountinfo = Path("/proc/self/mountinfo")
    for path in mounts_below(directory.resolve(), mountinfo.read_text(encoding="utf-8")):
        libc.umount2(os.fsencode(path), MNT_DETACH)
    if left := mounts_below(directory.resolve(), mountinfo.read_text(encoding="utf-8")):
        raise OSError(f"cannot unmount {', '.join(map(str, left))}")


def remove(*directories: Path) -> None:
    """Remove directories with what is in them, but never across a mount point.

    Raises OSError when something mounted there cannot be unmounted.
    """
    for directory in directories:
        unmount_below(directory)
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(directory)], check=False)


def remove_cgroups(mount: Path = Path("/sys/fs/cgroup")) -> None:
    """Remove the empty cgroups that a failed test has left in any hierarchy."""
    for hierarchy in [mount, *(path for path in mount.iterdir() if path.is_dir())]:
        for name in CGROUPS:
            with contextlib.suppress(OSError):
                (hierarchy / name).rmdir()


def built_tests(tree: Path) -> list[str]:
    """Return the names of the tests that are built in `tree`."""
    return sorted(path.stem for path in tree.glob("validation/*/*.t"))


def resolve(runtime: str) -> str:
    """Return the absolute path of a runtime; raises SystemExit when there is none."""
    path = shutil.which(runtime)
    if path is None:
        print(f"{runtime}: no such program", file=sys.stderr)
        raise SystemExit(2)
    return os.path.abspath(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tree", type=Path, required=True, help="runtime-tools, built")
    parser.add_argument("--runtime", default=str(OURS_DEFAULT), help="ours")
    parser.add_argument("--oracle", default="runc", help="the runtime to compare with")
    parser.add_argument("--only", nargs="+", metavar="TEST", help="run these tests only")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one test (60)")
    parser.add_argument("--known", type=Path, default=KNOWN_FILE, help="list of known failures")
    return parser.parse_args()


def _drivers(arguments: argparse.Namespace, work: Path) -> tuple[Driver, Driver]:
    work.chmod(0o755)  # a container with a user namespace must get through to its root
    made = []
    for name, runtime in (("ours", arguments.runtime), ("theirs", arguments.oracle)):
        (work / name).mkdir()
        tree = arguments.tree.resolve()
        made.append(Driver(resolve(runtime), tree, work / name, arguments.timeout))
    return made[0], made[1]


def explanations(test: str, differences: list[Difference]) -> list[str]:
    """Return what to print about the differences of one test, those for the better left out.

    The many assertions that a test does not reach after a failure share one line.
    """
    lines: list[str] = []
    for difference in differences:
        if difference.kind != "better" and difference.detail != NOT_REACHED:
            lines += ["", f"{difference.kind}: {test}: {difference.key}"]
            lines.append(textwrap.indent(difference.detail[:2000], "    "))
    unreached = [difference.key for difference in differences if difference.detail == NOT_REACHED]
    if unreached:
        lines += ["", f"worse: {test}: {len(unreached)} assertions not reached, from this one on:"]
        lines.append(f"    {unreached[0]}")
    return lines


def _total(results: list[Outcome]) -> Outcome:
    merged = [item for result in results for item in result.values()]
    return {str(number): item for number, item in enumerate(merged)}


def run_all(tests: list[str], ours: Driver, theirs: Driver, known: Known) -> int:
    """Run the tests, print the table and what differs; return the exit status."""
    print(f"{'test':<36}{'ours':>10}{'theirs':>10}  difference", flush=True)
    mine: list[Outcome] = []
    other: list[Outcome] = []
    found: dict[str, list[Difference]] = {}
    for test in tests:
        mine.append(ours.run(test))
        other.append(theirs.run(test))
        found[test] = compare(test, mine[-1], other[-1], known)
        print(row(test, mine[-1], other[-1], found[test]), flush=True)
    every = [difference for differences in found.values() for difference in differences]
    print(row("total", _total(mine), _total(other), every))
    for test, differences in found.items():
        for line in explanations(test, differences):
            print(line)
    return 1 if any(difference.kind == "worse" for difference in every) else 0


def main() -> int:
    """Run the driver; returns 0, 1 (ours is worse) or 2 (nothing to compare)."""
    arguments = _arguments()
    built = built_tests(arguments.tree)
    tests = [test for test in built if arguments.only is None or test in arguments.only]
    missing = sorted(set(arguments.only or []) - set(built))
    if missing or not tests:
        what = ", ".join(missing) or "any"
        print(f"{arguments.tree}: no such test is built: {what}", file=sys.stderr)
        return 2
    known = load_known(arguments.known)
    enter_namespace()
    adopt_orphans()
    work = Path(tempfile.mkdtemp(prefix="runtime-tools-"))
    try:
        ours, theirs = _drivers(arguments, work)
        return run_all(tests, ours, theirs, known)
    finally:
        remove(work)


if __name__ == "__main__":
    raise SystemExit(main())
