"""exec: what the process of it gets from the container, from its options, and from a file."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import TIMEOUT, Container, Result, Runtime, wait_for
from conformance.test_cgroups import cgroups_of, hierarchies, hierarchy, main_path, processes_file
from conformance.test_namespaces import give_image_to, with_user
from conformance.test_terminal import ConsoleSocket, OnTerminal, Terminal

departs = pytest.mark.departs

FAILED = 255
ALL_NAMESPACES = ("pid", "net", "mnt", "ipc", "uts", "user", "cgroup", "time")


@pytest.fixture
def running(container: Container) -> Container:
    """A container that sleeps."""
    return container.create().start()


@pytest.fixture
def console(workplace: Path) -> Iterator[ConsoleSocket]:
    """A console socket."""
    console = ConsoleSocket(workplace / "console.sock")
    yield console
    console.close()


def refused(result: Result, *texts: str) -> None:
    """Assert that there was no process, and that the error says one of the texts."""
    assert (result.status, result.stdout) == (FAILED, ""), str(result)
    assert not texts or any(text in result.stderr for text in texts), str(result)


def status_of(container: Container, *flags: str, **settings: Any) -> dict[str, str]:
    """/proc/self/status of a process that is executed with these options."""
    result = container.exec("cat", "/proc/self/status", flags=flags, **settings)
    assert result.status == 0, str(result)
    pairs = (line.partition(":") for line in result.stdout.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def output(container: Container, script: str, *flags: str, **settings: Any) -> str:
    """What a shell script that is executed with these options writes."""
    result = container.exec("sh", "-c", script, flags=flags, **settings)
    assert result.status == 0, str(result)
    return result.stdout.strip()


def by_file(container: Container, process: dict[str, Any], *flags: str, **settings: Any) -> Result:
    """Run `exec --process FILE`."""
    file = process_file(container, process)
    return container.runtime.run("exec", "--process", file, *flags, container.id, **settings)


def process_file(container: Container, process: dict[str, Any]) -> str:
    """The path of a file with the process."""
    path = container.runtime.workplace / "process.json"
    path.write_text(json.dumps(process))
    return str(path)


def process_of(container: Container, *args: str, **members: Any) -> dict[str, Any]:
    """The process of the container's config with other args, and with these members."""
    return {**container.bundle.process, "args": list(args), **members}


Detached = Callable[..., int]


@pytest.fixture
def detached(container: Container) -> Iterator[Detached]:
    """A function that executes a process and leaves it alone; its pid.

    They end before the container does: its first process cannot be gone while
    the others have not been waited for, and whoever calls the runtime is their parent.
    """
    pids: list[int] = []

    def run(
        *args: str,
        flags: tuple[str, ...] = (),
        file: Path = container.runtime.workplace / "detached.pid",
        target: Container = container,
    ) -> int:
        result = target.exec(*args, flags=("--detach", "--pid-file", str(file), *flags))
        assert (result.status, result.stdout) == (0, ""), str(result)
        pids.append(int(file.read_text()))
        return pids[-1]

    yield run
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


# namespaces and root


def with_all_namespaces(bundle: Bundle) -> None:
    """New namespaces of every type."""
    give_image_to(with_user(bundle), 100000)
    bundle.namespace("cgroup")
    if Path("/proc/self/ns/time").exists():
        bundle.namespace("time")


@pytest.mark.rows("R291", "R130")
@departs("runc", "1.1 has no time namespaces")
@departs("crun<1.21", "the container's /proc/self/ns is not searchable")
def test_every_namespace(container: Container, detached: Detached) -> None:
    with_all_namespaces(container.bundle)
    container.create().start()
    pid = detached("sleep", "1001")
    for kind in ALL_NAMESPACES:
        mine, theirs = (os.readlink(f"/proc/{number}/ns/{kind}") for number in (pid, container.pid))
        assert mine == theirs, kind


@pytest.mark.rows("R291", "R67")
def test_user_namespace(container: Container) -> None:
    """Ids are those of the container, and so are capabilities."""
    give_image_to(with_user(container.bundle), 100000)
    container.create().start()
    assert output(container, "id -u; id -g; touch /tmp/x && stat -c %u /tmp/x") == "0\n0\n0"
    assert (container.bundle.rootfs / "tmp/x").stat().st_uid == 100000
    assert output(container, "id -u; id -g", "-u", "7:8") == "7\n8"


@pytest.mark.rows("R291", "R67")
@pytest.mark.departs("crun", "R65: takes an id that is not mapped")
def test_user_that_is_not_mapped(container: Container) -> None:
    give_image_to(with_user(container.bundle), 100000)
    container.create().start()
    refused(container.exec("true", flags=("-u", "70000")))


