"""How the cost of a command grows with what there is to do, side by side with runc and crun.

    python3 bench/scale.py [--rounds N] [--runtime PATH] [--peers runc,crun] [--only NAME,NAME]
                           [--svg FILE]

create with many mounts, seccomp rules and masked paths; many creates at once; state and list
among many containers; memory of many created containers. Each value is the least of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bundle
import list as listing
import peers
import plot
import reaping

SYSCALLS = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
MEMORY = "/sys/fs/cgroup/memory"
NEVER = 0xDEADBEEF  # a descriptor that no call has: the rules are there and never hold
SETTLED = 65  # pages each CPU may charge ahead, and one

Change = Callable[[dict[str, Any], str, int], None]


def mounts(config: dict[str, Any], where: str, amount: int) -> None:
    """Bind mounts of one directory to as many mount points."""
    source = os.path.join(where, "source")
    os.makedirs(source, exist_ok=True)
    for number in range(amount):
        os.makedirs(os.path.join(where, f"rootfs/points/{number}"), exist_ok=True)
        destination = f"/points/{number}"
        mount = {"destination": destination, "source": source, "options": ["bind", "ro"]}
        config["mounts"].append(mount | {"type": "bind"})


def rules(config: dict[str, Any], where: str, amount: int) -> None:
    """Seccomp rules, one for each system call, with a condition each."""
    with open(SYSCALLS, encoding="ascii") as file:
        names = re.findall(r"^#define __NR_(\w+) (\d+)$", file.read(), re.MULTILINE)
    condition = {"index": 0, "value": NEVER, "op": "SCMP_CMP_EQ"}
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": [name], "action": "SCMP_ACT_ERRNO", "args": [condition]}
            for name, number in names[:amount]
        ],
    }


def masked(config: dict[str, Any], where: str, amount: int) -> None:
    """Masked files."""
    os.makedirs(os.path.join(where, "rootfs/masked"), exist_ok=True)
    for number in range(amount):
        with open(os.path.join(where, f"rootfs/masked/{number}"), "w", encoding="ascii"):
            pass
    config["linux"]["maskedPaths"] = [f"/masked/{number}" for number in range(amount)]


GROWING: dict[str, tuple[Change, tuple[int, ...], str]] = {
    "mounts": (mounts, (10, 100, 1000), "bind mounts"),
    "rules": (rules, (30, 300), "seccomp rules"),
    "masked": (masked, (20, 200), "masked paths"),
}
AT_ONCE = (1, 10, 100)
AMONG = (10, 100, 1000)
CREATED = (10, 100, 500)


class Results:
    """Values by figure, runtime and amount; the least of those that were added counts."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[int, float]]] = {}
        self.charts: dict[str, tuple[str, str, str]] = {}

    def add(self, figure: str, runtime: str, amount: int, value: float) -> None:
        """One measurement."""
        known = self.values.setdefault(figure, {}).setdefault(runtime, {})
        known[amount] = min(known.get(amount, value), value)

    def describe(self, figure: str, title: str, across: str, unit: str) -> None:
        """How the figure is to be shown."""
        self.charts[figure] = (title, across, unit)

    def lines(self) -> Iterator[str]:
        """A line for each figure and runtime: the values, and the growth from first to last."""
        for figure, rows in self.values.items():
            for runtime, values in rows.items():
                amounts = sorted(values)
                shown = "  ".join(f"{amount}: {values[amount]:.1f}" for amount in amounts)
                growth = values[amounts[-1]] / values[amounts[0]]
                yield f"{figure:16}{runtime:8}{shown}   x{growth:.1f}"

    def drawn(self) -> str:
        """Every figure as a chart."""
        charts = [
            plot.Chart(
                *self.charts[figure],
                {name: sorted(values.items()) for name, values in rows.items()},
            )
            for figure, rows in self.values.items()
        ]
        return plot.page(charts)


