"""The runtimes that are compared, and the place where they run.

All of them run in one private mount namespace: what a faulty runtime leaves mounted goes with it.
The version 2 hierarchy that a hybrid host mounts below /sys/fs/cgroup is not in it, because crun
refuses to work beside it, and what one has, all must have.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import reaping

UNIFIED = "/sys/fs/cgroup/unified"
IN_NAMESPACE = "PYRUNTIME_BENCH_NAMESPACE"
OURS = "ours"
PEERS = ("runc", "crun")
STATES = "run"  # what is /run in earnest
PYTHON_LANE = "python"  # ours without the launcher, when named as a peer
REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Runtime:
    """One runtime: the name it is printed under, its program, its own state directory."""

    def __init__(self, name: str, path: str, work: str) -> None:
        self.name = name
        self.path = path
        self.root = os.path.join(work, STATES, name)
        self.output = os.path.join(work, name + ".out")

    def command(self, *words: str) -> list[str]:
        """Return the argument vector of one invocation."""
        return [self.path, "--root", self.root, *words]

    def measure(self, *words: str, seconds: float = 60) -> reaping.Sample:
        """Run one verb to its end; raises reaping.CommandFailed."""
        return reaping.measure(self.command(*words), self.output, seconds)

    def discard(self, container: str) -> None:
        """Remove a container whatever its state; errors are of no interest here."""
        try:
            self.measure("delete", "--force", container)
        except reaping.CommandFailed:
            pass
        reaping.reap_strays()


def enter_namespace() -> None:
    """Start this program again in a private mount namespace without `UNIFIED`.

    Raises OSError when unshare(1) cannot be started.
    """
    if os.environ.get(IN_NAMESPACE) == str(os.getpid()):
        return
    # exec keeps the process id; the children of this program do not have it.
    os.environ[IN_NAMESPACE] = str(os.getpid())
    script = f'if mountpoint -q {UNIFIED}; then umount {UNIFIED} || exit; fi; exec "$@"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    sys.stdout.flush()
    os.execvp("unshare", [*words, sys.executable, *sys.argv])


def remove(directory: str) -> None:
    """Remove a directory with what is in it, but never across a mount point."""
    subprocess.run(["rm", "-rf", "--one-file-system", "--", directory], check=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every benchmark has."""
    default = os.path.join(REPOSITORY, "build", "bin", "pyruntime")
    parser.add_argument("--runtime", default=default, metavar="PATH", help="what we call ours")
    parser.add_argument("--peers", default=",".join(PEERS), help="compare with (default: all)")


def find(arguments: argparse.Namespace, work: str) -> list[Runtime]:
    """Return ours and the peers that are installed; raises SystemExit without ours."""
    ours = shutil.which(arguments.runtime)
    if ours is None:
        raise SystemExit(f"{arguments.runtime}: no such program")
    runtimes = [Runtime(OURS, os.path.abspath(ours), work)]
    for name in filter(None, arguments.peers.split(",")):
        lane = os.path.join(REPOSITORY, "bin", "pyruntime")
        path = lane if name == PYTHON_LANE else shutil.which(name)
        if path is None:
            print(f"# {name} is not installed: left out")
        else:
            runtimes.append(Runtime(name, path, work))
    return runtimes


def describe(runtimes: list[Runtime]) -> None:
    """Print what the figures below depend on."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"# {platform.system()} {platform.release()}, {os.cpu_count()} CPUs, load {load}")
    for runtime in runtimes:
        print(f"# {runtime.name}: {runtime.path}")


def in_turn(runtimes: list[Runtime], round_number: int) -> list[Runtime]:
    """Return the runtimes in the order of one round.

    Six rounds take three runtimes through all their orders, so none profits from its predecessor.
    """
    first = (round_number // 2) % len(runtimes)
    order = runtimes[first:] + runtimes[:first]
    return order[::-1] if round_number % 2 else order


@contextmanager
def workplace(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Runtime]]]:
    """Set up a namespace, a directory and the runtimes; remove the directory at the end."""
    enter_namespace()
    reaping.adopt_orphans()
    work = tempfile.mkdtemp(prefix="pyruntime-bench-")
    states = os.path.join(work, STATES)
    os.mkdir(states)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "states", states], check=True)
    try:
        runtimes = find(arguments, work)
        describe(runtimes)
        yield work, runtimes
    finally:
        subprocess.run(["umount", "--lazy", states], check=False)
        remove(work)