@pytest.mark.rows("R291", "R131")
def test_namespaces_of_another_container(make_container: MakeContainer) -> None:
    first, second = make_container(), make_container()
    first.create().start()
    for kind, name in (("network", "net"), ("pid", "pid"), ("ipc", "ipc")):
        second.bundle.namespace(kind, f"/proc/{first.pid}/ns/{name}")
    second.create().start()
    own = os.readlink(f"/proc/{first.pid}/ns/net")
    assert output(second, "readlink /proc/self/ns/net") == own
    assert "sleep 1000" in output(second, "ps")
    second.kill("KILL").exit_status()


@pytest.mark.rows("R291")
@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "network"])
def test_namespace_of_the_host(container: Container, detached: Detached, kind: str) -> None:
    container.bundle.without_namespace(kind)
    if kind == "network":
        container.bundle.without_mount("/sys")
    if kind == "uts":
        del container.bundle.config["hostname"]
    container.create().start()
    name = {"network": "net"}.get(kind, kind)
    pid = detached("sleep", "1001")
    assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")


@pytest.mark.rows("R291", "R13")
def test_root_and_mounts(running: Container) -> None:
    """The process sees the container's root and mounts, and begins in its cwd."""
    running.bundle.file("/marker", "inside")
    mounts = output(running, "cat /marker; echo; pwd; readlink /proc/1/root; cat /proc/mounts")
    assert mounts.startswith("inside\n/\n/\n")
    assert " /dev/shm tmpfs " in mounts


@pytest.mark.rows("R291")
def test_created_container(container: Container) -> None:
    """There may be processes in it before its own is started."""
    container.create()
    assert output(container, "echo $((6 * 7))") == "42"
    assert container.status() == "created"


# the process


@pytest.mark.rows("R291", "R67")
@pytest.mark.parametrize(
    ("user", "uid", "gid"), [("1000", 1000, 0), ("0:5", 0, 5), ("2147483647", 2147483647, 0)]
)
def test_user(running: Container, user: str, uid: int, gid: int) -> None:
    status = status_of(running, "--user", user)
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(gid)] * 4


@pytest.mark.rows("R291")
@pytest.mark.parametrize(
    "user",
    ["root", "-1", "1:", ":1", "1:2:3", "0x1", " 1", "1 ", "+1", "1:u", "4294967295", "4294967296",
     "99999999999999999999", "1_0", "\u0661"],
)
@departs("runc", "takes what overflows, and +1")
@departs("crun", "takes names for 0")
def test_user_that_is_none(running: Container, user: str) -> None:
    """What is not a number must not become root (CVE-2026-30892)."""
    refused(running.exec("true", flags=(f"--user={user}",)))


@pytest.mark.rows("R291", "R69")
@departs("crun", "its option replaces the container's")
@departs("runc", "R69 1.1 ends with 1 for a number that is none")
def test_additional_gids(container: Container) -> None:
    container.bundle.process["user"]["additionalGids"] = [11]
    container.create().start()
    status = status_of(container, "-g", "12", "-g", "13")
    assert status["Groups"].split() == ["11", "12", "13"]
    refused(container.exec("true", flags=("-g", "-1")))
    refused(container.exec("true", flags=("-g", "wheel")))


@pytest.mark.rows("R291", "R65")
@departs("crun", "R65 1.8 drops the environment of the container")
def test_environment(container: Container) -> None:
    """Options add to the container's variables, and the last value wins."""
    container.bundle.env("KEPT=1", "CHANGED=old")
    container.create().start()
    flags = ("--env", "CHANGED=new", "--env", "TWICE=1", "--env=TWICE=2=3", "--env", "EMPTY=")
    lines = output(container, "env", *flags, env={**os.environ, "CALLER": "x"}).splitlines()
    assert {"KEPT=1", "CHANGED=new", "TWICE=2=3", "EMPTY="} <= set(lines)
    assert not any(line.startswith("CALLER=") or line == "CHANGED=old" for line in lines)


@pytest.mark.rows("R291", "R65")
@pytest.mark.parametrize("entry", ["NAME", "=value", ""])
@departs("runc", "R65 1.1 takes any text")
@departs("crun<1.21", "R65 takes any text")
def test_environment_that_is_none(running: Container, entry: str) -> None:
    refused(running.exec("true", flags=("--env", entry)))


@pytest.mark.rows("R291", "R65")
@departs("crun", "R65 only of users that there are")
def test_home(running: Container) -> None:
    """HOME is that of the user in the container's own passwd."""
    assert output(running, "echo $HOME") == "/root"
    assert output(running, "echo $HOME", "-u", "1000") == "/home/u"
    assert output(running, "echo $HOME", "-u", "1234") == "/"


