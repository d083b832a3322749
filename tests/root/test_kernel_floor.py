"""On a kernel that lacks a system call: the container works, or a refusal says what is missing.

A seccomp filter answers the call with ENOSYS. Nothing may hang, be left behind, or be told
without the name of the call and the release of Linux that has it.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Result, Runtime
from conformance.without_calls import words_without
from pyruntime.failures import CALLS, NEEDED, RELEASES
from tests.root.host import PROGRAM, Host

ROOT = Path(__file__).resolve().parents[2]

# What create cannot do without; exec does without those that mount.
CREATE = (
    "openat2",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "mount_setattr",
    "move_mount",
    "clone3",
    "close_range",
    "memfd_create",
)
EXEC = ("openat2", "clone3", "close_range", "memfd_create", "pidfd_open")
KILL = ("pidfd_open", "pidfd_send_signal")
# What nothing depends on, or has another way.
SPARED = ("faccessat2", "pidfd_getfd", "keyctl", "bpf", "copy_file_range", "renameat2", "execveat")


def without(runtime: Runtime, calls: str, *words: str, **settings: object) -> Result:
    """Run a verb where those calls do not exist."""
    before = f'exec {shlex.join(words_without(calls))} "$0" "$@"'
    return runtime.run(*words, before=before, **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def filters(runtime: Runtime) -> None:
    """Skip where no filter can be made."""
    pytest.importorskip("pyseccomp")
    result = without(runtime, "pidfd_getfd", "--version")
    if result.status:
        pytest.skip(f"needs the right to load a seccomp filter: {result.stderr.strip()}")


def rich(bundle: Bundle) -> Bundle:
    """A config that wants something of every kind."""
    bundle.config["root"]["readonly"] = True
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/acpi"]
    bundle.linux["readonlyPaths"] = ["/proc/sys"]
    bundle.mount("/data", "bind", str(bundle.path), ["rbind", "rro"])
    return bundle


def check_explained(result: Result, call: str, status: int = 1) -> None:
    """One line that names the call, its release, and what is needed."""
    assert result.status == status, str(result)
    text = result.stderr
    assert f"({call}(2) came with Linux {RELEASES[call]}, pyruntime needs {NEEDED}" in text, text
    assert "Traceback" not in text
    # The same reason in the log's one line, and no second error behind it.
    assert text.count("function not implemented") == 1, text


@pytest.mark.rows("R1", "R36")
@pytest.mark.parametrize("call", CREATE)
def test_create_refuses(container: Container, host: Host, call: str) -> None:
    rich(container.bundle).save()
    words = ["create", "--bundle", str(container.bundle.path), container.id]
    check_explained(without(container.runtime, call, *words), call)
    host.clean(container)


@pytest.mark.rows("R1", "R36")
def test_create_without_statx(container: Container, host: Host) -> None:
    """The init needs it to read its plan, so it can only end."""
    container.bundle.save()
    words = ["create", "--bundle", str(container.bundle.path), container.id]
    result = without(container.runtime, "statx", *words)
    assert result.status == 1, str(result)
    assert "could not read its plan" in result.stderr
    host.clean(container)


@pytest.mark.rows("R36", "R37")
@pytest.mark.parametrize("call", SPARED)
def test_what_is_not_needed(container: Container, host: Host, call: str) -> None:
    """The container lives its whole life; as do its processes, for whom the call is missing too."""
    if call == "bpf" and not Path("/sys/fs/cgroup/devices").exists():
        pytest.skip("on cgroup v2 a program decides over devices, and bpf(2) loads it")
    rich(container.bundle).sh("echo fine").save()
    words = ["run", "--bundle", str(container.bundle.path), container.id]
    result = without(container.runtime, call, *words)
    assert (result.status, result.stdout, result.stderr) == (0, "fine\n", ""), str(result)
    host.clean(container)


@pytest.mark.rows("R170", "R36")
def test_device_rules_without_bpf(container: Container, host: Host) -> None:
    """Where they cannot be kept there is no container."""
    if Path("/sys/fs/cgroup/devices").exists():
        pytest.skip("on cgroup v1 the kernel keeps device rules without a program")
    container.bundle.save()
    words = ["create", "--bundle", str(container.bundle.path), container.id]
    result = without(container.runtime, "bpf", *words)
    assert result.status == 1, str(result)
    assert "linux.resources.devices" in result.stderr
    assert "bpf(2)" in result.stderr
    host.clean(container)


@pytest.mark.rows("R291")
@pytest.mark.parametrize("call", EXEC)
def test_exec_refuses(container: Container, call: str) -> None:
    container.create().start()
    check_explained(without(container.runtime, call, "exec", container.id, "true"), call, 255)
    assert container.status() == "running"
    assert container.exec("true").status == 0


@pytest.mark.rows("R291")
def test_exec_without_statx(container: Container) -> None:
    """As create: its init cannot read the plan."""
    container.create().start()
    result = without(container.runtime, "statx", "exec", container.id, "true")
    assert result.status == 255, str(result)
    assert "could not read its plan" in result.stderr
    assert container.status() == "running"


@pytest.mark.rows("R293", "R38")
@pytest.mark.parametrize("call", KILL)
def test_forced_delete_refuses(container: Container, call: str) -> None:
    """And the container is there as before."""
    container.create().start()
    result = without(container.runtime, call, "delete", "--force", container.id)
    check_explained(result, call)
    assert container.status() == "running"


@pytest.mark.rows("R292", "R38")
@pytest.mark.parametrize("call", KILL)
def test_kill_refuses(container: Container, call: str) -> None:
    container.create().start()
    check_explained(without(container.runtime, call, "kill", container.id, "KILL"), call)
    assert container.status() == "running"


@pytest.mark.rows("R35", "R37", "R39")
@pytest.mark.parametrize("call", ["openat2", "clone3", "mount_setattr", "memfd_create", "statx"])
def test_the_other_verbs_do_without(container: Container, host: Host, call: str) -> None:
    """A container that is there can be started, looked at, stopped and removed."""
    runtime = container.runtime
    container.create()
    for words in (["start"], ["state"], ["pause"], ["resume"], ["ps"], ["kill"]):
        verb = words[0]
        if verb == "ps" and call == "memfd_create":
            continue  # it keeps the output of ps(1) in such a file
        arguments = [container.id, "KILL"] if verb == "kill" else [container.id]
        result = without(runtime, call, verb, *arguments)
        assert result.status == 0, str(result)
    container.wait_stopped()
    result = without(runtime, call, "delete", container.id)
    assert result.status == 0, str(result)
    host.clean(container)


@pytest.mark.rows("R50", "R1")
def test_a_hook_without_pidfd_open(container: Container, host: Host) -> None:
    container.bundle.hook("prestart", "true")
    container.bundle.save()
    words = ["create", "--bundle", str(container.bundle.path), container.id]
    check_explained(without(container.runtime, "pidfd_open", *words), "pidfd_open")
    host.clean(container)


@pytest.mark.rows("R234", "R1")
def test_a_listener_without_pidfd_getfd(container: Container, host: Host, workplace: Path) -> None:
    """The agent could not be given it: no container, and the error says why."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(workplace / "agent"))
        agent.listen()
        container.bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(workplace / "agent"),
            "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}],
        }
        container.bundle.process["noNewPrivileges"] = True
        container.bundle.save()
        words = ["run", "--bundle", str(container.bundle.path), container.id]
        check_explained(without(container.runtime, "pidfd_getfd", *words), "pidfd_getfd")
    host.clean(container)


