"""Bundle and lifecycle: sections 1 and 2 of the requirements, and `run` in the foreground."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import TIMEOUT, Container, Runtime, alive, nothing_left, wait_for

TRAP = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.1; done"

CRUN_VERSIONS = pytest.mark.departs("crun", "R11 1.8 refuses versions that it does not know")
VERSIONS = [
    "1.0.0",
    "1.0.2-dev",
    *(pytest.param(version, marks=CRUN_VERSIONS) for version in ("1.1.0", "1.3.0", "1.99.0")),
]

CRUN_IDS = pytest.mark.departs("crun", "R36 1.8 checks only for slashes")
INVALID_IDS = [
    "",
    "a/b",
    "../a",
    *(
        pytest.param(identifier, marks=CRUN_IDS)
        for identifier in (".", "..", "/a", "a b", "a\nb", "a:b")
    ),
]

CRUN_SIGNALS = pytest.mark.departs("crun", "R38 knows names in upper case only")
KILL_FORMS = [
    "KILL",
    "SIGKILL",
    "9",
    *(pytest.param(form, marks=CRUN_SIGNALS) for form in ("kill", "sigkill")),
]


# Bundle, root, hostname


@pytest.mark.rows("R36", "R37", "R39", "R40")
def test_whole_life(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.sh("echo hello; exit 3")
    container.create()
    assert container.status() == "created"
    assert container.output() == ""
    container.start()
    assert container.exit_status() == 3
    container.wait_stopped()
    assert container.output() == "hello\n"
    container.delete()
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R10", "R30")
def test_bundle_is_the_working_directory_by_default(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.save()
    runtime.ok("create", container.id, cwd=bundle.path)
    assert container.state()["bundle"] == str(bundle.path)


@pytest.mark.rows("R10", "R30")
def test_relative_bundle_is_absolute_in_the_state(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.save()
    runtime.ok("create", "--bundle", bundle.path.name, container.id, cwd=bundle.path.parent)
    assert container.state()["bundle"] == str(bundle.path)


@pytest.mark.rows("R11")
@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_the_same_major(container: Container, bundle: Bundle, version: str) -> None:
    bundle.config["ociVersion"] = version
    bundle.args("echo", "ran")
    assert container.finish() == "ran\n"


@pytest.mark.rows("R3")
def test_unknown_properties_are_ignored(container: Container, bundle: Bundle) -> None:
    bundle.config["com.example.unknown"] = {"a": [1, None]}
    bundle.process["unknown"] = "x"
    bundle.linux["unknown"] = 1.5
    bundle.args("echo", "ran")
    assert container.finish() == "ran\n"


@pytest.mark.rows("R13")
def test_absolute_root_path(container: Container, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = str(bundle.rootfs)
    bundle.args("echo", "ran")
    assert container.finish() == "ran\n"


@pytest.mark.rows("R13")
def test_root_is_the_bundles(container: Container, bundle: Bundle) -> None:
    bundle.file("/etc/mark", "this root\n")
    bundle.args("cat", "/etc/mark")
    assert container.finish() == "this root\n"


@pytest.mark.rows("R14")
def test_readonly_root(container: Container, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.sh("touch /x 2>&1; touch /dev/shm/y && echo shm is writable")
    output = container.finish()
    assert "Read-only file system" in output
    assert "shm is writable" in output
    assert not (bundle.rootfs / "x").exists()


@pytest.mark.rows("R14")
def test_writable_root(container: Container, bundle: Bundle) -> None:
    del bundle.config["root"]["readonly"]
    bundle.sh("echo text >/x")
    container.finish()
    assert (bundle.rootfs / "x").read_text() == "text\n"


@pytest.mark.rows("R14")
def test_readonly_root_comes_after_mount_points_and_cwd(
    container: Container, bundle: Bundle
) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.process["cwd"] = "/made/cwd"
    bundle.mount("/made/mount", "tmpfs", "tmpfs")
    bundle.sh("pwd; grep -c ' /made/mount ' /proc/mounts")
    assert container.finish() == "/made/cwd\n1\n"


@pytest.mark.rows("R15")
def test_hostname(container: Container, bundle: Bundle) -> None:
    before = os.uname().nodename
    bundle.config["hostname"] = "some-name"
    bundle.args("hostname")
    assert container.finish() == "some-name\n"
    assert os.uname().nodename == before


@pytest.mark.rows("R15")
@pytest.mark.parametrize("hostname", ["", None])
def test_hostname_unset(container: Container, bundle: Bundle, hostname: str | None) -> None:
    del bundle.config["hostname"]
    if hostname is not None:
        bundle.config["hostname"] = hostname
    bundle.args("uname", "-n")
    assert container.finish() == os.uname().nodename + "\n"


@pytest.mark.rows("R15")
def test_hostname_needs_a_uts_namespace(container: Container, bundle: Bundle) -> None:
    before = os.uname().nodename
    bundle.without_namespace("uts")
    container.refused()
    assert os.uname().nodename == before


@pytest.mark.rows("R16")
@pytest.mark.departs("runc", "R16 1.1 does not know domainname")
def test_domainname(container: Container, bundle: Bundle) -> None:
    bundle.config["domainname"] = "domain.example"
    bundle.args("cat", "/proc/sys/kernel/domainname")
    assert container.finish() == "domain.example\n"


@pytest.mark.rows("R17")
@pytest.mark.departs("runc", "R17 create fails without process")
@pytest.mark.departs("crun", "R17 1.8 fails at create")
def test_process_is_optional_until_start(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    del bundle.config["process"]
    container.create()
    assert container.status() == "created"
    runtime.refused("start", container.id)
    container.delete("--force")
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R19")
def test_default_file_systems(container: Container, bundle: Bundle) -> None:
    bundle.sh("while read a mount kind rest; do echo $mount $kind; done </proc/mounts")
    mounted = container.finish().splitlines()
    for line in ("/proc proc", "/sys sysfs", "/dev/pts devpts", "/dev/shm tmpfs"):
        assert line in mounted


# create


@pytest.mark.rows("R36")
def test_args_are_not_applied_before_start(container: Container, bundle: Bundle) -> None:
    bundle.sh("echo ran >/ran")
    container.create()
    assert container.status() == "created"
    assert not (bundle.rootfs / "ran").exists()
    container.start().wait_stopped()
    assert (bundle.rootfs / "ran").read_text() == "ran\n"


@pytest.mark.rows("R36")
def test_duplicate_id_leaves_the_first_alone(
    runtime: Runtime, container: Container, make_container: Callable[[], Container]
) -> None:
    other = make_container()
    other.bundle.save()
    container.create()
    pid = container.state()["pid"]
    runtime.refused("create", "--bundle", str(other.bundle.path), container.id)
    assert container.status() == "created"
    assert container.state()["pid"] == pid
    assert container.state()["bundle"] == str(container.bundle.path)


@pytest.mark.rows("R36")
@pytest.mark.parametrize("identifier", INVALID_IDS)
def test_invalid_id(runtime: Runtime, bundle: Bundle, identifier: str) -> None:
    bundle.save()
    runtime.refused("create", "--bundle", str(bundle.path), identifier)
    assert not runtime.root.exists() or os.listdir(runtime.root) == []


@pytest.mark.rows("R36")
@pytest.mark.parametrize("identifier", ["A", "a.b", "_x", "a+b", "a-b", "0", "a" * 128])
def test_valid_id(runtime: Runtime, bundle: Bundle, identifier: str) -> None:
    bundle.save()
    runtime.ok("create", "--bundle", str(bundle.path), identifier)
    assert runtime.ok("state", identifier).json()["id"] == identifier
    runtime.ok("delete", "--force", identifier)


@pytest.mark.rows("R36", "R35", "R37", "R38", "R39")
@pytest.mark.parametrize("verb", ["create", "state", "start", "kill", "delete"])
def test_no_id(runtime: Runtime, bundle: Bundle, verb: str) -> None:
    bundle.save()
    result = runtime.run(verb, cwd=bundle.path)
    assert result.status != 0
    assert result.stderr or result.stdout


@pytest.mark.rows("R36", "R35", "R37", "R38", "R39")
@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
def test_unknown_id(runtime: Runtime, verb: str) -> None:
    runtime.refused(verb, "nobody")


@pytest.mark.rows("R6")
def test_changes_of_the_config_after_create_have_no_effect(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.sh("echo first; hostname")
    bundle.config["annotations"] = {"com.example.key": "first"}
    bundle.hook("poststop", f"echo first >>{bundle.path}/poststop")
    container.create()
    bundle.sh("echo second; hostname")
    bundle.config["annotations"] = {"com.example.key": "second"}
    bundle.config["hostname"] = "second"
    bundle.config["hooks"] = {}
    bundle.hook("poststop", f"echo second >>{bundle.path}/poststop")
    bundle.save()
    container.start().wait_stopped()
    assert container.output() == "first\nconformance\n"
    assert container.state()["annotations"] == {"com.example.key": "first"}
    container.delete()
    assert (bundle.path / "poststop").read_text() == "first\n"


@pytest.mark.rows("R6", "R39")
def test_delete_without_the_bundle(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.args("true")
    container.create().start().wait_stopped()
    shutil.rmtree(bundle.path)
    container.delete()
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R290")
def test_pid_file(container: Container) -> None:
    container.create()
    text = container.pid_file.read_text()
    assert text.isdecimal()
    assert int(text) == container.state()["pid"]
    mine = [name for name in os.listdir(container.pid_file.parent) if container.id in name]
    assert sorted(mine) == sorted(
        [container.id, container.pid_file.name, container.stdout.name, container.stderr.name]
    )


@pytest.mark.rows("R290")
@pytest.mark.departs("crun", "R290 opens the path as given, from the bundle")
def test_pid_file_is_relative_to_the_working_directory(
    runtime: Runtime, container: Container, bundle: Bundle, workplace: Path
) -> None:
    bundle.save()
    runtime.ok(
        "create", "--pid-file", "mine", "--bundle", str(bundle.path), container.id, cwd=workplace
    )
    assert int((workplace / "mine").read_text()) == container.state()["pid"]


@pytest.mark.rows("R290")
@pytest.mark.departs("crun", "R290 opens the path as given, from the bundle")
def test_pid_file_is_replaced_and_not_written_through(
    container: Container, workplace: Path
) -> None:
    (workplace / "victim").write_text("precious")
    container.pid_file.symlink_to(workplace / "victim")
    container.bundle.save()
    container.runtime.ok(
        "create",
        "--pid-file",
        str(container.pid_file),
        "--bundle",
        str(container.bundle.path),
        container.id,
    )
    assert (workplace / "victim").read_text() == "precious"
    assert int(container.pid_file.read_text()) == container.state()["pid"]


@pytest.mark.rows("R290")
def test_pidfd_socket(
    runtime: Runtime, container: Container, workplace: Path
) -> None:
    if not runtime.lists_option("create", "--pidfd-socket"):
        pytest.skip("the help of create does not list --pidfd-socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(workplace / "pidfd.sock"))
    listener.listen()
    container.create("--pidfd-socket", str(workplace / "pidfd.sock"))
    listener.settimeout(TIMEOUT)
    connection, _ = listener.accept()
    data, descriptors, _, _ = socket.recv_fds(connection, 4096, 4)
    assert data == b"standard"
    assert len(descriptors) == 1
    signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
    assert container.exit_status() == 128 + signal.SIGKILL
    os.close(descriptors[0])
    connection.close()
    listener.close()


@pytest.mark.rows("R36")
def test_init_is_a_child_of_the_caller(container: Container) -> None:
    container.create()
    fields = Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) == os.getpid()


# start


@pytest.mark.rows("R37")
def test_second_start(runtime: Runtime, container: Container) -> None:
    container.create().start()
    pid = container.state()["pid"]
    result = runtime.refused("start", container.id)
    assert result.stdout == ""
    assert container.status() == "running"
    assert container.state()["pid"] == pid


@pytest.mark.rows("R37")
def test_start_of_a_stopped_container(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.sh("echo once")
    container.create().start().wait_stopped()
    runtime.refused("start", container.id)
    assert container.status() == "stopped"
    assert container.output() == "once\n"


@pytest.mark.rows("R37", "R32")
def test_start_after_the_init_died(runtime: Runtime, container: Container) -> None:
    container.create()
    os.kill(container.pid, signal.SIGKILL)
    container.wait_stopped()
    runtime.refused("start", container.id)
    container.delete()
    nothing_left(runtime, container.id, container.bundle)


@pytest.mark.rows("R37")
def test_start_returns_for_a_process_that_ends_at_once(
    container: Container, bundle: Bundle
) -> None:
    bundle.args("true")
    container.create().start()
    assert container.exit_status() == 0


# kill


@pytest.mark.rows("R38")
@pytest.mark.parametrize("form", KILL_FORMS)
def test_kill_signal_forms(container: Container, form: str) -> None:
    container.create().start().kill(form)
    assert container.exit_status() == 128 + signal.SIGKILL
    container.wait_stopped()


@pytest.mark.rows("R38")
@pytest.mark.parametrize("arguments", [(), ("TERM",), ("15",), ("SIGTERM",)])
def test_kill_term(container: Container, bundle: Bundle, arguments: tuple[str, ...]) -> None:
    bundle.sh(TRAP)
    container.create().start().wait_output("ready")
    container.kill(*arguments)
    assert container.exit_status() == 7
    assert container.output() == "ready\ncaught\n"


@pytest.mark.rows("R38")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, 35])
def test_kill_sends_that_signal(container: Container, bundle: Bundle, number: int) -> None:
    bundle.sh(f"trap 'exit 9' {int(number)}; echo ready; while :; do sleep 0.1; done")
    container.create().start().wait_output("ready")
    container.kill(str(int(number)))
    assert container.exit_status() == 9


@pytest.mark.rows("R38")
def test_kill_reaches_only_the_container_process(container: Container, bundle: Bundle) -> None:
    bundle.sh(
        "sh -c 'trap \"echo child >/child\" USR1; echo ready; while :; do sleep 0.1; done' &\n"
        "trap 'echo init; exit 5' USR1; while :; do sleep 0.1; done"
    )
    container.create().start().wait_output("ready")
    container.kill("USR1")
    assert container.exit_status() == 5
    assert not (bundle.rootfs / "child").exists()


@pytest.mark.rows("R38")
def test_kill_of_a_created_container(container: Container) -> None:
    container.create().kill("KILL")
    assert container.exit_status() == 128 + signal.SIGKILL
    container.wait_stopped().delete()


@pytest.mark.rows("R38")
def test_kill_of_a_stopped_container(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.args("true")
    container.create().start().wait_stopped()
    runtime.refused("kill", container.id, "KILL")
    assert container.status() == "stopped"


@pytest.mark.rows("R38")
def test_kill_without_a_pid_namespace(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.without_namespace("pid")
    bundle.sh("sleep 1000 & echo child $!; wait")
    container.create().start()
    child = int(container.wait_output("child ").split()[1])
    assert alive(child)
    container.stop().delete()
    wait_for(lambda: not alive(child), "the end of the child, which lived in the cgroup")
    nothing_left(runtime, container.id, bundle)


# delete


@pytest.mark.rows("R39")
def test_delete_of_a_running_container(runtime: Runtime, container: Container) -> None:
    container.create().start()
    pid = container.state()["pid"]
    runtime.refused("delete", container.id)
    assert container.status() == "running"
    assert alive(pid)


@pytest.mark.rows("R39")
def test_delete_of_a_created_container(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    """The text wants an error here; engines rely on what runc does: kill and delete."""
    container.create().delete()
    assert container.exit_status() == 128 + signal.SIGKILL
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R39", "R293")
@pytest.mark.parametrize("option", ["--force", "-f"])
def test_forced_delete_of_a_running_container(
    runtime: Runtime, container: Container, bundle: Bundle, option: str
) -> None:
    container.create().start().delete(option)
    assert container.exit_status() == 128 + signal.SIGKILL
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R39", "R293")
def test_forced_delete_of_an_unknown_id(runtime: Runtime) -> None:
    result = runtime.ok("delete", "--force", "nobody")
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.rows("R39")
def test_deleted_is_unknown(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.args("true")
    container.create().start().wait_stopped().delete()
    for verb in ("state", "delete", "kill", "start"):
        runtime.refused(verb, container.id)


@pytest.mark.rows("R39")
def test_id_can_be_used_again(container: Container, bundle: Bundle) -> None:
    for number in range(2):
        bundle.args("echo", str(number))
        container.create().start()
        assert container.exit_status() == 0
        container.wait_stopped().delete()
        container._status = None
    assert container.output() == "0\n1\n"


@pytest.mark.rows("R39")
def test_delete_leaves_the_bundle(container: Container, bundle: Bundle) -> None:
    bundle.sh("echo kept >/kept")
    container.create().start().wait_stopped().delete()
    assert (bundle.rootfs / "kept").read_text() == "kept\n"
    assert json.loads((bundle.path / "config.json").read_text()) == bundle.config


# run in the foreground


@pytest.mark.rows("R290")
@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_run_passes_the_exit_status(
    runtime: Runtime, container: Container, bundle: Bundle, status: int
) -> None:
    bundle.sh(f"echo out; echo err >&2; exit {status}")
    result = container.try_create(verb="run")
    assert result.status == status
    assert result.stdout == "out\n"
    assert "err\n" in result.stderr
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R290")
def test_run_of_a_process_that_a_signal_ends(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.sh("echo ready; exec sleep 1000")
    process = start_ready(container)
    os.kill(runtime.ok("state", container.id).json()["pid"], signal.SIGKILL)
    assert process.wait(TIMEOUT) == 128 + signal.SIGKILL
    nothing_left(runtime, container.id, bundle)


def start_run(container: Container, *options: str) -> subprocess.Popen[bytes]:
    """Start `run` without waiting for it."""
    container.bundle.save()
    command = container.runtime.command(
        "run", "--bundle", str(container.bundle.path), *options, container.id
    )
    with open(container.stdout, "ab") as stdout, open(container.stderr, "ab") as stderr:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )


def start_ready(container: Container) -> subprocess.Popen[bytes]:
    """Start `run`, and wait until the container has written "ready"."""
    process = start_run(container)
    wait_for(
        lambda: "ready" in container.output() or process.poll() is not None,
        f"ready, or the end of {container.id}",
    )
    assert "ready" in container.output(), container.errors()
    return process


@pytest.mark.rows("R290")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_run_forwards_signals(
    runtime: Runtime, container: Container, bundle: Bundle, number: int
) -> None:
    bundle.sh(f"trap 'echo caught; exit 7' {int(number)}; echo ready; while :; do sleep 0.1; done")
    process = start_ready(container)
    process.send_signal(number)
    assert process.wait(TIMEOUT) == 7
    assert container.output() == "ready\ncaught\n"
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R290")
def test_run_passes_standard_input(container: Container, bundle: Bundle) -> None:
    bundle.args("cat")
    text = "0123456789abcdef" * 16384
    assert container.try_create(verb="run", stdin=text).stdout == text


@pytest.mark.rows("R290")
def test_run_keep(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    if not runtime.lists_option("run", "--keep"):
        pytest.skip("the help of run does not list --keep")
    bundle.args("true")
    assert container.try_create("--keep", verb="run").status == 0
    assert container.status() == "stopped"
    container.delete()
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R290")
@pytest.mark.parametrize("option", ["--detach", "-d"])
def test_run_detached(container: Container, bundle: Bundle, option: str) -> None:
    bundle.sh(TRAP)
    assert container.try_create(option, verb="run").status == 0
    assert container.status() == "running"
    assert container.pid == container.state()["pid"]
    container.wait_output("ready")
    container.kill()
    assert container.exit_status() == 7
    container.wait_stopped().delete()


@pytest.mark.rows("R290")
def test_run_refused_leaves_nothing(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.args("/bin/no-such-program")
    result = container.try_create(verb="run")
    assert result.status == 1
    assert "no-such-program" in result.stderr
    nothing_left(runtime, container.id, bundle)