@pytest.mark.rows("R291", "R66")
def test_program_is_found_in_the_path_of_the_options(running: Container) -> None:
    running.bundle.file("/opt/program", "#!/bin/sh\necho found\n", 0o755)
    flags = ("--env", "PATH=/bin:/opt")
    assert running.exec("program", flags=flags).stdout == "found\n"


@pytest.mark.rows("R291", "R66")
@pytest.mark.parametrize(
    ("program", "texts"),
    [
        ("no-such-program", ["executable file not found in $PATH"]),
        ("/no/such/program", ["no such file or directory"]),
        ("/etc/passwd", ["permission denied"]),
        ("/etc", ["permission denied", "is a directory"]),
        ("/script", ["no such file or directory"]),
        ("/text", ["exec format error"]),
    ],
)
@departs("crun", "prints the texts of the C library")
@departs("runc", "R291 1.1 ends with 1 if execve fails")
def test_program_that_cannot_run(running: Container, program: str, texts: list[str]) -> None:
    """The status is 255, and the words are those that engines look for."""
    running.bundle.file("/script", "#!/no/such/interpreter\n", 0o755)
    running.bundle.file("/text", "just text\n", 0o755)
    pid_file = running.runtime.workplace / "pid"
    result = running.exec(program, flags=("--pid-file", str(pid_file)))
    refused(result, *texts)
    assert "exec failed: " in result.stderr
    refused(running.exec(program, flags=("--detach",)), *texts)
    if running.runtime.name == "pyruntime":
        assert not pid_file.exists()


@pytest.mark.rows("R291", "R64")
@departs("crun", "prints the texts of the C library")
def test_cwd(running: Container) -> None:
    assert output(running, "pwd", "--cwd", "/tmp") == "/tmp"
    refused(running.exec("true", flags=("--cwd", "/no/such/directory")), "no such file")
    refused(running.exec("true", flags=("--cwd", "/etc/passwd")), "not a directory")


@pytest.mark.rows("R291", "R64")
@departs("crun", "takes a relative path")
def test_relative_cwd(running: Container) -> None:
    refused(running.exec("true", flags=("--cwd", "tmp")), "absolute")


@pytest.mark.rows("R291", "R61")
def test_capabilities_are_the_containers(running: Container) -> None:
    own = Path(f"/proc/{running.pid}/status").read_text()
    status = status_of(running)
    for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert f"{name}:\t{status[name]}\n" in own


CAP_NET_RAW = 1 << 13


@pytest.mark.rows("R291", "R61")
@departs("crun", "its option replaces the sets")
def test_capabilities_that_are_added(running: Container) -> None:
    """To three sets: bits in the inheritable set were CVE-2022-29162."""
    before, after = status_of(running), status_of(running, "--cap", "CAP_NET_RAW")
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(after[name], 16) == int(before[name], 16) | CAP_NET_RAW, name
    assert int(after["CapInh"], 16) == int(after["CapAmb"], 16) == 0


@pytest.mark.rows("R291", "R61")
@departs("crun", "makes it inheritable and ambient")
def test_ambient_needs_inheritable(container: Container) -> None:
    sets = container.bundle.process["capabilities"]
    sets["inheritable"] = sets["ambient"] = ["CAP_KILL"]
    container.create().start()
    status = status_of(container, "--cap", "CAP_NET_RAW", "--cap", "CAP_KILL")
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 1 << 5


@pytest.mark.rows("R291", "R71")
@pytest.mark.parametrize("value", [False, True])
@departs("crun", "R71 drops the value of the container")
def test_no_new_privs(container: Container, value: bool) -> None:
    container.bundle.process["noNewPrivileges"] = value
    container.create().start()
    assert status_of(container)["NoNewPrivs"] == str(int(value))
    assert status_of(container, "--no-new-privs")["NoNewPrivs"] == "1"


@pytest.mark.rows("R291", "R68")
@departs("runc", "R68 1.1 uses 0022")
@departs("crun", "R68 uses 0022")
def test_umask(container: Container) -> None:
    """The container's umask is that of all of its processes."""
    container.bundle.process["user"]["umask"] = 0o027
    container.create().start()
    assert output(container, "umask") == "0027"
    process = process_of(container, "sh", "-c", "umask", user={"uid": 0, "gid": 0})
    assert by_file(container, process).stdout.strip() == "0027"


@pytest.mark.rows("R291", "R70")
@departs("crun", "R70 1.8 drops those of the container")
@departs("runc", "R70 1.1 sets them when the process may run already")
def test_rlimits(container: Container) -> None:
    container.bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    container.create().start()
    assert output(container, "ulimit -Sn; ulimit -Hn") == "100\n200"
    process = process_of(container, "sh", "-c", "ulimit -Sn; ulimit -Hn")
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]
    assert by_file(container, process).stdout == "50\n60\n"


