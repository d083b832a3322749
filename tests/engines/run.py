"""Run container engines on pyruntime and on runc, and compare what they do.

    python -m tests.engines.run [--engine podman] [--only REGEX] [--keep]

Each engine has a script beside this file which calls it step by step. The script runs
twice, once with each runtime, in mount, network, pid, ipc, uts and cgroup namespaces of
its own (sandbox.sh), so that nothing is left behind. A step's exit status and standard
output must be the same both times. Prints a table with the time of every step; exits 1
if a step differs, and does so again when the engine is run once more. An engine that is
missing, or cannot start here, is skipped with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.engines import image

HERE = Path(__file__).resolve().parent
PYRUNTIME = HERE.parents[1] / "bin/pyruntime"
ORACLE = "runc"
GAVE_UP = "gave up after "  # what `eventually` of steps.sh prints
LIMIT = 400  # seconds for one engine with one runtime
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
NAMESPACES = ("--cgroup", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork")
# All ends with unshare, and unshare with this process, however that ends.
UNSHARE = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    *NAMESPACES,
    "--mount-proc",
    "--kill-child",
    "--propagation",
    "private",
)
EVERYWHERE = ("setpriv", "unshare", "ip", "timeout", "mount", "script", "pgrep", "awk")
# Commands that an engine's script cannot do without.
COMMANDS = {
    "podman": ("podman", "conmon", "iptables"),
    "docker": ("dockerd", "docker", "containerd", "iptables"),
    "containerd": ("containerd", "ctr", "containerd-shim-runc-v2"),
    "buildah": ("buildah",),
    "cri": ("containerd", "ctr", "containerd-shim-runc-v2", "iptables"),
    "crio": ("crio", "conmon", "pinns", "podman", "iptables"),
}
# Programs elsewhere than in PATH, and Python packages.
PLUGINS = ("/usr/lib/cni/bridge", "/usr/lib/cni/portmap", "/usr/lib/cni/loopback")
FILES = {"cri": PLUGINS, "crio": PLUGINS}
PACKAGES = {"cri": ("grpc", "google.protobuf"), "crio": ("grpc", "google.protobuf")}


@dataclass
class Step:
    """What one step of a script did."""

    code: int
    stdout: str
    stderr: str
    milliseconds: float


@dataclass
class Outcome:
    """All that one engine did with one runtime; `unable` says why it could not be tried."""

    steps: dict[str, Step] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unable: str = ""
    trouble: str = ""


def _absent(engine: str) -> list[str]:
    """What an engine's script needs and this machine lacks."""
    wanted = EVERYWHERE + COMMANDS[engine]
    absent = [name for name in wanted if shutil.which(name, path=SEARCH) is None]
    absent += [name for name in FILES.get(engine, ()) if not os.path.exists(name)]
    for name in PACKAGES.get(engine, ()):
        try:
            importlib.import_module(name)
        except ImportError:
            absent.append(f"Python's {name}")
    return absent


def missing(engine: str) -> str:
    """Why an engine cannot be tried on this machine, or ""."""
    absent = _absent(engine)
    if absent:
        return f"not installed: {', '.join(absent)}"
    if not (HERE / f"{engine}.sh").exists():
        return f"no script {engine}.sh"
    try:
        image.find_busybox()
        with private_cgroups(f"engine-try-{os.getpid()}-{threading.get_ident()}") as groups:
            tried = subprocess.run(
                [*_entering(groups), *UNSHARE, "true"], capture_output=True, text=True
            )
    except (LookupError, OSError) as error:
        return str(error)
    if tried.returncode != 0:
        return f"cannot make cgroups and namespaces: {tried.stderr.strip()}"
    return ""


