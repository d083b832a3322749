"""Bad input: each is refused with status 1 and a clear text, and nothing is left behind."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import cases
from conformance.runtime import Container, Runtime, nothing_left

departs = pytest.mark.departs
Change = Callable[[Bundle], object]


def refuse(runtime: Runtime, container: Container, *options: str, **settings: Any) -> str:
    """Create from the config.json that is there; it must fail and leave nothing."""
    bundle = container.bundle
    result = runtime.refused(
        "create", "--bundle", str(bundle.path), *options, container.id, **settings
    )
    assert result.stdout == "" or runtime.name == "crun"
    assert not container.pid_file.exists()
    assert "Traceback" not in result.stderr
    nothing_left(runtime, container.id, bundle)
    return result.stderr.replace('\\"', '"')


# The document


@pytest.mark.rows("R10", "R36")
def test_no_config(runtime: Runtime, container: Container) -> None:
    assert "config.json" in refuse(runtime, container)


@pytest.mark.rows("R36")
def test_no_bundle(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    runtime.refused("create", "--bundle", f"{bundle.path}/nowhere", container.id)
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R10")
def test_config_is_a_directory(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    (bundle.path / "config.json").mkdir()
    refuse(runtime, container)


BROKEN = {
    "empty": b"",
    "space": b" \n",
    "null": b"null",
    "list": b"[]",
    "string": b'"text"',
    "number": b"1",
    "cut": b'{"ociVersion": "1.0.2", "process": {',
    "text": b"this is not JSON",
    "single quotes": b"{'ociVersion': '1.0.2'}",
    "trailing comma": b'{"ociVersion": "1.0.2",}',
    "NaN": b'{"ociVersion": NaN}',
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"ociVersion": "1.0.2\xff\xfe", "root": {"path": "rootfs"}}',
    "empty object": b"{}",
}


@pytest.mark.rows("R5", "R36")
@pytest.mark.parametrize(
    "name", cases(BROKEN, "runc", "R5 takes null for an empty object", ["null"])
)
@departs("crun<1.21", "R5 lets some pass or crashes")
def test_broken_document(
    runtime: Runtime, container: Container, bundle: Bundle, name: str
) -> None:
    (bundle.path / "config.json").write_bytes(BROKEN[name])
    refuse(runtime, container)


@pytest.mark.rows("R5", "R36")
@pytest.mark.parametrize("trailer", ["}", "{}", "text"])
@departs("runc", "R5 reads the first value and ignores the rest")
@departs("crun<1.21", "R5 ignores the rest")
def test_text_after_the_document(
    runtime: Runtime, container: Container, bundle: Bundle, trailer: str
) -> None:
    bundle.save()
    with open(bundle.path / "config.json", "a") as file:
        file.write(trailer)
    refuse(runtime, container)


@pytest.mark.rows("R5")
@departs("runc", "R5 the last of two names wins")
@departs("crun", "R5 1.8 takes one of two names")
def test_duplicate_names(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    text = json.dumps(bundle.config)
    (bundle.path / "config.json").write_text('{"hostname": "first", ' + text[1:])
    refuse(runtime, container)


# Types

WRONG_TYPES: list[tuple[str, object]] = [
    ("ociVersion", 1),
    ("ociVersion", None),
    ("root", "rootfs"),
    ("root.path", 1),
    ("root.readonly", "yes"),
    ("hostname", 5),
    ("process", []),
    ("process.args", "sleep 1"),
    ("process.args", [1, 2]),
    ("process.env", {"A": "b"}),
    ("process.cwd", 1),
    ("process.terminal", "false"),
    ("process.user", "root"),
    ("process.user.uid", "0"),
    ("process.user.uid", -1),
    ("process.user.uid", 1.5),
    ("process.user.uid", 1 << 32),
    ("process.user.gid", "0"),
    ("process.user.additionalGids", 5),
    ("process.noNewPrivileges", "true"),
    ("process.oomScoreAdj", "100"),
    ("process.rlimits", {}),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": -1, "hard": 0}]),
    ("process.capabilities", ["CAP_KILL"]),
    ("process.capabilities.bounding", "CAP_KILL"),
    ("mounts", {}),
    ("mounts", ["/proc"]),
    ("mounts", [{"destination": 1}]),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "options": "ro"}]),
    ("hooks", []),
    ("hooks", {"prestart": {}}),
    ("hooks", {"prestart": [{"path": 1}]}),
    ("hooks", {"prestart": [{"path": "/bin/true", "timeout": "1"}]}),
    ("annotations", []),
    ("annotations", {"com.example.key": 1}),
    ("linux", []),
    ("linux.namespaces", {}),
    ("linux.namespaces", ["pid"]),
    ("linux.cgroupsPath", 1),
    ("linux.resources", []),
    ("linux.resources", {"pids": {"limit": "10"}}),
    ("linux.resources", {"memory": {"limit": "10M"}}),
    ("linux.devices", {}),
    ("linux.sysctl", []),
    ("linux.sysctl", {"kernel.domainname": 1}),
    ("linux.uidMappings", {}),
    ("linux.maskedPaths", "/proc/kcore"),
    ("linux.seccomp", "default"),
]


def put(document: dict[str, Any], path: str, value: object) -> None:
    """Set a member by its dotted path."""
    *parents, last = path.split(".")
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = copy.deepcopy(value)


@pytest.mark.rows("R4", "R36")
@pytest.mark.parametrize(
    "fault",
    cases(WRONG_TYPES, "runc", "R4 takes null for an absent value", [("ociVersion", None)]),
    ids=str,
)
@departs("crun", "R4 1.8 does not look at every type")
def test_wrong_type(
    runtime: Runtime, container: Container, bundle: Bundle, fault: tuple[str, object]
) -> None:
    put(bundle.config, *fault)
    (bundle.path / "config.json").write_text(json.dumps(bundle.config))
    refuse(runtime, container)


MISSING = ["ociVersion", "root", "root.path", "process.cwd", "process.args", "process.user.uid"]


@pytest.mark.rows("R11", "R12", "R64", "R66", "R280")
@pytest.mark.parametrize(
    "path",
    cases(MISSING, "runc", "R280 takes 0 or nothing for it", ["ociVersion", "process.user.uid"]),
)
@departs("crun", "R280 takes a missing value for an empty one")
def test_missing_member(
    runtime: Runtime, container: Container, bundle: Bundle, path: str
) -> None:
    *parents, last = path.split(".")
    document = bundle.config
    for name in parents:
        document = document[name]
    del document[last]
    bundle.save()
    refuse(runtime, container)


@pytest.mark.rows("R11")
@pytest.mark.parametrize("version", ["", "invalid", "1", "1.0", "v1.0.0", "2.0.0"])
@departs("runc", "R11 does not look at the version")
@departs("crun", "R11 1.8 does not look at all of the version")
def test_bad_version(runtime: Runtime, container: Container, bundle: Bundle, version: str) -> None:
    bundle.config["ociVersion"] = version
    bundle.save()
    refuse(runtime, container)


# Values


def symbolic_root(bundle: Bundle) -> None:
    """Make the root file system a symbolic link."""
    bundle.rootfs.rename(bundle.path / "real")
    bundle.rootfs.symlink_to("real")


@pytest.mark.rows("R13")
@departs("crun", "R13 follows the link")
def test_root_is_a_symbolic_link(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    symbolic_root(bundle)
    bundle.save()
    assert "rootfs" in refuse(runtime, container)


@pytest.mark.rows("R13")
def test_root_is_a_file(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    (bundle.path / "file").write_text("")
    bundle.config["root"]["path"] = "file"
    bundle.save()
    refuse(runtime, container)


@pytest.mark.rows("R13")
@pytest.mark.parametrize("path", ["nowhere", "/no/where", ""])
@departs("crun<1.21", "R13 takes an empty path for the bundle")
def test_no_root(
    runtime: Runtime, container: Container, bundle: Bundle, path: str
) -> None:
    bundle.config["root"]["path"] = path
    bundle.save()
    refuse(runtime, container)


@pytest.mark.rows("R4", "R36")
@pytest.mark.parametrize("kind", ["nothing", "", "PID", "net"])
def test_unknown_namespace(
    runtime: Runtime, container: Container, bundle: Bundle, kind: str
) -> None:
    bundle.linux["namespaces"].append({"type": kind})
    bundle.save()
    refuse(runtime, container)


@pytest.mark.rows("R4", "R36")
@departs("crun<1.21", "does not look for duplicates")
def test_duplicate_namespace(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "pid"})
    bundle.save()
    refuse(runtime, container)


@pytest.mark.rows("R36")
@pytest.mark.parametrize("path", ["/no/such/namespace", "/proc/self/ns/uts", "/etc/passwd"])
def test_namespace_path_that_is_none(
    runtime: Runtime, container: Container, bundle: Bundle, path: str
) -> None:
    bundle.namespace("network", path)
    bundle.save()
    refuse(runtime, container)


def user_namespace(bundle: Bundle) -> None:
    """A user namespace in which the ids 0 to 9 exist."""
    bundle.namespace("user")
    mapping = [{"containerID": 0, "hostID": 100000, "size": 10}]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = mapping


@pytest.mark.rows("R67")
@pytest.mark.parametrize(
    "user",
    [
        {"uid": 10, "gid": 0},
        {"uid": 0, "gid": 4711},
        {"uid": 0, "gid": 0, "additionalGids": [4711]},
    ],
    ids=str,
)
def test_unmapped_id(
    runtime: Runtime, container: Container, bundle: Bundle, user: dict[str, Any]
) -> None:
    user_namespace(bundle)
    bundle.process["user"] = user
    bundle.save()
    refuse_at_create_or_start(runtime, container)


def refuse_at_create_or_start(runtime: Runtime, container: Container) -> str:
    """Create, or else start, must fail; after a delete nothing is left."""
    bundle = container.bundle
    result = runtime.run("create", "--bundle", str(bundle.path), container.id)
    if result.status == 0:
        result = runtime.refused("start", container.id)
        runtime.ok("delete", "--force", container.id)
    runtime.check_refused(result)
    nothing_left(runtime, container.id, bundle)
    return result.stderr


# Changes to the config, and what the text must name
SENTENCES: dict[str, tuple[Change, str]] = {
    "missing program": (
        lambda bundle: bundle.args("no-such-program"),
        'exec: "no-such-program": executable file not found in $PATH',
    ),
    "missing program by path": (
        lambda bundle: bundle.args("/bin/no-such-program"),
        "/bin/no-such-program: no such file or directory",
    ),
    "file that is not executable": (
        lambda bundle: bundle.args("/etc/passwd"),
        'exec: "/etc/passwd": permission denied',
    ),
    "directory": (lambda bundle: bundle.args("/bin"), "/bin"),
    "empty program": (lambda bundle: bundle.args(""), ""),
    "no arguments": (lambda bundle: bundle.args(), "args"),
    "relative cwd": (lambda bundle: bundle.process.update(cwd="tmp"), "absolute"),
    "empty cwd": (lambda bundle: bundle.process.update(cwd=""), "wd"),
    "cwd is a file": (lambda bundle: bundle.process.update(cwd="/etc/passwd"), "etc/passwd"),
    "environment without =": (lambda bundle: bundle.env("NOTHING"), "NOTHING"),
    "environment without name": (lambda bundle: bundle.env("=value"), "=value"),
    "missing source of a bind": (
        lambda bundle: bundle.mount("/x", "none", "/no/such/source", ["bind"]),
        "/no/such/source",
    ),
    "unknown file system": (
        lambda bundle: bundle.mount("/nothingfs", "nothingfs", "nothing"),
        "nothingfs",
    ),
    "unknown mount option": (
        lambda bundle: bundle.mount("/no-such-option", "tmpfs", "tmpfs", ["no-such-option=1"]),
        "no-such-option",
    ),
    "unknown rlimit": (
        lambda bundle: bundle.process.update(
            rlimits=[{"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1}]
        ),
        "RLIMIT_NOTHING",
    ),
    "unknown sysctl": (
        lambda bundle: bundle.linux.update(sysctl={"no.such.key": "1"}),
        "no.such.key",
    ),
    "sysctl of the host": (
        lambda bundle: bundle.linux.update(sysctl={"vm.swappiness": "1"}),
        "vm.swappiness",
    ),
    "relative device path": (
        lambda bundle: bundle.linux.update(
            devices=[{"path": "dev/x", "type": "nothing", "major": 1, "minor": 3}]
        ),
        "nothing",
    ),
    "unknown seccomp action": (
        lambda bundle: bundle.linux.update(seccomp={"defaultAction": "SCMP_ACT_NOTHING"}),
        "SCMP_ACT_NOTHING",
    ),
    "unknown propagation": (
        lambda bundle: bundle.linux.update(rootfsPropagation="nothing"),
        "nothing",
    ),
}


@pytest.mark.rows("R36", "R64", "R65", "R66", "R92", "R93")
@pytest.mark.parametrize("name", SENTENCES)
@departs("crun", "its texts begin with capitals, as those of the C library")
def test_value_that_cannot_be_applied(
    runtime: Runtime, container: Container, bundle: Bundle, name: str
) -> None:
    change, text = SENTENCES[name]
    change(bundle)
    bundle.save()
    assert text in refuse(runtime, container)


@pytest.mark.rows("R66")
def test_missing_interpreter(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.file("/script", "#!/no/such/interpreter\n", 0o755)
    bundle.args("/script")
    bundle.save()
    result = runtime.run("create", "--bundle", str(bundle.path), container.id)
    if result.status == 0:
        runtime.run("start", container.id)
        container.wait_stopped().delete()
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R66", "R37")
@departs("runc", "R37 1.1 start does not wait for exec")
@departs("crun", "R37 1.8 start does not wait for exec")
def test_missing_interpreter_is_the_failure_of_start(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.file("/script", "#!/no/such/interpreter\n", 0o755)
    bundle.args("/script")
    bundle.save()
    assert "no such file or directory" in refuse_at_create_or_start(runtime, container)


@pytest.mark.rows("R66")
def test_program_that_the_user_may_not_run(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.file("/only-root", "#!/bin/sh\n", 0o700)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.args("/only-root")
    bundle.save()
    result = runtime.run("create", "--bundle", str(bundle.path), container.id)
    if result.status == 0:
        runtime.run("start", container.id)
        container.wait_stopped().delete()
    else:
        assert "permission denied" in result.stderr.lower()
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R36")
@pytest.mark.parametrize(
    "field", cases(["args", "env", "cwd"], "runc", "R36 1.1 fails only after start", ["args"])
)
@departs("crun", "R36 1.8 cuts a text at its NUL")
def test_nul_byte(runtime: Runtime, container: Container, bundle: Bundle, field: str) -> None:
    value: dict[str, Any] = {"args": ["echo", "a\0b"], "env": ["A=a\0b"], "cwd": "/tmp\0x"}
    bundle.process[field] = value[field]
    bundle.save()
    refuse_at_create_or_start(runtime, container)


# The command line


@pytest.mark.rows("R41", "R290")
@departs("runc", "R41 1.1 leaves its directory behind")
@departs("crun", "R41 1.8 does not look")
def test_closed_preserved_descriptor(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.save()
    text = refuse(
        runtime, container, "--preserve-fds", "2", redirections="3</dev/null 4<&-"
    )
    assert "preserved-fd 2 (of 2)" in text or "preserved" in text


@pytest.mark.rows("R290")
@pytest.mark.parametrize(
    "value", cases(["-1", "x", ""], "runc", "R290 1.1 takes negative numbers", ["-1"])
)
@departs("crun", "R290 1.8 takes anything for a number")
def test_preserve_fds_that_is_no_number(
    runtime: Runtime, container: Container, bundle: Bundle, value: str
) -> None:
    bundle.save()
    result = runtime.run(
        "create", f"--preserve-fds={value}", "--bundle", str(bundle.path), container.id
    )
    assert result.status == 1
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R38")
@pytest.mark.parametrize(
    "signal",
    cases(["NOTHING", "SIGNOTHING", "TERM2", "1.5", ""], "runc", "R38 takes it for TERM", [""]),
)
@departs("crun", "R38 1.8 takes anything for a signal")
def test_unknown_signal(runtime: Runtime, container: Container, signal: str) -> None:
    container.create().start()
    runtime.refused("kill", container.id, signal)
    assert container.status() == "running"


@pytest.mark.rows("R38")
@pytest.mark.parametrize("signal", ["65", "4711"])
def test_signal_out_of_range(runtime: Runtime, container: Container, signal: str) -> None:
    container.create().start()
    runtime.refused("kill", container.id, signal)
    assert container.status() == "running"


@pytest.mark.rows("R290")
def test_pid_file_that_cannot_be_written(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.save()
    refuse(runtime, container, "--pid-file", f"{bundle.path}/no/such/directory/pid")


@pytest.mark.rows("R290", "R36")
def test_unknown_option(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.save()
    result = runtime.run(
        "create", "--no-such-option", "--bundle", str(bundle.path), container.id
    )
    assert result.status != 0
    assert "no-such-option" in result.stdout + result.stderr
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R36")
def test_too_many_arguments(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    bundle.save()
    result = runtime.run("create", "--bundle", str(bundle.path), container.id, "more")
    assert result.status != 0 or runtime.name == "crun"


@pytest.mark.rows("R36", "R1")
def test_id_is_free_after_a_failure(container: Container, bundle: Bundle) -> None:
    bundle.args("/no/such/program")
    container.refused()
    bundle.args("echo", "second try")
    assert container.finish() == "second try\n"


@pytest.mark.rows("R1")
def test_host_is_unchanged_after_failures(container: Container, bundle: Bundle) -> None:
    before = os.uname().nodename, sorted(os.listdir("/dev"))
    bundle.mount("/x", "nothingfs", "nothing")
    container.refused()
    assert before == (os.uname().nodename, sorted(os.listdir("/dev")))
    # Others come and go beside this test: only its own name counts.
    name = bundle.cgroups_path.rpartition("/")[2]
    assert not [path for path, below, _ in os.walk("/sys/fs/cgroup") if name in below]