@pytest.mark.rows("R231", "R240")
def test_a_container_whose_profile_lacks_them_all(container: Container) -> None:
    """A seccomp profile of the container binds the program, and not how it is started."""
    calls = sorted(set(CREATE) | set(EXEC) | set(KILL) | {"statx"})
    container.bundle.process["noNewPrivileges"] = True
    container.bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    }
    container.bundle.sh("echo fine; sleep 1000")
    container.create().start()
    container.wait_output("fine")
    result = container.exec("echo", "too")
    assert (result.status, result.stdout) == (0, "too\n"), str(result)


@pytest.mark.rows("R36", "R240")
@pytest.mark.parametrize("number", [1, 38], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize("program", ["sh", "/bin/sh"])
def test_a_profile_older_than_the_calls(container: Container, number: int, program: str) -> None:
    """It is in force when the program is looked for, and answers in place of the kernel."""
    container.bundle.process["noNewPrivileges"] = False
    container.bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["statx", "faccessat2"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": number,
            }
        ],
    }
    container.bundle.args(program, "-c", "echo fine")
    assert container.finish() == "fine\n"


def test_every_call_is_in_the_table() -> None:
    """docs/kernel-features.md names each call with the release that the errors name."""
    text = (ROOT / "docs/kernel-features.md").read_text()
    table = text.partition("## System calls")[2].partition("\n## ")[0]
    for call, release in RELEASES.items():
        [line] = [line for line in table.splitlines() if f"`{call}`" in line and line[0] == "|"]
        assert re.search(rf"\| {re.escape(release)}\b", line), (call, release)
    assert set(CALLS.values()) <= set(RELEASES)
    assert f"Linux {NEEDED}" in text
    assert os.access(PROGRAM, os.X_OK)
