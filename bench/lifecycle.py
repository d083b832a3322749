"""What create, start, state, kill, delete and run cost, side by side with runc and crun.

    python3 bench/lifecycle.py [--rounds N] [--runtime PATH] [--peers runc,crun]

The runtimes take turns within one run, so that a change of load hits all of them. Wall time is
that of the command; processor time is user plus system of every process that was reaped, with the
container's init from its birth to its death in `lifecycle` and up to the fifo in `create`.
"""

from __future__ import annotations

import argparse
import os

import bundle
import figures
import peers
import reaping


def _record(results: figures.Figures, verb: str, name: str, sample: reaping.Sample) -> None:
    results.add(verb + ".wall", name, sample.wall)
    results.add(verb + ".cpu", name, sample.cpu)


def _pid(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _live(runtime: peers.Runtime, container: str, where: str) -> dict[str, reaping.Sample]:
    pid_file = os.path.join(os.path.dirname(where), runtime.name + ".pid")
    create = runtime.measure("create", "-b", where, "--pid-file", pid_file, container)
    create.cpu += reaping.reap_strays()
    init = _pid(pid_file)
    before = reaping.cpu_of(init)
    samples = {"create": create}
    for verb in ("start", "state"):
        samples[verb] = runtime.measure(verb, container)
    samples["kill"] = runtime.measure("kill", container, "KILL")
    _, cpu, _ = reaping.reap(init)
    samples["delete"] = runtime.measure("delete", container)
    wall = sum(sample.wall for sample in samples.values())
    total = sum(sample.cpu for sample in samples.values()) + cpu + reaping.reap_strays()
    create.cpu += before
    samples["lifecycle"] = reaping.Sample(wall, total)
    return samples


def lifecycle(runtime: peers.Runtime, container: str, where: str) -> dict[str, reaping.Sample]:
    """Take one container through the five commands; return their cost and the sum.

    The sum leaves out the time in which the kernel ends the killed process: `delete` is called
    when the process is gone. Raises reaping.CommandFailed, with nothing left behind.
    """
    try:
        return _live(runtime, container, where)
    except Exception:
        runtime.discard(container)
        raise


def one_round(
    results: figures.Figures, runtime: peers.Runtime, number: int, sleeping: str, ending: str
) -> None:
    """Measure one lifecycle and one `run` of a runtime."""
    container = f"bench-{os.getpid()}-{runtime.name}-{number}"
    for verb, sample in lifecycle(runtime, container, sleeping).items():
        _record(results, verb, runtime.name, sample)
    sample = runtime.measure("run", "-b", ending, container + "-run")
    sample.cpu += reaping.reap_strays()
    _record(results, "run", runtime.name, sample)


def main() -> int:
    """Run the benchmark; returns 0 when everything worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds (default 30)")
    peers.add_arguments(parser)
    arguments = parser.parse_args()
    results, warm_up = figures.Figures(), figures.Figures()
    with peers.workplace(arguments) as (work, runtimes):
        sleeping = bundle.write(os.path.join(work, "sleeping"), ["sleep", "600"])
        ending = bundle.write(os.path.join(work, "ending"), ["true"])
        for number in range(-1, arguments.rounds):
            # The first round fills the caches and is not counted.
            target = warm_up if number < 0 else results
            for runtime in peers.in_turn(runtimes, number):
                one_round(target, runtime, number, sleeping, ending)
    print(f"# {arguments.rounds} rounds; wall and cpu in ms")
    figures.report(results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