@pytest.mark.rows("R291", "R74")
@departs("crun", "R74 drops the value of the container")
def test_oom_score_adj(container: Container) -> None:
    container.bundle.process["oomScoreAdj"] = 700
    container.create().start()
    assert output(container, "cat /proc/self/oom_score_adj") == "700"


@pytest.mark.rows("R291", "R230")
def test_filter_of_the_container(container: Container) -> None:
    container.bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
        ],
    }
    container.create().start()
    assert status_of(container)["Seccomp"] == "2"
    result = container.exec("mkdir", "/tmp/x")
    assert result.status == 1 and "not supported" in result.stderr, str(result)


@pytest.mark.rows("R291", "R241")
@departs("crun", "R241 1.8 tells the agent of the container's own state")
def test_listener_of_the_filter(container: Container, workplace: Path) -> None:
    """The agent gets a descriptor for each process; the container of this one runs."""
    agent = ConsoleSocket(workplace / "agent.sock")
    container.bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(agent.path),
        "listenerMetadata": "meta",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}],
    }
    container.create().start()
    try:
        assert status_of(container)["Seccomp"] == "2"
        messages = [agent.receive() for _ in range(2)]
    finally:
        agent.close()
    first, second = (json.loads(data) for data, _ in messages)
    assert [len(descriptors) for _, descriptors in messages] == [1, 1]
    assert (first["state"]["status"], second["state"]["status"]) == ("creating", "running")
    assert (second["fds"], second["metadata"]) == (["seccompFd"], "meta")
    assert first["pid"] == second["state"]["pid"] == container.pid != second["pid"]


@pytest.mark.rows("R291", "R218")
@departs("runc", "R218 1.1 has no personality")
def test_personality(container: Container) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("uname names another machine under LINUX32 only where it is x86_64")
    container.bundle.linux["personality"] = {"domain": "LINUX32"}
    container.create().start()
    assert output(container, "uname -m") == "i686"


@pytest.mark.rows("R291", "R75")
@departs("runc", "R75 1.1 has no scheduler")
@departs("crun", "R75 not for exec")
def test_scheduler(container: Container) -> None:
    container.bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    container.create().start()
    fields = output(container, "cat /proc/self/stat").rpartition(")")[2].split()
    assert (fields[16], fields[38]) == ("5", "3")


@pytest.mark.rows("R291", "R220")
@departs("crun", "R220 1.8 gives it no such name")
def test_session_keyring(container: Container) -> None:
    """The process is in the session keyring of the container and makes no other."""
    if not Path("/proc/keys").exists():
        pytest.skip("the kernel has no keys")
    name = f"_ses.{container.id}"
    script = f"grep -F {name} /proc/keys"
    container.bundle.sh(f"{script}; sleep 1000")
    container.create().start()
    container.wait_output(name)
    for _ in range(2):
        found = output(container, script).splitlines()
        assert [line.split()[0] for line in found] == [container.output().split()[0]]


@pytest.mark.rows("R291", "R220")
def test_no_session_keyring(container: Container) -> None:
    if not Path("/proc/keys").exists():
        pytest.skip("the kernel has no keys")
    container.create("--no-new-keyring").start()
    assert f"_ses.{container.id}" not in output(container, "cat /proc/keys")


@pytest.mark.rows("R291")
def test_signal_dispositions_are_the_defaults(running: Container) -> None:
    status = status_of(running, before="trap '' INT TERM PIPE")
    assert int(status["SigIgn"], 16) == int(status["SigBlk"], 16) == 0


@pytest.mark.rows("R291")
@departs("crun<1.21", "makes no session")
def test_session_of_its_own(running: Container) -> None:
    """A process of exec cannot be reached by the caller's process group and terminal."""
    fields = output(running, "cat /proc/$$/stat").rpartition(")")[2].split()
    pid = output(running, "echo $$; cat /proc/$$/stat").split()
    assert fields[2] == fields[3] != "0"
    assert pid[0] == pid[1]


# execCPUAffinity


def affinity(container: Container, *flags: str, **settings: Any) -> str:
    """Cpus_allowed_list of a process of exec."""
    return status_of(container, *flags, **settings)["Cpus_allowed_list"]


def several_cpus() -> list[int]:
    """The processors that may be used; skips where there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two processors")
    return cpus


@pytest.mark.rows("R79")
@departs("runc", "R79 1.1 has no execCPUAffinity")
@departs("crun", "R79 1.8 has no execCPUAffinity")
def test_final_affinity(container: Container) -> None:
    """It is for exec and not for the container's own process."""
    last = several_cpus()[-1]
    container.bundle.process["execCPUAffinity"] = {"final": str(last)}
    container.create().start()
    assert affinity(container) == str(last)
    assert len(os.sched_getaffinity(container.pid)) > 1


