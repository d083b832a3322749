"""Run a command in a guest with cgroup v2, systemd, D-Bus and AppArmor.

    python -m tests.vm [options] build              only make the image and the snapshot
    python -m tests.vm [options] run -- COMMAND     run it by bash, as root, in the tree's copy

The exit status is the command's; 1 if the guest cannot be made, 124 if the time was over,
125 if the guest died. See docs/vm.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.vm.emulator import emulator
from tests.vm.failures import Failure, GuestDied, TimedOut
from tests.vm.guest import Guest
from tests.vm.host import check_processor
from tests.vm.image import image
from tests.vm.machine import Machine, kernel_parameters, tsc_khz
from tests.vm.recipe import KERNELS, SECURITY_MODULES, Recipe, recipe
from tests.vm.snapshot import snapshot
from tests.vm.tree import pack

TREE = Path(__file__).resolve().parents[2]
# The disk comes by hotplug, so it may take a moment to appear.
UNPACK = """\
until [ -b /dev/vdb ]; do sleep 0.05; done
tar -xf /dev/vdb -C /project && cd /project || exit 125
"""


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    result = argparse.ArgumentParser(
        prog="python -m tests.vm", description="Run a command in a guest of the project's own."
    )
    result.add_argument("--kernel", choices=sorted(KERNELS), default="6.12")
    result.add_argument("--lsm", choices=SECURITY_MODULES, default="apparmor")
    result.add_argument("--cold", action="store_true", help="boot instead of resuming a snapshot")
    result.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    result.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("VM_CACHE") or TREE / "build/vm"),
        help="where images are kept (VM_CACHE, build/vm)",
    )
    result.add_argument("action", choices=["build", "run"])
    result.add_argument("command", nargs="*", help="after --; several words are quoted")
    return result


def script_of(words: Sequence[str]) -> str:
    """One word is a script of its own; several are a command with its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


def say(text: str) -> None:
    """A line about the guest itself, beside the command's output."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


def write(data: bytes) -> None:
    """Pass on the command's output at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def machine_for(chosen: Recipe, cache: Path) -> Machine:
    """The virtual machine of a recipe; its image is built if need be."""
    check_processor()
    qemu = emulator(cache)
    place = image(chosen, cache, say)
    khz = tsc_khz(Path("/proc/cpuinfo").read_text())
    return Machine(qemu, place, tuple(kernel_parameters(chosen.lsm, khz)))


def run_in_guest(options: argparse.Namespace, machine: Machine, chosen: Recipe) -> int:
    """Start the guest, hand over the tree, run the command."""
    with tempfile.TemporaryDirectory(prefix="tree.") as name, Guest(machine) as guest:
        tar = Path(name) / "tree.tar"
        pack(TREE, chosen.python, tar)
        began = time.monotonic()
        if options.cold:
            guest.boot(machine.image / "root.ext4")
        else:
            saved = snapshot(machine, say)
            began = time.monotonic()
            guest.resume(saved.memory, saved.disk)
        guest.attach(tar)
        say(f"{'booted' if options.cold else 'resumed'} in {time.monotonic() - began:.1f} s")
        status = guest.run(UNPACK + script_of(options.command), options.timeout, write)
        say(f"status {status} after {time.monotonic() - began:.1f} s")
        return status


def perform(options: argparse.Namespace) -> int:
    """Do what the command line says; the exit status. Raises Failure."""
    chosen = recipe(options.kernel, options.lsm)
    machine = machine_for(chosen, options.cache.resolve())
    if options.action == "build":
        snapshot(machine, say)
        return 0
    return run_in_guest(options, machine, chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    options = parser().parse_args(arguments)
    if options.action == "run" and not options.command:
        parser().error("run needs a command")
    # A terminated program must end the guest, too: leave by way of the context managers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return perform(options)
    except TimedOut as failure:
        say(f"timed out: {failure}")
        return 124
    except GuestDied as failure:
        say(str(failure))
        return 125
    except Failure as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
