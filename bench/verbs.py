"""What exec, pause, resume, update and a seccomp profile cost, side by side with runc and crun.

    python3 bench/verbs.py [--rounds N] [--runtime PATH] [--peers runc,crun]

Each runtime has one container that runs from the first round to the last. `exec` runs `true`, by
its command line and by a process document as engines give it. The profile is as large as Docker's:
`seccomp.cold` is `create` with a state directory that is new, `seccomp.cached` the next `create`.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import bundle
import figures
import peers
import reaping

Samples = dict[str, reaping.Sample]

PROFILE = os.path.join(peers.REPOSITORY, "tests/data/seccomp/large.json")


class Place:
    """The bundles and documents that all runtimes use."""

    def __init__(self, work: str) -> None:
        self.sleeping = bundle.write(os.path.join(work, "sleeping"), ["sleep", "3600"])
        self.confined = bundle.write(os.path.join(work, "confined"), ["sleep", "3600"])
        with open(PROFILE, encoding="utf-8") as file:
            profile = json.load(file)
        _edit(os.path.join(self.confined, "config.json"), profile)
        self.process = os.path.join(work, "process.json")
        with open(self.process, "w", encoding="utf-8") as file:
            json.dump(bundle.config(["true"])["process"], file)


def _edit(path: str, profile: dict[str, Any]) -> None:
    """Put the profile into a config.json."""
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["linux"]["seccomp"] = profile
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)


def small_verbs(runtime: peers.Runtime, container: str, place: Place, number: int) -> Samples:
    """Measure the verbs of a container that runs; `number` makes each update another one."""
    tasks = str(100 + number % 2)
    commands = {
        "exec": ("exec", container, "true"),
        "exec.process": ("exec", "--process", place.process, container),
        "update": ("update", "--pids-limit", tasks, container),
        "pause": ("pause", container),
        "resume": ("resume", container),
    }
    samples = {}
    for verb, words in commands.items():
        samples[verb] = runtime.measure(*words)
        samples[verb].cpu += reaping.reap_strays()
    return samples


def seccomp(runtime: peers.Runtime, container: str, place: Place, number: int) -> Samples:
    """Measure `create` with a large profile twice, beginning with an empty state directory."""
    fresh = peers.Runtime(runtime.name, runtime.path, f"{os.path.dirname(runtime.root)}/{number}")
    os.makedirs(fresh.root)
    samples = {}
    for figure in ("seccomp.cold", "seccomp.cached"):
        try:
            samples[figure] = fresh.measure("create", "-b", place.confined, container)
        finally:
            fresh.discard(container)
    peers.remove(fresh.root)
    return samples


def one_round(results: figures.Figures, runtime: peers.Runtime, place: Place, number: int) -> None:
    """Measure everything once on one runtime."""
    container = running(runtime)
    samples = small_verbs(runtime, container, place, number)
    samples.update(seccomp(runtime, f"{container}-{number}", place, number))
    for figure, sample in samples.items():
        results.add(figure + ".wall", runtime.name, sample.wall)
        results.add(figure + ".cpu", runtime.name, sample.cpu)


def running(runtime: peers.Runtime) -> str:
    """The name of a runtime's container that runs throughout."""
    return f"bench-{os.getpid()}-{runtime.name}"


def measure(results: figures.Figures, runtimes: list[peers.Runtime], place: Place, n: int) -> None:
    """All rounds. The first fills the caches and is not counted."""
    warm_up = figures.Figures()
    for number in range(-1, n):
        for runtime in peers.in_turn(runtimes, number):
            one_round(warm_up if number < 0 else results, runtime, place, number)


def main() -> int:
    """Run the benchmark; returns 0 when everything worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds (default 30)")
    peers.add_arguments(parser)
    arguments = parser.parse_args()
    results = figures.Figures()
    with peers.workplace(arguments) as (work, runtimes):
        place = Place(work)
        try:
            for runtime in runtimes:
                runtime.measure("run", "-d", "-b", place.sleeping, running(runtime))
            measure(results, runtimes, place, arguments.rounds)
        finally:
            for runtime in runtimes:
                runtime.discard(running(runtime))
    print(f"# {arguments.rounds} rounds; wall and cpu in ms")
    figures.report(results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