@pytest.mark.rows("R79")
@departs("runc", "R79 1.1 has no execCPUAffinity")
@departs("crun", "R79 1.8 has no execCPUAffinity")
def test_affinity_in_the_file(container: Container) -> None:
    first, last = several_cpus()[0], several_cpus()[-1]
    container.bundle.process["execCPUAffinity"] = {"final": str(last)}
    container.create().start()
    process = process_of(container, "grep", "Cpus_allowed_list", "/proc/self/status")
    assert by_file(container, process).stdout.split()[-1] == str(last)
    process["execCPUAffinity"] = {"initial": str(last), "final": str(first)}
    assert by_file(container, process).stdout.split()[-1] == str(first)
    del process["execCPUAffinity"]  # then it is the container's
    assert by_file(container, process).stdout.split()[-1] == str(last)


@pytest.mark.rows("R79")
@departs("runc", "R79 1.1 hands its own affinity down")
@departs("crun", "R79 1.8 hands its own affinity down")
def test_affinity_of_the_caller(running: Container) -> None:
    """It does not reach the process."""
    cpus = several_cpus()
    assert affinity(running, before=f"taskset -p -c {cpus[0]} $$ >&2") != str(cpus[0])


@pytest.mark.rows("R79")
@departs("runc", "R79 1.1 has no execCPUAffinity")
@departs("crun", "R79 1.8 has no execCPUAffinity")
def test_affinity_with_processors_that_are_not_there(running: Container) -> None:
    process = process_of(running, "true", execCPUAffinity={"final": "8000"})
    refused(by_file(running, process))


# --process


@pytest.mark.rows("R291")
def test_file_is_all_that_counts(container: Container) -> None:
    """What it does not say is not taken from the container, but for limits and labels."""
    container.bundle.env("A=1").process["user"]["additionalGids"] = [5]
    container.create().start()
    process = {
        "args": ["sh", "-c", "echo $A; id -u; id -G; grep NoNewPrivs /proc/self/status; pwd"],
        "env": ["PATH=/bin"],
        "cwd": "/tmp",
        "user": {"uid": 3, "gid": 4},
    }
    result = by_file(container, process)
    assert result.stdout.split() == ["3", "4", "NoNewPrivs:", "0", "/tmp"], str(result)


@pytest.mark.rows("R291", "R61")
def test_file_without_capabilities(running: Container) -> None:
    """It gets no others than the container has."""
    process = process_of(running, "grep", "Cap", "/proc/self/status")
    del process["capabilities"]
    assert by_file(running, process).stdout == running.exec(*process["args"]).stdout


