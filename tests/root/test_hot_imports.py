"""Which modules each command loads: every import is paid at every call of an engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime
from tests.root.host import TREE

# Built into the interpreter, or loaded by its own start.
FREE = {
    "__future__",
    "_json",
    "_signal",
    "_socket",
    "_struct",
    "builtins",
    "errno",
    "fcntl",
    "posix",
    "select",
    "struct",
    "sys",
    "time",
}
PROGRAM = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv.pop(1))
log = sys.argv.pop(1)
import posix
leave = posix._exit
def record(status):
    with open(log, "w") as file:
        file.write(" ".join(sorted(set(sys.modules) - before)))
    leave(status)
posix._exit = record
from pyruntime.__main__ import main
main()
"""


def loaded(runtime: Runtime, *arguments: str) -> set[str]:
    """The modules that a command loaded; it must succeed."""
    log = runtime.workplace / "modules"
    command = ["/usr/bin/python3", "-IS", "-c", PROGRAM, str(TREE), str(log)]
    with open(runtime.workplace / "errors", "w+") as errors:
        done = subprocess.run(
            [*command, "--root", str(runtime.root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        errors.seek(0)
        assert done.returncode == 0, errors.read()
    return set(log.read_text().split())


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] != "pyruntime"} - FREE


def plain(bundle: Bundle) -> None:
    bundle.args("/bin/sleep", "1000")


def with_much(bundle: Bundle) -> None:
    bundle.hook("createRuntime", "cat >/dev/null")
    bundle.hook("poststart", "cat >/dev/null")
    bundle.hook("poststop", "cat >/dev/null")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro"])
    bundle.mount("/data", "bind", "/proc", ["rbind", "ro"])
    bundle.linux["maskedPaths"] = ["/proc/kcore"]
    bundle.resources["memory"] = {"limit": 1 << 28}
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]


@pytest.mark.parametrize("arrange", [plain, with_much], ids=lambda arrange: arrange.__name__)
def test_a_life_loads_nothing_heavy(
    arrange: Callable[[Bundle], None], container: Container
) -> None:
    arrange(container.bundle)
    container.bundle.save()
    runtime, identifier = container.runtime, container.id
    files = ["--bundle", str(container.bundle.path), "--pid-file", str(container.pid_file)]
    modules = {"create": loaded(runtime, "create", *files, identifier)}
    container.pid = int(container.pid_file.read_text())
    for verb in ("start", "state"):
        modules[verb] = loaded(runtime, verb, identifier)
    modules["kill"] = loaded(runtime, "kill", identifier, "KILL")
    container.wait_stopped()
    modules["delete"] = loaded(runtime, "delete", identifier)
    assert {verb: heavy(names) for verb, names in modules.items() if heavy(names)} == {}


def test_the_bus_is_for_the_systemd_manager_alone(container: Container) -> None:
    container.bundle.config["annotations"] = {"org.systemd.property.KillSignal": "15"}
    container.bundle.save()
    runtime, identifier = container.runtime, container.id
    files = ["--bundle", str(container.bundle.path), "--pid-file", str(container.pid_file)]
    modules = loaded(runtime, "create", *files, identifier)
    container.pid = int(container.pid_file.read_text())
    for verb in (["exec", identifier, "true"], ["pause", identifier], ["resume", identifier]):
        modules |= loaded(runtime, *verb)
    modules |= loaded(runtime, "update", "--pids-limit", "99", identifier)
    modules |= loaded(runtime, "delete", "--force", identifier)
    unwanted = {"jeepney"} | {f"pyruntime.cgroups.{name}" for name in ("systemd", "bus", "units")}
    assert not modules & unwanted


def test_small_commands_do_not_load_what_only_create_needs(container: Container) -> None:
    container.create()
    for arguments in (["state", container.id], ["kill", container.id, "0"]):
        modules = loaded(container.runtime, *arguments)
        unwanted = {"pyruntime.creation", "pyruntime.semantics", "pyruntime.config"}
        assert not modules & unwanted
        assert not {name for name in modules if name.startswith("pyruntime.plan.m")}
        assert "pyruntime.generated.config_checker" not in modules