def hierarchies() -> list[Path]:
    """Where the cgroup hierarchies are mounted; not where somebody has one of them once more."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(line[1]) for line in lines if line[2] in ("cgroup", "cgroup2")]
    return [place for place in places if place.is_relative_to("/sys/fs/cgroup")]


def _inherit_cpus(group: Path) -> None:
    # A new cpuset of version 1 holds no processor, and no process can enter it.
    if not (group / "cgroup.clone_children").exists() or not (group / "cpuset.cpus").exists():
        return
    (group / "cgroup.clone_children").write_text("1")
    for name in ("cpuset.cpus", "cpuset.mems"):
        (group / name).write_text((group.parent / name).read_text())


def _remove(group: Path) -> None:
    """Remove a cgroup and those below it, when their last processes have gone."""
    end = time.monotonic() + 60
    while True:
        try:
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
            return
        except FileNotFoundError:
            continue
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextmanager
def private_cgroups(name: str) -> Iterator[list[Path]]:
    """A cgroup of this name in every hierarchy, removed with all below it at the end."""
    made: list[Path] = []
    try:
        for top in hierarchies():
            group = top / name
            group.mkdir()
            made.append(group)
            _inherit_cpus(group)
        yield made
    finally:
        for group in made:
            _remove(group)


def _entering(groups: list[Path]) -> list[str]:
    """The words before a command that shall run in these cgroups."""
    entering = "".join(f"echo 0 >'{group}/cgroup.procs'; " for group in groups)
    return ["/bin/bash", "-c", f'set -e; {entering}exec "$@"', "bash"]


def run_engine(
    engine: str, runtime: Path, place: Path, only: str = "", limit: float = LIMIT
) -> Outcome:
    """Run an engine's script in a world of its own.

    `place` is an empty directory; the results stay in it. `only` is a regular expression
    for the names of steps, `limit` the seconds after which all is ended.
    """
    results = place / "results"
    results.mkdir(parents=True)
    archive = place / "image.tar"
    image.write(archive)
    environment = {
        "PATH": SEARCH,
        "RESULTS": str(results),
        "RUNTIME": str(runtime),
        "IMAGE_FILE": str(archive),
        "BUSYBOX": str(image.find_busybox()),
        "ONLY": only,
        "PYTHON": sys.executable,
        "TREE": str(HERE.parents[1]),
    }
    trouble = ""
    with private_cgroups(f"engine-test-{os.getpid()}-{place.name}") as groups:
        sandbox = ["/bin/bash", str(HERE / "sandbox.sh"), f"{engine}.sh"]
        command = [*_entering(groups), *UNSHARE, *sandbox]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                code = process.wait(limit)
                trouble = "" if code == 0 else f"{engine}.sh ended with {code}"
            except subprocess.TimeoutExpired:
                trouble = f"{engine}.sh did not end within {limit} s"
            finally:
                process.kill()  # unshare's --kill-child ends all the rest
                process.wait()
    outcome = read_results(results)
    if trouble:
        outcome.trouble = f"{trouble}: {(place / 'log').read_text(errors='replace')[-2000:]}"
    return outcome


def read_results(results: Path) -> Outcome:
    """What steps.sh has written."""
    outcome = Outcome()
    unable = results / "unable"
    if unable.exists():
        outcome.unable = unable.read_text().strip()
    for note in sorted(results.glob("*.skipped")):
        outcome.skipped[note.stem.partition("-")[2]] = note.read_text().strip()
    for directory in sorted(path for path in results.iterdir() if (path / "code").exists()):
        outcome.steps[directory.name.partition("-")[2]] = Step(
            code=int((directory / "code").read_text()),
            stdout=(directory / "stdout").read_text(errors="replace"),
            stderr=(directory / "stderr").read_text(errors="replace"),
            milliseconds=int((directory / "microseconds").read_text()) / 1000,
        )
    return outcome


def differences(ours: Step | None, theirs: Step | None) -> list[str]:
    """How a step differs between two runtimes; [] if it does not.

    A condition that neither runtime brings about is a fault of the script: it tests nothing.
    """
    if ours is None or theirs is None:
        return ["the step ran with one runtime only"]
    found = []
    if ours.code != theirs.code:
        found.append(f"exit status {ours.code}, {ORACLE} {theirs.code}")
    if ours.stdout != theirs.stdout:
        found.append(f"output {ours.stdout!r}\n      {ORACLE:>6} {theirs.stdout!r}")
    if not found and GAVE_UP in ours.stdout:
        found.append(f"waited in vain with both: {ours.stdout!r}")
    if found and ours.stderr:
        found.append(f"stderr {ours.stderr[-1500:]!r}")
    return found


def print_table(engine: str, ours: Outcome, theirs: Outcome) -> list[str]:
    """Print the steps of one engine side by side; those of them that differ."""
    names = list(dict.fromkeys([*theirs.steps, *ours.steps]))
    print(f"\n{engine:<30} {'pyruntime':>10} {ORACLE:>10}  ms")
    different = []
    for name in names:
        mine, other = ours.steps.get(name), theirs.steps.get(name)
        found = differences(mine, other)
        different += [name] if found else []
        times = [f"{step.milliseconds:10.0f}" if step else f"{'-':>10}" for step in (mine, other)]
        print(f"  {name:<28} {times[0]} {times[1]}  {'DIFFERENT' if found else 'same'}")
        for text in found:
            print(f"    {text}")
    for name, reason in theirs.skipped.items():
        print(f"  {name:<28} SKIPPED: {reason}")
    sums = [sum(step.milliseconds for step in run.steps.values()) for run in (ours, theirs)]
    same = len(names) - len(different)
    print(f"  {f'{same} of {len(names)} the same':<28} {sums[0]:10.0f} {sums[1]:10.0f}")
    return different


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare engines on pyruntime and on runc.")
    parser.add_argument("--engine", action="append", choices=sorted(COMMANDS), help="only this one")
    parser.add_argument("--only", default="", metavar="REGEX", help="only steps of such names")
    parser.add_argument("--runtime", type=Path, default=PYRUNTIME, help="instead of pyruntime")
    parser.add_argument("--keep", action="store_true", help="keep the results; print where")
    return parser.parse_args()


def _compare(engine: str, runtime: Path, oracle: Path, only: str, place: Path) -> list[str]:
    """Run one engine twice and print; what was wrong: names of steps and of runtimes."""
    place.mkdir()
    theirs = run_engine(engine, oracle, place / f"{engine}-oracle", only)
    ours = run_engine(engine, runtime, place / f"{engine}-ours", only)
    if theirs.unable:
        print(f"\n{engine}: SKIPPED: {theirs.unable}")
        return []
    faults = print_table(engine, ours, theirs)
    for name, outcome in ((ORACLE, theirs), (runtime.name, ours)):
        trouble = outcome.trouble or outcome.unable
        if trouble:
            print(f"  with {name}: {trouble}")
            faults.append(f"with {name}")
    return faults


def _compare_twice(engine: str, runtime: Path, oracle: Path, only: str, place: Path) -> int:
    """How many faults showed up in two runs of the engine; without any, one run is enough.

    A loaded machine can make one step go wrong: only what goes wrong twice is a fault.
    """
    first = _compare(engine, runtime, oracle, only, place / "first")
    if not first:
        return 0
    print(f"{engine} once more, because of: {', '.join(first)}")
    second = _compare(engine, runtime, oracle, only, place / "second")
    for name in set(first) ^ set(second):
        print(f"  UNSTEADY: {name}")
    return len(set(first) & set(second))


def main() -> int:
    """Run the engines; the exit status."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that cgroups are removed
    runtime = arguments.runtime.resolve()
    found = shutil.which(ORACLE, path=SEARCH)
    if found is None:
        print(f"SKIPPED: {ORACLE} is not installed, and there is nothing to compare with")
        return 0
    faults = 0
    print(f"{runtime} beside {found}")
    place = Path(tempfile.mkdtemp(prefix="engines-", dir="/var/tmp"))
    try:
        for engine in arguments.engine or COMMANDS:
            reason = missing(engine)
            if reason:
                print(f"\n{engine}: SKIPPED: {reason}")
                continue
            here = place / engine
            here.mkdir()
            faults += _compare_twice(engine, runtime, Path(found), arguments.only, here)
            sys.stdout.flush()
    finally:
        if arguments.keep:
            print(f"results: {place}")
        else:
            shutil.rmtree(place)
    print(f"\n{faults} differences")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