BAD_FILES: dict[str, dict[str, Any]] = {
    "relative cwd": {"cwd": "tmp"},
    "no args": {"args": []},
    "args that are no list": {"args": "true"},
    "unknown rlimit": {"rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]},
    "negative uid": {"user": {"uid": -1, "gid": 0}},
}


@pytest.mark.rows("R291")
@pytest.mark.parametrize("members", BAD_FILES.values(), ids=BAD_FILES)
@departs("crun", "checks little")
def test_bad_file(running: Container, members: dict[str, Any]) -> None:
    refused(by_file(running, process_of(running, "true", **members)))


@pytest.mark.rows("R291")
@pytest.mark.parametrize("text", ["", "{", "[]", "null", None])
def test_file_that_is_no_process(running: Container, text: str | None) -> None:
    path = running.runtime.workplace / "bad.json"
    if text is not None:
        path.write_text(text)
    result = running.runtime.run("exec", "--process", str(path), running.id)
    assert result.status == FAILED or running.runtime.name == "crun", str(result)
    assert result.status > 0 and result.stderr.strip(), str(result)


# cgroups


@pytest.mark.rows("R291", "R161")
def test_cgroups(running: Container, detached: Detached) -> None:
    pid = detached("sleep", "1001")
    assert cgroups_of(pid) == cgroups_of(running.pid)


@pytest.fixture
def below(running: Container) -> str:
    """The name of a group below the container's, in every hierarchy."""
    for controller in hierarchies():
        path = hierarchy(controller) / running.bundle.cgroups_path.lstrip("/") / "below"
        path.mkdir(exist_ok=True)
        if controller == "cpuset":
            for name in ("cpuset.cpus", "cpuset.mems"):
                (path / name).write_text((path.parent / name).read_text())
    for root in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        unified = root / running.bundle.cgroups_path.lstrip("/")
        if (root / "cgroup.controllers").exists() and unified.is_dir():
            (unified / "below").mkdir()
    return "below"


@pytest.mark.rows("R291", "R161")
@departs("crun<1.21", "R291 has only --cgroup=PATH")
def test_sub_cgroup(running: Container, below: str, detached: Detached) -> None:
    path = running.bundle.cgroups_path
    for form in (below, f"/{below}/", f"./{below}"):
        pid = detached("sleep", "1001", flags=("--cgroup", form))
        found = cgroups_of(pid)
        assert {found[name] for name in hierarchies()} <= {f"{path}/{below}"}
        assert main_path(pid) == f"{path}/{below}"


@pytest.mark.rows("R291", "R161")
@departs("crun", "R291 1.8 has only --cgroup=PATH")
def test_sub_cgroup_of_some_controllers(
    running: Container, below: str, detached: Detached
) -> None:
    hierarchy("pids"), hierarchy("memory")
    path = running.bundle.cgroups_path
    flags = ("--cgroup", f"pids,memory:{below}", "--cgroup", "cpu:/")
    found = cgroups_of(detached("sleep", "1001", flags=flags))
    assert found["pids"] == found["memory"] == f"{path}/{below}"
    assert found["cpu"] == found["freezer"] == path


@pytest.mark.rows("R291", "R161")
@pytest.mark.parametrize(
    "arguments",
    [
        ["../{parent}"], ["/.."], ["below/../.."], ["pids:../x"], ["no-such-group"],
        ["pids:no-such-group"], ["whatever:below"], ["below", "below"], ["pids:below", "pids:/"],
        ["a:b:c"],
    ],
    ids=str,
)
@departs("crun", "R291 1.8 has only --cgroup=PATH")
@departs("runc", "R291 1.1 lets .. lead back, and takes the last of two paths")
def test_sub_cgroup_that_is_none(running: Container, below: str, arguments: list[str]) -> None:
    """Nothing leads out of the container's cgroup, and nothing is made."""
    words = [text.format(parent=running.bundle.cgroups_path.lstrip("/")) for text in arguments]
    refused(running.exec("true", flags=tuple(f"--cgroup={word}" for word in words)))


# terminals


@pytest.mark.rows("R291", "R62")
def test_detached_on_a_terminal(
    running: Container, detached: Detached, console: ConsoleSocket
) -> None:
    script = "stty -echo; tty; for fd in 0 1 2; do [ -t $fd ] || echo $fd; done; cat /dev/tty"
    detached("sh", "-c", script, flags=("--tty", "--console-socket", str(console.path)))
    terminal = console.terminal()
    assert terminal.wait_text("\r\n") == "/dev/pts/0\r\n"
    terminal.write("typed\n")
    terminal.wait_text("typed\r\n")
    terminal.write("\x04")
    terminal.wait_end()


@pytest.mark.rows("R291", "R62")
def test_terminal_asked_for_in_the_file(
    running: Container, detached: Detached, console: ConsoleSocket
) -> None:
    """The form in which engines ask, with a size."""
    process = process_of(
        running, "stty", "size", terminal=True, consoleSize={"height": 33, "width": 77}
    )
    detached(flags=("--console-socket", str(console.path), "-p", process_file(running, process)))
    data, descriptors = console.receive()
    assert 0 < len(data) < 4096
    assert "33 77" in Terminal(descriptors[0]).wait_end()


@pytest.mark.rows("R291", "R62")
@departs("crun", "R62 1.8 leaves it to root")
def test_terminal_of_a_user(
    running: Container, detached: Detached, console: ConsoleSocket
) -> None:
    """It belongs to the user of the process, so that it can be opened by its name."""
    flags = ("-t", "-u", "1000", "--console-socket", str(console.path))
    detached("sh", "-c", "stat -c %u $(tty); echo open >$(tty)", flags=flags)
    assert console.terminal().wait_end() == "1000\r\nopen\r\n"


@pytest.mark.rows("R291", "R62")
@departs("crun", "R62 1.8 allocates a terminal that nobody reads")
def test_terminal_without_console_socket(running: Container) -> None:
    refused(running.exec("true", flags=("-d", "-t")), "console socket")


@pytest.mark.rows("R291", "R62")
@departs("crun", "R62 ignores the socket")
def test_console_socket_without_terminal(running: Container, console: ConsoleSocket) -> None:
    refused(
        running.exec("true", flags=("-d", "--console-socket", str(console.path))), "console socket"
    )


class ExecOnTerminal(OnTerminal):
    """`exec --tty` as the session leader of a terminal of ours."""

    def __init__(self, container: Container, script: str) -> None:
        master, self.slave = os.openpty()
        self.terminal = Terminal(master)
        self.terminal.set_size(25, 81)
        self.attributes = termios.tcgetattr(self.slave)
        command = container.runtime.command("exec", "--tty", container.id, "sh", "-c", script)
        leader = (
            "import fcntl, os, sys, termios;"
            "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-IS", "-c", leader, *command],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
        )


