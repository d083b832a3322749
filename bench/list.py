"""What `list` costs with many containers, side by side with runc and crun.

    python3 bench/list.py [--containers N] [--rounds N] [--budget S] [--runtime PATH] [--peers ...]

Ten containers of each runtime are real: each runs `sleep`. The others are real too if making and
deleting all of them takes less than the budget (seconds, all runtimes together); otherwise they
are copies of the state directories of the ten, each under an id of its own, and the output says
so. A copy shares its process and its cgroup with its original, so that a runtime does the same
look-ups for it; it profits a little from what is in the kernel's caches.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import time

import bundle
import figures
import peers
import reaping

REAL = 10


class Crowd:
    """The containers of one runtime."""

    def __init__(self, runtime: peers.Runtime, work: str) -> None:
        self.runtime = runtime
        self.where = os.path.join(work, runtime.name + "-listed")
        self.real: list[str] = []
        self.seconds = 0.0

    def _id(self, number: int) -> str:
        # All ids have one length, so that a copy differs from its original in nothing else.
        return f"listed-{os.getpid():07}-{number:05}"

    def create(self, first: int, end: int) -> None:
        """Run real containers; raises reaping.CommandFailed."""
        start = time.monotonic()
        for number in range(first, end):
            # The cgroup is not named after the id, so that a copy keeps its original's.
            group = f"/pyruntime-bench-{os.getpid()}/{self.runtime.name}-{number}"
            bundle.write(self.where, ["sleep", "3600"], without=("network",), cgroup=group)
            self.real.append(self._id(number))
            self.runtime.measure("run", "-d", "-b", self.where, self.real[-1])
        self.seconds += time.monotonic() - start

    def copy(self, first: int, end: int) -> None:
        """Copy the state directories of the real containers, in turn, under new ids."""
        for number in range(first, end):
            original = self.real[number % len(self.real)]
            source = os.path.join(self.runtime.root, original)
            target = os.path.join(self.runtime.root, self._id(number))
            _copy_state(source, target, original.encode(), self._id(number).encode())

    def check(self, expected: int) -> None:
        """Raise reaping.CommandFailed unless `list` shows that many running containers."""
        self.runtime.measure("list", "--format", "json")
        with open(self.runtime.output, encoding="utf-8") as file:
            shown = json.load(file)
        running = sum(container["status"] == "running" for container in shown)
        if running != expected:
            raise reaping.CommandFailed(
                f"{self.runtime.name} list: {running} running of {len(shown)}, made {expected}"
            )

    def remove(self) -> None:
        """Delete everything, the copies by removing their directories."""
        for name in os.listdir(self.runtime.root) if os.path.isdir(self.runtime.root) else []:
            if name not in self.real:
                peers.remove(os.path.join(self.runtime.root, name))
        for container in self.real:
            self.runtime.discard(container)


def _copy_state(source: str, target: str, old: bytes, new: bytes) -> None:
    os.mkdir(target, stat.S_IMODE(os.stat(source).st_mode))
    for entry in os.scandir(source):
        path = os.path.join(target, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), path)
        elif entry.is_dir():
            _copy_state(entry.path, path, old, new)
        elif stat.S_ISFIFO(entry.stat().st_mode):
            os.mkfifo(path)
        elif entry.is_file():
            with open(entry.path, "rb") as reader, open(path, "wb") as writer:
                writer.write(reader.read().replace(old, new))


def fill(crowds: list[Crowd], containers: int, budget: float) -> None:
    """Make the containers of all runtimes, real ones if the budget (seconds) allows it."""
    for crowd in crowds:
        crowd.create(0, min(REAL, containers))
    # Deleting takes about as long as creating.
    projected = 2 * sum(crowd.seconds for crowd in crowds) * containers / REAL
    real = projected <= budget
    what = "all real" if real else f"{REAL} real, the others copies of their state directories"
    print(f"# {containers} containers of each runtime: {what} (all real: {projected:.0f} s)")
    for crowd in crowds:
        (crowd.create if real else crowd.copy)(REAL, containers)
        crowd.check(containers)


def measure(results: figures.Figures, runtime: peers.Runtime) -> None:
    """Measure the three forms of `list` once."""
    forms = {"list": (), "list-quiet": ("--quiet",), "list-json": ("--format", "json")}
    for name, options in forms.items():
        sample = runtime.measure("list", *options)
        results.add(name + ".wall", runtime.name, sample.wall)
        results.add(name + ".cpu", runtime.name, sample.cpu)


def remove_groups() -> None:
    """Remove the cgroup that the containers' cgroups were in."""
    mount = "/sys/fs/cgroup"
    for parent in [mount, *(os.path.join(mount, name) for name in os.listdir(mount))]:
        try:
            os.rmdir(os.path.join(parent, f"pyruntime-bench-{os.getpid()}"))
        except OSError:
            pass


def main() -> int:
    """Run the benchmark; returns 0 when everything worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--containers", type=int, default=1000, help="of each runtime (1000)")
    parser.add_argument("--rounds", type=int, default=12, help="measured rounds (default 12)")
    parser.add_argument("--budget", type=float, default=120, help="seconds for real ones (120)")
    peers.add_arguments(parser)
    arguments = parser.parse_args()
    results = figures.Figures()
    with peers.workplace(arguments) as (work, runtimes):
        crowds = [Crowd(runtime, work) for runtime in runtimes]
        try:
            fill(crowds, arguments.containers, arguments.budget)
            for number in range(-1, arguments.rounds):
                target = figures.Figures() if number < 0 else results
                for runtime in peers.in_turn(runtimes, number):
                    measure(target, runtime)
        finally:
            for crowd in crowds:
                crowd.remove()
            remove_groups()
    print(f"# {arguments.rounds} rounds; wall and cpu in ms")
    figures.report(results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
