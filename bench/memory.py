"""What a runtime costs in memory, side by side with runc and crun.

    python3 bench/memory.py [--rounds N] [--runtime PATH] [--peers runc,crun]

Figures, all in KiB:

memory.rss      peak resident set of the create command
memory.created  charged to the container's memory cgroup while it is created and not yet started,
                without what the kernel charges ahead
memory.peak     greatest charge to that cgroup until then, as the kernel counts it (charged ahead
                included; only where the kernel has such a counter)
memory.limit    smallest memory limit under which a container still starts
"""

from __future__ import annotations

import argparse
import os
import time

import bundle
import figures
import peers
import reaping

PAGE = os.sysconf("SC_PAGE_SIZE")
SHELL_SCRIPT = '"$@" & echo $!'
SMALLEST, GREATEST = 64 * 1024, 64 * 1024 * 1024
STEP = 16 * 1024


class Group:
    """The memory cgroup of a process, version 1 or 2."""

    def __init__(self, pid: int) -> None:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
        paths = {name: path for _, names, path in rows for name in names.split(",")}
        self.version = 1 if "memory" in paths else 2
        mount = "/sys/fs/cgroup/memory" if self.version == 1 else "/sys/fs/cgroup"
        self.path = mount + paths["memory" if self.version == 1 else ""]

    def number(self, name: str) -> int | None:
        """Return the value of a file with one number, or None where there is no such file."""
        try:
            with open(os.path.join(self.path, name), encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def statistics(self) -> dict[str, int]:
        """Return memory.stat."""
        with open(os.path.join(self.path, "memory.stat"), encoding="ascii") as file:
            return {name: int(value) for name, value in (line.split() for line in file)}

    def usage(self) -> int:
        """Return what the kernel says is charged, with what it charged ahead."""
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return self.number(name) or 0

    def peak(self) -> int | None:
        """Return the greatest `usage` so far."""
        version_1 = self.version == 1
        return self.number("memory.max_usage_in_bytes" if version_1 else "memory.peak")

    def in_use(self) -> int:
        """Return the bytes that really are in use: anonymous, page cache and kernel memory."""
        stat = self.statistics()
        if self.version == 2:
            return stat["anon"] + stat["file"] + stat["kernel"]
        return stat["rss"] + stat["cache"] + (self.number("memory.kmem.usage_in_bytes") or 0)


def settled(group: Group, seconds: float = 30) -> int:
    """Return `in_use` when the kernel has added up the counters of all CPUs.

    memory.stat may lag behind by some pages for each CPU until the kernel's own flush, every two
    seconds. It has caught up when the difference to `usage` can be explained by what is charged
    ahead (at most 64 pages for each CPU) and three seconds, more than one flush, brought no change.
    Raises reaping.TooSlow when that does not happen.
    """
    ahead = 64 * PAGE * (os.cpu_count() or 1)
    deadline = time.monotonic() + seconds
    last, since = -1, 0.0
    while time.monotonic() < deadline:
        now = group.in_use()
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > 3 and 0 <= group.usage() - now <= ahead:
            return now
        time.sleep(0.25)
    raise reaping.TooSlow(f"{group.path}: memory.stat says {last}, usage {group.usage()}")


def peak_rss(command: list[str], output: str) -> int:
    """Run `command` and return its peak resident set in KiB (ru_maxrss).

    A new program inherits the peak of the process that started it, and this interpreter is
    greater than some runtimes. So a small shell starts the command and ends, and the orphan comes
    back to us to be reaped. What remains of the error is the shell's size, about 1 MiB.
    Raises reaping.CommandFailed.
    """
    read, write = os.pipe()
    shell = ["/bin/busybox", "sh", "-c", f'({SHELL_SCRIPT} >&3) 3>&1 >"$0" 2>&1 <&-', output]
    try:
        starter = reaping.spawn([*shell, *command], output, write)
        os.close(write)
        with open(read, encoding="ascii", closefd=False) as pipe:
            pid = int(pipe.readline())
    finally:
        os.close(read)
    reaping.reap(starter)
    code, _, rss = reaping.reap(pid)
    if code != 0:
        with open(output, encoding="utf-8", errors="replace") as file:
            raise reaping.CommandFailed(f"{' '.join(command)}: exit {code}: {file.read()}")
    return rss


def created(results: figures.Figures, runtime: peers.Runtime, container: str, where: str) -> None:
    """Create one container and record what it costs; nothing is left behind."""
    pid_file = os.path.join(os.path.dirname(where), runtime.name + ".pid")
    words = ("create", "-b", where, "--pid-file", pid_file, container)
    try:
        rss = peak_rss(runtime.command(*words), runtime.output)
        with open(pid_file, encoding="ascii") as file:
            group = Group(int(file.read()))
        results.add("memory.rss", runtime.name, rss)
        results.add("memory.created", runtime.name, settled(group) / 1024)
        peak = group.peak()
        if peak is not None:
            results.add("memory.peak", runtime.name, peak / 1024)
    finally:
        runtime.discard(container)


def starts(runtime: peers.Runtime, container: str, work: str, limit: int) -> bool:
    """Say whether a container that runs `true` gets through under a memory limit of `limit` bytes.

    A runtime that hangs is killed after 20 s and counts as a failure.
    """
    where = bundle.write(os.path.join(work, "limited"), ["true"], memory_limit=limit)
    try:
        runtime.measure("run", "-b", where, container, seconds=20)
    except reaping.CommandFailed:
        runtime.discard(container)
        return False
    reaping.reap_strays()
    return True


def smallest_limit(runtime: peers.Runtime, container: str, work: str) -> int:
    """Return, in steps of 16 KiB, the smallest limit under which a container starts.

    A limit counts when the container started three times out of three.
    Raises reaping.CommandFailed when even 64 MiB are too little.
    """
    low, high = SMALLEST // STEP - 1, GREATEST // STEP
    if not starts(runtime, container, work, high * STEP):
        with open(runtime.output, encoding="utf-8", errors="replace") as file:
            raise reaping.CommandFailed(f"{runtime.name}: not even with 64 MiB: {file.read()}")
    while high - low > 1:
        middle = (low + high) // 2
        if all(starts(runtime, container, work, middle * STEP) for _ in range(3)):
            high = middle
        else:
            low = middle
    return high * STEP


def main() -> int:
    """Run the benchmark; returns 0 when everything worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="created containers (default 6)")
    peers.add_arguments(parser)
    arguments = parser.parse_args()
    results = figures.Figures()
    with peers.workplace(arguments) as (work, runtimes):
        sleeping = bundle.write(os.path.join(work, "sleeping"), ["sleep", "600"])
        # One container each that is not counted: a page of a program that is not yet in the page
        # cache is charged to the first cgroup that touches it.
        for number in range(-1, arguments.rounds):
            target = figures.Figures() if number < 0 else results
            for runtime in peers.in_turn(runtimes, number):
                created(target, runtime, f"bench-{os.getpid()}-{runtime.name}-{number}", sleeping)
        for runtime in runtimes:
            container = f"bench-{os.getpid()}-{runtime.name}-limit"
            limit = smallest_limit(runtime, container, work)
            results.add("memory.limit", runtime.name, limit / 1024)
    print(f"# {arguments.rounds} rounds; KiB")
    figures.report(results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