@pytest.mark.rows("R291", "R62", "R63")
@departs("runc", "R63 sets the size when the process may have asked already")
@departs("crun", "R63 1.8 does not copy the first size")
def test_foreground_on_a_terminal(running: Container) -> None:
    script = "stty -echo; stty size; echo ready; read line; echo got $line; exit 6"
    exec_ = ExecOnTerminal(running, script)
    try:
        assert "25 81\r\n" in exec_.terminal.wait_text("ready\r\n")
        exec_.terminal.write("hello\n")
        exec_.terminal.wait_text("got hello\r\n")
        assert exec_.process.wait(TIMEOUT) == 6
        assert termios.tcgetattr(exec_.slave) == exec_.attributes
    finally:
        exec_.close()


@pytest.mark.rows("R291", "R62")
@departs("crun", "says it in other words")
def test_terminal_where_there_is_none(running: Container) -> None:
    result = running.exec("true", flags=("--tty",), before="exec </dev/null; ")
    if result.status == 0:
        pytest.skip("the tests themselves have a terminal")
    refused(result, "/dev/tty", "terminal")


# the foreground and what comes after it


@pytest.mark.rows("R291")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(running: Container, number: signal.Signals) -> None:
    out = running.runtime.workplace / "passed"
    script = f"trap 'echo got; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.02; done"
    command = running.runtime.command("exec", running.id, "sh", "-c", script)
    with open(out, "wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, process_group=0
        )
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    process.send_signal(number)
    assert process.wait(TIMEOUT) == 5
    assert out.read_text() == "ready\ngot\n"


@pytest.mark.rows("R291")
@pytest.mark.parametrize("number", [1, 9, 15, 34])
def test_status_after_a_signal(running: Container, number: int) -> None:
    assert running.exec("sh", "-c", f"kill -{number} $$").status == 128 + number


