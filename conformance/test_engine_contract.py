"""What container engines rely on: exit statuses, texts, logs, files, process parentage.

The texts are those that containerd's shim, Docker, Podman and buildah look for.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.conftest import cases
from conformance.runtime import (
    TIMEOUT,
    Container,
    Result,
    Runtime,
    alive,
    nothing_left,
    wait_for,
)

departs = pytest.mark.departs
CRUN_TEXTS = "has texts and statuses of its own"

PREPARE: dict[str, Callable[[Container], object]] = {
    "unknown": lambda container: None,
    "created": lambda container: container.create(),
    "running": lambda container: container.create().start(),
    "paused": lambda container: pause(container.create().start()),
    "stopped": lambda container: container.create().start().stop(),
}

ANY = ""
ABSENT = "container does not exist"
NOT_RUNNING = "container not running"
NOT_STOPPED = "that is not stopped: running"

# condition, command line with ID for the id, status, text in stderr
TABLE = [
    ("unknown", "state ID", 1, ABSENT),
    ("unknown", "start ID", 1, ABSENT),
    ("unknown", "kill ID KILL", 1, ABSENT),
    ("unknown", "kill --all ID KILL", 1, ABSENT),
    ("unknown", "delete ID", 1, ABSENT),
    ("unknown", "delete --force ID", 0, ANY),
    ("unknown", "pause ID", 1, ABSENT),
    ("unknown", "resume ID", 1, ABSENT),
    ("unknown", "ps ID", 1, ABSENT),
    ("unknown", "ps --format json ID", 1, ABSENT),
    ("unknown", "update --pids-limit 10 ID", 1, ABSENT),
    ("unknown", "exec ID true", 255, ABSENT),
    ("created", "state ID", 0, ANY),
    ("created", "pause ID", 0, ANY),
    ("created", "exec ID true", 0, ANY),
    ("created", "kill ID 0", 0, ANY),
    ("created", "delete ID", 0, ANY),
    ("created", "delete --force ID", 0, ANY),
    ("created", "kill ID NOTHING", 1, ANY),
    ("running", "start ID", 1, "cannot start an already running container"),
    ("running", "delete ID", 1, NOT_STOPPED),
    ("running", "resume ID", 1, "container not paused"),
    ("running", "pause ID", 0, ANY),
    ("running", "kill ID 0", 0, ANY),
    ("running", "kill ID 1234", 1, "invalid argument"),
    ("running", "exec ID true", 0, ANY),
    ("running", "exec ID false", 1, ANY),
    ("running", "exec ID no-such-program", 255, "executable file not found in $PATH"),
    ("running", "exec ID /no/such/program", 255, "no such file or directory"),
    ("running", "exec ID /etc/passwd", 255, "permission denied"),
    ("running", "exec --cwd relative ID true", 255, ANY),
    ("running", "delete --force ID", 0, ANY),
    ("paused", "pause ID", 1, ANY),
    ("paused", "exec ID true", 255, "paused"),
    ("paused", "kill ID KILL", 0, ANY),
    ("paused", "resume ID", 0, ANY),
    ("paused", "start ID", 1, ANY),
    ("paused", "delete --force ID", 0, ANY),
    ("stopped", "state ID", 0, ANY),
    ("stopped", "start ID", 1, "cannot start a container that has stopped"),
    ("stopped", "kill ID KILL", 1, NOT_RUNNING),
    ("stopped", "kill ID 9", 1, NOT_RUNNING),
    ("stopped", "kill --all ID KILL", 0, ANY),
    ("stopped", "exec ID true", 255, "cannot exec in a stopped container"),
    ("stopped", "pause ID", 1, NOT_RUNNING),
    ("stopped", "resume ID", 1, ANY),
    ("stopped", "update --pids-limit 10 ID", 1, NOT_RUNNING),
    ("stopped", "ps --format json ID", 0, ANY),
    ("stopped", "delete ID", 0, ANY),
    ("stopped", "delete --force ID", 0, ANY),
]


def pause(container: Container) -> None:
    """Pause the container."""
    container.runtime.ok("pause", container.id)


@pytest.mark.rows("R35", "R37", "R38", "R39", "R291", "R292", "R293")
@pytest.mark.parametrize("line", TABLE, ids=lambda line: f"{line[0]}: {line[1]}")
@departs("crun", CRUN_TEXTS)
def test_table(
    runtime: Runtime, container: Container, line: tuple[str, str, int, str]
) -> None:
    condition, command, status, text = line
    PREPARE[condition](container)
    arguments = [container.id if word == "ID" else word for word in command.split()]
    result = runtime.run(*arguments)
    assert result.status == status, str(result)
    assert text in result.stderr, str(result)
    if status == 0:
        assert result.stderr == ""
    if arguments[0] not in ("state", "ps") and status != 1:
        assert result.stdout == ""


@pytest.mark.rows("R36")
@departs("crun", CRUN_TEXTS)
def test_duplicate_create(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    container.create()
    result = runtime.refused("create", "--bundle", str(bundle.path), container.id)
    assert "container with given ID already exists" in result.stderr


@pytest.mark.rows("R36")
@departs("crun", CRUN_TEXTS)
@pytest.mark.parametrize(
    "identifier, text", [("", "empty"), ("a/b", "invalid container ID format")]
)
def test_texts_about_ids(runtime: Runtime, bundle: Bundle, identifier: str, text: str) -> None:
    bundle.save()
    result = runtime.refused("create", "--bundle", str(bundle.path), identifier)
    assert text in result.stderr


@pytest.mark.rows("R290")
@departs("crun<1.21", CRUN_TEXTS)
def test_unknown_command(runtime: Runtime) -> None:
    result = runtime.run("no-such-command")
    assert result.status in (1, 3)
    assert "no-such-command" in result.stdout + result.stderr


@pytest.mark.rows("R38", "R39")
@departs("crun", CRUN_TEXTS)
def test_text_of_a_bad_signal(runtime: Runtime, container: Container) -> None:
    container.create().start()
    result = runtime.refused("kill", container.id, "4711")
    assert "invalid argument" in result.stderr


# Silence


@pytest.mark.rows("R36", "R37", "R38", "R39")
def test_success_is_silent(container: Container, bundle: Bundle) -> None:
    runtime = container.runtime
    bundle.save()
    results = [runtime.ok("create", "--bundle", str(bundle.path), container.id)]
    results += [
        runtime.ok(verb, container.id, *rest)
        for verb, rest in (
            ("start", ()),
            ("pause", ()),
            ("resume", ()),
            ("kill", ("KILL",)),
        )
    ]
    container.wait_stopped()
    results.append(runtime.ok("delete", container.id))
    results.append(runtime.ok("delete", "--force", container.id))
    assert [(result.stdout, result.stderr) for result in results] == [("", "")] * 7


# Logs


def log_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a JSON log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.rows("R290")
@departs("crun", CRUN_TEXTS)
def test_json_log(runtime: Runtime, container: Container, bundle: Bundle, workplace: Path) -> None:
    log = workplace / "log.json"
    options = ("--log", str(log), "--log-format", "json")
    bundle.args("no-such-program")
    first = container.try_create(options=options)
    assert first.status == 1
    lines = log_lines(log)
    assert list(lines[-1]) == ["level", "msg", "time"]
    assert lines[-1]["level"] == "error"
    assert 'exec: "no-such-program": executable file not found in $PATH' in lines[-1]["msg"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
                        lines[-1]["time"])
    assert first.stderr.strip() == lines[-1]["msg"]
    runtime.refused("state", "nobody", options=options)
    assert log_lines(log)[: len(lines)] == lines
    assert ABSENT in log_lines(log)[-1]["msg"]


@pytest.mark.rows("R290")
@departs("crun", CRUN_TEXTS)
def test_text_without_log(runtime: Runtime) -> None:
    result = runtime.refused("state", "nobody")
    assert re.fullmatch(r'time="[^"]+" level=error msg="[^\n]*"\n', result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.rows("R290")
@departs("crun", CRUN_TEXTS)
def test_json_format_without_log(runtime: Runtime) -> None:
    result = runtime.refused("state", "nobody", options=("--log-format", "json"))
    document = json.loads(result.stderr)
    assert document["level"] == "error"
    assert ABSENT in document["msg"]


@pytest.mark.rows("R290")
def test_log_exists_after_success(runtime: Runtime, container: Container, workplace: Path) -> None:
    log = workplace / "log.json"
    container.create(options=("--log", str(log), "--log-format=json"))
    assert log.exists()
    assert [line for line in log_lines(log) if line["level"] == "error"] == []


@pytest.mark.rows("R290")
@departs("crun<1.21", CRUN_TEXTS)
def test_bad_log_format(runtime: Runtime) -> None:
    result = runtime.refused("--log-format", "nothing", "state", "nobody")
    assert "invalid log-format" in result.stderr or "nothing" in result.stderr


# The command line


@pytest.mark.rows("R290")
@departs("crun", "R290 has long options with two dashes only")
def test_long_options_with_one_dash(container: Container, bundle: Bundle) -> None:
    bundle.save()
    pid_file = container.pid_file
    container.runtime.ok(
        "create", "-bundle", str(bundle.path), f"-pid-file={pid_file}", container.id
    )
    assert int(pid_file.read_text()) == container.state()["pid"]


@pytest.mark.rows("R290")
def test_options_with_an_equals_sign(container: Container, bundle: Bundle) -> None:
    bundle.save()
    container.runtime.ok(
        "create", f"--bundle={bundle.path}", f"--pid-file={container.pid_file}", container.id
    )
    assert container.status() == "created"


@pytest.mark.rows("R290")
@departs("crun", "R290 takes options before the id only")
def test_options_after_the_id(container: Container, bundle: Bundle) -> None:
    bundle.save()
    container.runtime.ok("create", container.id, "--bundle", str(bundle.path))
    container.runtime.ok("delete", container.id, "--force")
    nothing_left(container.runtime, container.id, bundle)


@pytest.mark.rows("R290")
def test_global_options_in_any_order(runtime: Runtime, container: Container) -> None:
    container.create()
    result = subprocess.run(
        [runtime.program, "--log-format=json", "--root", str(runtime.root), "state", container.id],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert json.loads(result.stdout)["id"] == container.id


@pytest.mark.rows("R290")
@departs("crun<1.21", "R296 this build has no checkpoint")
def test_help_of_checkpoint(runtime: Runtime) -> None:
    assert runtime.run("checkpoint", "--help").status == 0


@pytest.mark.rows("R290")
def test_version(runtime: Runtime) -> None:
    result = runtime.ok("--version")
    assert " version " in result.stdout.splitlines()[0]
    assert re.search(r"^spec: \d+\.\d+\.\d+", result.stdout, re.MULTILINE)


@pytest.mark.rows("R290")
@pytest.mark.parametrize("environment", [{}, {"XDG_RUNTIME_DIR": ""}], ids=["none", "empty XDG"])
def test_poor_environment(
    container: Container, bundle: Bundle, environment: dict[str, str]
) -> None:
    bundle.args("echo", "ran")
    runtime = container.runtime
    container.create(env=environment)
    runtime.ok("start", container.id, env=environment)
    container.wait_stopped()
    assert runtime.ok("state", container.id, env=environment).json()["status"] == "stopped"
    runtime.ok("delete", container.id, env=environment)
    assert container.output() == "ran\n"


@pytest.mark.rows("R290")
def test_working_directory_that_is_gone(
    runtime: Runtime, container: Container, workplace: Path
) -> None:
    container.create()
    directory = workplace / "gone"
    directory.mkdir()
    before = f"cd {directory}; rmdir {directory}"
    assert runtime.ok("state", container.id, before=before).json()["id"] == container.id
    runtime.ok("start", container.id, before=before)
    runtime.ok("delete", "--force", container.id, before=before)


@pytest.mark.rows("R290")
@departs("crun<1.21", "R290 has no features")
def test_features(runtime: Runtime) -> None:
    document = runtime.ok("features").json()
    assert document["ociVersionMin"] and document["ociVersionMax"]
    assert set(document["hooks"]) >= {"prestart", "createRuntime", "poststop"}
    assert document["linux"]["namespaces"]


# ps


@pytest.mark.rows("R295")
def test_ps_json(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.sh("sleep 1000 & echo ready; wait")
    container.create().start().wait_output("ready")
    pids = runtime.ok("ps", "--format", "json", container.id).json()
    assert container.pid in pids
    assert len(pids) == 2


@pytest.mark.rows("R295")
@departs("crun", "R295 1.8 prints an empty list")
def test_ps_json_of_a_stopped_container(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    container.create().start().stop()
    assert runtime.ok("ps", "--format", "json", container.id).stdout.strip() == "null"


@pytest.mark.rows("R295")
def test_ps_table(runtime: Runtime, container: Container) -> None:
    container.create().start()
    lines = runtime.ok("ps", container.id).stdout.splitlines()
    assert "PID" in lines[0].split()
    assert any(str(container.pid) in line.split() for line in lines[1:])


# exec


@pytest.mark.rows("R291")
@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_exec_passes_the_exit_status(container: Container, status: int) -> None:
    container.create().start()
    result = container.exec("sh", "-c", f"echo out; echo err >&2; exit {status}")
    assert (result.status, result.stdout, result.stderr) == (status, "out\n", "err\n")


@pytest.mark.rows("R291")
def test_exec_of_a_process_that_a_signal_ends(container: Container) -> None:
    container.create().start()
    assert container.exec("sh", "-c", "kill -9 $$").status == 137


@pytest.mark.rows("R291")
def test_exec_passes_standard_input(container: Container) -> None:
    container.create().start()
    text = "0123456789abcdef" * 16384
    assert container.exec("cat", stdin=text).stdout == text


@pytest.mark.rows("R291")
def test_exec_of_nothing(container: Container) -> None:
    container.create().start()
    assert container.exec().status in (1, 255)


@pytest.mark.rows("R291")
def test_exec_arguments_are_not_options(container: Container) -> None:
    container.create().start()
    assert container.exec("echo", "-e", "--cwd", "x", "-t").stdout == "--cwd x -t\n"


@pytest.mark.rows("R291")
def test_exec_detached_is_our_child(container: Container, workplace: Path) -> None:
    container.create().start()
    pid_file = workplace / "exec.pid"
    result = container.exec(
        "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 9",
        flags=("--detach", "--pid-file", str(pid_file)),
    )
    assert result.status == 0, str(result)
    pid = int(pid_file.read_text())
    assert pid != container.pid and alive(pid)
    container.bundle.file("/go")
    wait_for(lambda: not alive(pid), "the end of the process")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def exec_by_process_file(container: Container, process: dict[str, object]) -> Result:
    """Run `exec --process FILE`."""
    path = container.runtime.workplace / "process.json"
    path.write_text(json.dumps(process))
    return container.runtime.run("exec", "--process", str(path), container.id)


@pytest.mark.rows("R291")
def test_exec_by_a_process_file(container: Container) -> None:
    container.create().start()
    process = {**container.bundle.process, "args": ["sh", "-c", "pwd; echo $A"], "cwd": "/tmp"}
    process["env"] = [*container.bundle.process["env"], "A=value"]
    result = exec_by_process_file(container, process)
    assert (result.status, result.stdout) == (0, "/tmp\nvalue\n"), str(result)


@pytest.mark.rows("R291")
@departs("crun", "R291 1.8 drops the environment of the container with --env")
def test_exec_options(container: Container) -> None:
    container.create().start()
    result = container.exec(
        "sh", "-c", "pwd; id -u; id -g; echo $A $B",
        flags=("--cwd", "/tmp", "--user", "1000:1001", "--env", "A=one", "--env", "B=two"),
    )
    assert (result.status, result.stdout) == (0, "/tmp\n1000\n1001\none two\n"), str(result)


@pytest.mark.rows("R291")
@pytest.mark.parametrize("kind", ["mnt", "pid", "net", "uts", "ipc"])
def test_exec_is_in_the_namespaces(container: Container, kind: str) -> None:
    container.create().start()
    own = os.readlink(f"/proc/{container.pid}/ns/{kind}")
    assert container.exec("readlink", f"/proc/self/ns/{kind}").stdout == f"{own}\n"


# Ends of files


@pytest.mark.rows("R36", "R41")
def test_no_process_but_the_container_holds_the_output(
    container: Container, bundle: Bundle
) -> None:
    """An engine that reads the container's output from a pipe gets the end of file."""
    bundle.sh("echo output; exit 0")
    bundle.save()
    command = container.runtime.command("create", "--bundle", str(bundle.path), container.id)
    read, write = os.pipe()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=write, stderr=write, timeout=TIMEOUT
    )
    os.close(write)
    with os.fdopen(read) as file:
        assert done.returncode == 0, file.read()
        container.start()
        assert file.read() == "output\n"