def _bundle(work: str, name: str, change: Change, amount: int) -> str:
    where = bundle.write(os.path.join(work, f"{name}-{amount}"), ["sleep", "600"])
    path = os.path.join(where, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    change(config, where, amount)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return where


def growing(results: Results, runtimes: list[peers.Runtime], work: str, rounds: int) -> None:
    """create with more and more in its config."""
    for name, (change, amounts, across) in GROWING.items():
        for unit in ("wall", "cpu"):
            results.describe(f"{name}.{unit}", f"create, {unit} time", across, "ms")
        for amount in amounts:
            where = _bundle(work, name, change, amount)
            able = [runtime for runtime in runtimes if _create(runtime, where)]  # the warm-up
            for turn in range(rounds):
                for runtime in peers.in_turn(able, turn):
                    sample = _create(runtime, where)
                    if sample is not None:
                        results.add(f"{name}.wall", runtime.name, amount, sample.wall)
                        results.add(f"{name}.cpu", runtime.name, amount, sample.cpu)


def _create(runtime: peers.Runtime, where: str) -> reaping.Sample | None:
    """One create with its init, which is ended. None, and a line, if it fails."""
    container = f"scale-{os.getpid()}-{runtime.name}"
    pid_file = os.path.join(where, runtime.name + ".pid")
    try:
        sample = runtime.measure("create", "-b", where, "--pid-file", pid_file, container)
        with open(pid_file, encoding="ascii") as file:
            sample.cpu += reaping.cpu_of(int(file.read()))
        return sample
    except reaping.CommandFailed as error:
        reason = str(error).rpartition(": exit ")[2]
        print(f"# {os.path.basename(where)}: {runtime.name} fails: {reason}")
        return None
    finally:
        runtime.discard(container)
        reaping.reap_strays()


def at_once(results: Results, runtimes: list[peers.Runtime], work: str, rounds: int) -> None:
    """Many creates, all started before the first is awaited; time until the last has ended."""
    results.describe("at-once.wall", "creates at once, until the last is done", "creates", "ms")
    where = bundle.write(os.path.join(work, "at-once"), ["sleep", "600"])
    for amount in AT_ONCE:
        for turn in range(rounds):
            for runtime in peers.in_turn(runtimes, turn):
                names = [f"scale-{os.getpid()}-{runtime.name}-{n}" for n in range(amount)]
                try:
                    wall = _all_at_once(runtime, where, names)
                finally:
                    for name in names:
                        runtime.discard(name)
                results.add("at-once.wall", runtime.name, amount, wall)


def _all_at_once(runtime: peers.Runtime, where: str, names: list[str]) -> float:
    start = time.perf_counter()
    commands = [runtime.command("create", "-b", where, name) for name in names]
    pids = [reaping.spawn(command, runtime.output) for command in commands]
    statuses = [reaping.reap(pid, 300)[0] for pid in pids]
    if any(statuses):
        with open(runtime.output, encoding="utf-8", errors="replace") as file:
            raise reaping.CommandFailed(f"{runtime.name} create at once: {file.read().strip()}")
    return (time.perf_counter() - start) * 1000


def among(results: Results, runtimes: list[peers.Runtime], work: str, rounds: int) -> None:
    """state of one, and list of all, among more and more containers (see list.py)."""
    for verb in ("state", "list"):
        title = f"{verb}, wall time"
        results.describe(f"{verb}.wall", title, "containers", "ms")
    crowds = [listing.Crowd(runtime, work) for runtime in runtimes]
    made = 0
    try:
        for amount in AMONG:
            for crowd in crowds:
                if made == 0:
                    crowd.create(0, amount)
                else:
                    crowd.copy(made, amount)
            made = amount
            for turn in range(rounds):
                for crowd in peers.in_turn(crowds, turn):  # type: ignore[arg-type,assignment]
                    _look(results, crowd, amount)
    finally:
        for crowd in crowds:
            crowd.remove()
        listing.remove_groups()


def _look(results: Results, crowd: listing.Crowd, amount: int) -> None:
    name = crowd.runtime.name
    results.add("state.wall", name, amount, crowd.runtime.measure("state", crowd.real[0]).wall)
    results.add("list.wall", name, amount, crowd.runtime.measure("list").wall)


def memory(results: Results, runtimes: list[peers.Runtime], work: str) -> None:
    """What each of many created containers costs the host, all of the kernel's included.

    All runs in a memory cgroup of ours, to which the kernel charges what the containers' own
    cgroups below it use and what it allocated for them on behalf of the command.
    """
    if not os.path.isdir(MEMORY):
        print("# memory: left out, no version 1 memory hierarchy")
        return
    results.describe("memory", "memory of each created container", "containers", "KiB")
    with _memory_cgroup() as group:
        for runtime in runtimes:
            for amount in CREATED:
                results.add("memory", runtime.name, amount, _of_each(runtime, work, group, amount))


@contextmanager
def _memory_cgroup() -> Iterator[str]:
    group = f"/pyruntime-bench-{os.getpid()}"
    with open("/proc/self/cgroup", encoding="ascii") as file:
        found = re.search(r"^\d+:memory:(.*)$", file.read(), re.MULTILINE)
    before = found[1] if found else "/"
    os.makedirs(MEMORY + group, exist_ok=True)
    try:
        _enter(group)
        yield group
    finally:
        _enter(before)
        listing.remove_groups()


def _enter(group: str) -> None:
    with open(f"{MEMORY}{group}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def _of_each(runtime: peers.Runtime, work: str, group: str, amount: int) -> float:
    """KiB for each container."""
    names = [f"scale-{os.getpid()}-{runtime.name}-{number}" for number in range(amount)]
    try:
        before = _usage(group)
        for name in names:
            where = os.path.join(work, "memory")
            bundle.write(where, ["sleep", "600"], cgroup=f"{group}/{name}")
            runtime.measure("create", "-b", where, name)
        return (_usage(group) - before) / amount / 1024
    finally:
        for name in names:
            runtime.discard(name)


def _usage(group: str) -> int:
    """Bytes charged, when they have not changed for a while."""
    last, end = -1, time.monotonic() + 30
    while time.monotonic() < end:
        with open(f"{MEMORY}{group}/memory.usage_in_bytes", encoding="ascii") as file:
            value = int(file.read())
        if abs(value - last) < SETTLED * 4096:
            break
        last = value
        time.sleep(0.5)
    return value


def main() -> int:
    """Run the benchmark; returns 0 when everything worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="measured rounds (default 6)")
    parser.add_argument("--only", default="growing,at-once,among,memory", help="parts, by name")
    parser.add_argument("--svg", metavar="FILE", help="draw the curves, too")
    peers.add_arguments(parser)
    arguments = parser.parse_args()
    results, wanted = Results(), arguments.only.split(",")
    with peers.workplace(arguments) as (work, runtimes):
        if "growing" in wanted:
            growing(results, runtimes, work, arguments.rounds)
        if "at-once" in wanted:
            at_once(results, runtimes, work, max(1, arguments.rounds // 2))
        if "among" in wanted:
            among(results, runtimes, work, arguments.rounds)
        if "memory" in wanted:
            memory(results, runtimes, work)
    print(f"# {arguments.rounds} rounds, least values; ms, memory in KiB for each container")
    for line in results.lines():
        print(line)
    if arguments.svg:
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(results.drawn())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