@pytest.mark.rows("R291")
def test_end_of_the_container_ends_it(running: Container) -> None:
    out = running.runtime.workplace / "ended"
    command = running.runtime.command("exec", running.id, "sh", "-c", "echo ready; sleep 1000")
    with open(out, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    wait_for(lambda: "ready" in out.read_text(), "the process")
    running.stop()
    assert process.wait(TIMEOUT) == 137


@pytest.mark.rows("R291")
def test_nothing_but_the_process_holds_the_output(running: Container, workplace: Path) -> None:
    """A caller that reads the output of a detached process gets the end of file with its end."""
    read, write = os.pipe()
    file = workplace / "pid"
    flags = ("--detach", "--pid-file", str(file))
    command = running.runtime.command("exec", *flags, running.id, "echo", "output")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=write, stderr=write, timeout=TIMEOUT
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    assert (done.returncode, text) == (0, "output\n")
    os.waitpid(int(file.read_text()), 0)


@pytest.mark.rows("R291")
def test_output_is_ours_and_no_pipe(running: Container) -> None:
    """What the process writes goes where ours goes, without anybody in between."""
    assert "/command" in output(running, "readlink /proc/self/fd/1") or (
        running.runtime.name != "pyruntime"
    )


@pytest.mark.rows("R291")
def test_pid_file(running: Container, detached: Detached, workplace: Path) -> None:
    """It is whole, and there is no other file beside it."""
    directory = workplace / "files"
    directory.mkdir()
    pid = detached("sleep", "1001", file=directory / "pid")
    assert os.listdir(directory) == ["pid"]
    assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


@pytest.mark.rows("R291")
@departs("crun", "ends with 1")
def test_pid_file_that_cannot_be_written(running: Container) -> None:
    """The process that nobody could find does not run."""
    running.bundle.file("/ran").unlink()
    path = "/proc/no/such/directory/pid"
    refused(running.exec("touch", "/ran", flags=("-d", "--pid-file", path)))
    assert "sleep 1000" in output(running, "ps")
    if running.runtime.name == "pyruntime":
        assert not (running.bundle.rootfs / "ran").exists()


@pytest.mark.rows("R291")
@departs("runc", "1.1 has no --pidfd-socket")
@departs("crun", "has no --pidfd-socket")
def test_pidfd_socket(running: Container, detached: Detached, workplace: Path) -> None:
    listener = ConsoleSocket(workplace / "pidfd.sock")
    try:
        pid = detached("sleep", "1001", flags=("--pidfd-socket", str(listener.path)))
        data, descriptors = listener.receive()
        assert (data, len(descriptors)) == (b"setns", 1)
        about = Path(f"/proc/self/fdinfo/{descriptors[0]}").read_text().split()
        assert about[about.index("Pid:") + 1] == str(pid)
        signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    finally:
        listener.close()


@pytest.mark.rows("R291", "R41")
@departs("crun", "says nothing")
@departs("runc", "R41 takes its own descriptors for ours")
def test_preserved_descriptor_that_is_not_open(running: Container) -> None:
    result = running.exec("true", flags=("--preserve-fds", "3"), redirections="3</dev/null")
    refused(result, "preserved-fd")


@pytest.mark.rows("R291", "R154")
def test_null_device_is_the_containers(running: Container) -> None:
    """The host's null device is not within reach: its mode could be changed there."""
    about = output(running, "stat -L -c '%d %i' /proc/self/fd/0 /dev/null").splitlines()
    host = os.stat("/dev/null")
    if running.runtime.name == "pyruntime":
        assert about[0] == about[1] != f"{host.st_dev} {host.st_ino}"
    assert stat.S_ISCHR(host.st_mode)


# states


@pytest.mark.rows("R291", "R163")
@departs("crun", "ends with 1")
def test_paused_container(running: Container) -> None:
    """A process may be put there to run later only if that is asked for."""
    running.runtime.ok("pause", running.id)
    refused(running.exec("true"), "paused")
    out = running.runtime.workplace / "paused"
    command = running.runtime.command("exec", "--ignore-paused", running.id, "echo", "resumed")
    if not running.runtime.lists_option("exec", "--ignore-paused"):
        pytest.skip("this runtime has no --ignore-paused")
    with open(out, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    wait_for(lambda: len(container_processes(running)) > 1, "the process in the cgroup")
    assert process.poll() is None
    running.runtime.ok("resume", running.id)
    assert (process.wait(TIMEOUT), out.read_text()) == (0, "resumed\n")


def container_processes(container: Container) -> list[str]:
    """The pids in the container's cgroup."""
    return processes_file(container).read_text().split()


@pytest.mark.rows("R291")
@departs("crun", "ends with 1")
def test_container_that_has_stopped(running: Container) -> None:
    running.stop()
    refused(running.exec("true"), "stopped", "not running")


@pytest.mark.rows("R291")
@departs("crun", "ends with 1")
def test_container_that_there_is_not(runtime: Runtime) -> None:
    refused(runtime.run("exec", "no-such-container", "true"), "does not exist")


@pytest.mark.rows("R291")
def test_config_that_has_changed_since(running: Container) -> None:
    """What is executed is what was created, whatever the bundle says by now (R6)."""
    if running.runtime.name != "pyruntime":
        pytest.skip("the others read the bundle's config.json anew")
    (running.bundle.path / "config.json").unlink()
    assert output(running, "echo works") == "works"


@pytest.mark.rows("R291")
def test_many_at_once(running: Container) -> None:
    """They do not disturb each other."""
    commands = [
        running.runtime.command("exec", running.id, "sh", "-c", f"exit {number}")
        for number in range(8)
    ]
    started_ones = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in commands
    ]
    assert [process.wait(TIMEOUT) for process in started_ones] == list(range(8))


# ps


def pids_of(container: Container, *words: str) -> Any:
    """`ps --format json`."""
    return container.runtime.ok("ps", "--format", "json", container.id, *words).json()


@pytest.mark.rows("R295")
def test_ps_json(running: Container, detached: Detached) -> None:
    pid = detached("sleep", "1001")
    assert sorted(pids_of(running)) == sorted([running.pid, pid])


@pytest.mark.rows("R295")
@departs("crun", "prints an empty array")
def test_ps_of_a_stopped_container(running: Container) -> None:
    running.stop()
    assert running.runtime.ok("ps", "-f", "json", running.id).stdout == "null\n"
    lines = running.runtime.ok("ps", running.id).stdout.splitlines()
    assert len(lines) == 1 and "PID" in lines[0]


@pytest.mark.rows("R295")
@departs("crun", "R295 takes no options for ps")
def test_ps_options(running: Container) -> None:
    """Options after the id are those of ps."""
    lines = running.runtime.ok("ps", running.id, "-e", "-o", "pid,ppid,args").stdout.splitlines()
    assert lines[0].split() == ["PID", "PPID", "COMMAND"]
    rows = [line.split(None, 2) for line in lines[1:]]
    assert [(row[0], row[2]) for row in rows] == [(str(running.pid), "/bin/sleep 1000")]


@pytest.mark.rows("R295")
@pytest.mark.parametrize("words", [["-e", "-o", "args"], ["--no-such-option"]])
def test_ps_options_that_cannot_be_used(running: Container, words: list[str]) -> None:
    running.runtime.refused("ps", running.id, *words)


@pytest.mark.rows("R295")
@departs("crun<1.21", "takes any word for table")
def test_ps_format_that_there_is_not(running: Container) -> None:
    running.runtime.refused("ps", "--format", "yaml", running.id)


@pytest.mark.rows("R295")
@departs("crun", "prints another text")
def test_ps_of_no_container(runtime: Runtime) -> None:
    assert "does not exist" in runtime.refused("ps", "no-such-container").stderr