@pytest.mark.rows("R39")
def test_second_delete(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    """containerd's shim always deletes a second time, by force."""
    bundle.args("true")
    container.create().start().wait_stopped().delete()
    result = runtime.ok("delete", "--force", container.id)
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.rows("R39", "R1")
def test_forced_delete_after_the_init_was_killed(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    container.create().start()
    os.kill(container.pid, signal.SIGKILL)
    container.delete("--force")
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R294")
@departs("crun", "R294 1.8 takes 0 for a limit")
def test_update_from_standard_input(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    """Zeros mean unchanged, and rules for devices in an update are ignored."""
    container.create().start()
    resources = {
        "cpu": {"shares": 0, "quota": 0, "period": 0},
        "memory": {"limit": 0, "reservation": 0, "kernel": 0},
        "blockIO": {"weight": 0},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    runtime.ok("update", "--resources", "-", container.id, stdin=json.dumps(resources))
    result = container.exec("sh", "-c", "echo text >/dev/null && echo works")
    assert result.stdout == "works\n"


TEXTS_FOR_127 = ["no-such-program", "/no/such/program"]


@pytest.mark.rows("R66")
@pytest.mark.parametrize(
    "program", cases(TEXTS_FOR_127, "crun", "prints the texts of the C library", TEXTS_FOR_127)
)
def test_text_that_docker_turns_into_127(
    container: Container, bundle: Bundle, program: str
) -> None:
    bundle.args(program)
    text = container.refused()
    assert program in text
    assert "executable file not found" in text or "no such file or directory" in text
