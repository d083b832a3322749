"""The process: section 4 of the requirements."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import has_capability
from conformance.runtime import Container, Runtime, alive

departs = pytest.mark.departs

CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_SYS_RESOURCE": 24,
    "CAP_AUDIT_WRITE": 29,
}


def mask(*names: str) -> int:
    """Capabilities as the bits of /proc/PID/status."""
    return sum(1 << CAPABILITIES[f"CAP_{name}"] for name in names)


def status_of_process(container: Container) -> dict[str, str]:
    """/proc/self/status of a process in the container."""
    container.bundle.args("cat", "/proc/self/status")
    lines = container.finish().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def capability_sets(container: Container) -> dict[str, int]:
    """The five sets of a process in the container, by the names of /proc/PID/status."""
    status = status_of_process(container)
    return {name: int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


# Capabilities


@pytest.mark.rows("R61")
def test_five_capability_sets(container: Container, bundle: Bundle) -> None:
    """A user other than root keeps, over exec, no more than the ambient set."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "ambient": ["CAP_KILL"],
    }
    assert capability_sets(container) == {
        "Bnd": mask("KILL", "NET_BIND_SERVICE", "AUDIT_WRITE"),
        "Inh": mask("KILL", "NET_BIND_SERVICE"),
        "Prm": mask("KILL"),
        "Eff": mask("KILL"),
        "Amb": mask("KILL"),
    }


@pytest.mark.rows("R61")
def test_capabilities_of_root(container: Container, bundle: Bundle) -> None:
    names = ["CAP_KILL", "CAP_CHOWN"]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    both = mask("KILL", "CHOWN")
    assert capability_sets(container) == {"Bnd": both, "Prm": both, "Eff": both, "Inh": 0, "Amb": 0}


@pytest.mark.rows("R61")
def test_absent_sets_are_empty(container: Container, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {"bounding": []}
    assert set(capability_sets(container).values()) == {0}


@pytest.mark.rows("R61")
@pytest.mark.parametrize("uid", [0, 1000])
def test_no_capabilities(container: Container, bundle: Bundle, uid: int) -> None:
    bundle.process["user"] = {"uid": uid, "gid": uid}
    bundle.process["capabilities"] = {
        name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    assert set(capability_sets(container).values()) == {0}


@pytest.mark.rows("R61", "R2")
@departs("crun", "R61 1.8 gives no warning")
def test_unknown_capability_is_a_warning(container: Container, bundle: Bundle) -> None:
    bundle.process["capabilities"]["bounding"].append("CAP_OF_NO_KERNEL")
    sets = capability_sets(container)
    assert sets["Bnd"] & mask("KILL")
    assert "CAP_OF_NO_KERNEL" in container.errors()


@pytest.mark.rows("R61")
@departs("runc", "R61 fails: unable to apply caps")
@departs("crun", "R61 fails: apply caps")
def test_capability_that_cannot_be_granted_is_a_warning(
    container: Container, bundle: Bundle
) -> None:
    if has_capability(CAPABILITIES["CAP_SYS_RESOURCE"]):
        pytest.skip("this host grants CAP_SYS_RESOURCE, and there is nothing that it does not")
    bundle.capability("CAP_SYS_RESOURCE")
    sets = capability_sets(container)
    assert sets["Eff"] & mask("KILL", "SYS_RESOURCE") == mask("KILL")
    assert "CAP_SYS_RESOURCE" in container.errors()


@pytest.mark.rows("R61")
def test_ambient_without_inheritable_is_not_raised(container: Container, bundle: Bundle) -> None:
    bundle.process["capabilities"]["ambient"] = ["CAP_KILL"]
    assert capability_sets(container)["Amb"] == 0


@pytest.mark.rows("R71")
@pytest.mark.parametrize("value", [True, False, None])
def test_no_new_privileges(container: Container, bundle: Bundle, value: bool | None) -> None:
    del bundle.process["noNewPrivileges"]
    if value is not None:
        bundle.process["noNewPrivileges"] = value
    assert status_of_process(container)["NoNewPrivs"] == str(int(bool(value)))


# cwd


@pytest.mark.rows("R64")
def test_cwd(container: Container, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/tmp"
    bundle.args("pwd")
    assert container.finish() == "/tmp\n"


@pytest.mark.rows("R64")
@departs("runc", "R64 subtracts the umask of the caller")
@departs("crun", "R64 subtracts the umask of the caller")
def test_cwd_is_made(container: Container, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/made/by/runtime"
    bundle.sh("pwd; stat -c '%a %u' /made /made/by/runtime")
    assert container.finish(umask=0o077) == "/made/by/runtime\n755 0\n755 0\n"


@pytest.mark.rows("R64")
def test_cwd_that_only_the_user_may_enter(container: Container, bundle: Bundle) -> None:
    directory = bundle.rootfs / "private"
    directory.mkdir(mode=0o700)
    os.chown(directory, 1000, 1000)
    bundle.process["cwd"] = "/private"
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.args("pwd")
    assert container.finish() == "/private\n"


@pytest.mark.rows("R64")
@pytest.mark.parametrize("descriptor", range(3, 11))
def test_cwd_by_a_descriptor_of_the_runtime(
    container: Container, bundle: Bundle, descriptor: int
) -> None:
    """The container must not get at the host through a directory that the runtime has open."""
    marker = container.runtime.workplace / "marker"
    marker.write_text("a file of the host")
    bundle.process["cwd"] = f"/proc/self/fd/{descriptor}"
    bundle.sh(f"cat {'../' * 30}{marker} {marker}; echo ran")
    result = container.try_create()
    if result.status == 0 and container.runtime.run("start", container.id).status == 0:
        container.exit_status()
    assert "a file of the host" not in container.output()


# env, args


@pytest.mark.rows("R65")
def test_env_in_order(container: Container, bundle: Bundle) -> None:
    entries = ["PATH=/bin", "Z=1", "A=two words", "EMPTY=", "LINES=a\nb", "E=x=y", "HOME=/h"]
    bundle.process["env"] = entries
    bundle.args("cat", "/proc/self/environ")
    assert container.finish().split("\0")[:-1] == entries


@pytest.mark.rows("R65")
def test_last_of_duplicate_env_entries_wins(container: Container, bundle: Bundle) -> None:
    bundle.env("A=first", "B=x", "A=second")
    bundle.args("cat", "/proc/self/environ")
    environment = container.finish().split("\0")
    assert [entry for entry in environment if entry.startswith("A=")] == ["A=second"]


CRUN_HOME = departs("crun", "R65 1.8 sets no HOME for an unknown user")


@pytest.mark.rows("R65")
@pytest.mark.parametrize(
    "uid, home",
    [(0, "/root"), (1000, "/home/u"), pytest.param(4242, "/", marks=CRUN_HOME)],
    ids=["root", "user", "unknown"],
)
def test_home_from_the_containers_passwd(
    container: Container, bundle: Bundle, uid: int, home: str
) -> None:
    bundle.process["user"] = {"uid": uid, "gid": 0}
    bundle.sh("echo $HOME")
    assert container.finish() == f"{home}\n"


@pytest.mark.rows("R65")
def test_home_without_passwd(container: Container, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").unlink()
    bundle.sh("echo $HOME")
    assert container.finish() == "/\n"


@pytest.mark.rows("R65")
def test_home_that_is_set(container: Container, bundle: Bundle) -> None:
    bundle.env("HOME=/elsewhere")
    bundle.sh("echo $HOME")
    assert container.finish() == "/elsewhere\n"


@pytest.mark.rows("R65")
@departs("crun", "R65 1.8 keeps the empty value")
def test_empty_home(container: Container, bundle: Bundle) -> None:
    bundle.env("HOME=")
    bundle.sh("echo $HOME")
    assert container.finish() == "/root\n"


@pytest.mark.rows("R65")
def test_no_variables_of_the_caller(container: Container, bundle: Bundle) -> None:
    bundle.args("env")
    container.finish(env={**os.environ, "OF_THE_CALLER": "1", "LC_CTYPE": "C.UTF-8"})
    names = {line.split("=")[0] for line in container.output().splitlines()}
    assert names == {"PATH", "TERM", "HOME"}


@pytest.mark.rows("R66")
@pytest.mark.parametrize("path", ["/nowhere:/bin", "/nowhere::/bin", "/etc:/bin"])
def test_args_are_looked_up_in_the_path_of_env(
    container: Container, bundle: Bundle, path: str
) -> None:
    bundle.process["env"] = [f"PATH={path}"]
    bundle.args("echo", "found")
    assert container.finish() == "found\n"


@pytest.mark.rows("R66")
def test_lookup_skips_what_cannot_run(container: Container, bundle: Bundle) -> None:
    bundle.file("/first/echo", "not executable")
    (bundle.rootfs / "second/echo").mkdir(parents=True)
    bundle.process["env"] = ["PATH=/first:/second:/bin"]
    bundle.args("echo", "found")
    assert container.finish() == "found\n"


@pytest.mark.rows("R66")
def test_args_verbatim(container: Container, bundle: Bundle) -> None:
    args = ["cat", "/proc/self/cmdline", "/dev/null", "--", "/etc/../proc/self/cmdline"]
    bundle.args(*args)
    assert container.finish() == ("\0".join(args) + "\0") * 2


@pytest.mark.rows("R66")
def test_relative_program_with_a_slash_is_found_from_cwd(
    container: Container, bundle: Bundle
) -> None:
    bundle.file("/tools/here", "#!/bin/sh\necho here\n", 0o755)
    bundle.process["cwd"] = "/tools"
    bundle.args("./here")
    assert container.finish() == "here\n"


@pytest.mark.rows("R66")
def test_no_shell_for_a_text_without_interpreter(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.file("/text", "echo run by a shell\n", 0o755)
    bundle.args("/text")
    if container.try_create().status == 0:
        runtime.run("start", container.id)
        assert container.exit_status() != 0
    assert container.output() == ""


# user


@pytest.mark.rows("R67", "R69")
def test_user(container: Container, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 10]}
    status = status_of_process(container)
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1001"] * 4
    assert set(status["Groups"].split()) - {"1001"} == {"5", "10"}


@pytest.mark.rows("R69")
@pytest.mark.parametrize("uid", [0, 1000])
def test_groups_of_the_caller_are_dropped(
    container: Container, bundle: Bundle, uid: int
) -> None:
    bundle.process["user"] = {"uid": uid, "gid": uid}
    bundle.args("cat", "/proc/self/status")
    python = "import os, sys; os.setgroups([7, 8]); os.execv(sys.argv[1], sys.argv[1:])"
    program = container.runtime.program
    script = container.runtime.workplace / "with-groups"
    script.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -c "{python}" {program} "$@"\n')
    script.chmod(0o755)
    container.runtime.program = str(script)
    groups = [line for line in container.finish().splitlines() if line.startswith("Groups:")]
    container.runtime.program = program
    assert set(groups[0].split()[1:]) <= {str(uid)}


@pytest.mark.rows("R68")
@pytest.mark.parametrize("umask", [0, 0o22, 0o77, 0o137])
def test_umask(container: Container, bundle: Bundle, umask: int) -> None:
    bundle.process["user"]["umask"] = umask
    bundle.sh("umask; stat -c %a /dev/null /dev/zero")
    assert container.finish(umask=0o27) == f"{umask:04o}\n666\n666\n"


@pytest.mark.rows("R68")
@departs("runc", "R68 sets 0022")
@departs("crun", "R68 sets 0022")
def test_umask_unset_is_the_callers(container: Container, bundle: Bundle) -> None:
    bundle.sh("umask; stat -c %a /dev/null")
    assert container.finish(umask=0o27) == "0027\n666\n"


@pytest.mark.rows("R67")
def test_stdio_belongs_to_the_user(container: Container, bundle: Bundle) -> None:
    owner = os.stat("/dev/null").st_uid
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.sh("echo one >/dev/stdout; echo two >>/dev/stderr")
    container.finish()
    assert "one\n" in container.output()
    assert container.errors().endswith("two\n")
    assert os.stat("/dev/null").st_uid == owner


# Limits and priorities

LIMITS = {
    "CORE": "Max core file size",
    "CPU": "Max cpu time",
    "DATA": "Max data size",
    "FSIZE": "Max file size",
    "LOCKS": "Max file locks",
    "MEMLOCK": "Max locked memory",
    "MSGQUEUE": "Max msgqueue size",
    "NICE": "Max nice priority",
    "NOFILE": "Max open files",
    "NPROC": "Max processes",
    "RSS": "Max resident set",
    "RTPRIO": "Max realtime priority",
    "RTTIME": "Max realtime timeout",
    "SIGPENDING": "Max pending signals",
    "STACK": "Max stack size",
    "AS": "Max address space",
}
LEAST = {
    "AS": 1 << 31,
    "DATA": 1 << 31,
    "STACK": 1 << 22,
    "RTTIME": 1 << 20,
    "CPU": 1000,
    "FSIZE": 1 << 30,
}


def hard_limit(title: str) -> int | None:
    """Our own hard limit, None for none."""
    for line in Path("/proc/self/limits").read_text().splitlines():
        if line.startswith(title):
            word = line[len(title) :].split()[1]
            return None if word == "unlimited" else int(word)
    raise AssertionError(title)


@pytest.mark.rows("R70")
def test_every_rlimit(container: Container, bundle: Bundle) -> None:
    wanted = {}
    for name, title in LIMITS.items():
        maximum = hard_limit(title)
        hard = LEAST.get(name, 100) if maximum is None else min(maximum, LEAST.get(name, 100))
        wanted[title] = [str(hard - hard // 4), str(hard)]
        entry = {"type": f"RLIMIT_{name}", "soft": hard - hard // 4, "hard": hard}
        bundle.process.setdefault("rlimits", []).append(entry)
    bundle.args("cat", "/proc/self/limits")
    lines = container.finish().splitlines()
    for title, values in wanted.items():
        found = [line[len(title) :].split()[:2] for line in lines if line.startswith(title)]
        assert found == [values], title


@pytest.mark.rows("R70", "R7")
def test_rlimit_infinity(container: Container, bundle: Bundle) -> None:
    infinity = 18446744073709551615
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": infinity}]
    if hard_limit("Max core file size") is not None:
        pytest.skip("our own hard limit of core files is not infinite")
    bundle.sh("ulimit -S -c; ulimit -H -c")
    assert container.finish() == "0\nunlimited\n"


@pytest.mark.rows("R70", "R4")
@pytest.mark.parametrize("kind", ["RLIMIT_NOTHING", "NOFILE", "rlimit_nofile", ""])
def test_unknown_rlimit(container: Container, bundle: Bundle, kind: str) -> None:
    bundle.process["rlimits"] = [{"type": kind, "soft": 10, "hard": 10}]
    container.refused()


@pytest.mark.rows("R70")
@departs("runc", "R70 does not look for duplicates")
@departs("crun", "R70 does not look for duplicates")
def test_duplicate_rlimit(container: Container, bundle: Bundle) -> None:
    entry = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
    bundle.process["rlimits"] = [entry, {**entry, "soft": 50}]
    container.refused()


@pytest.mark.rows("R70")
def test_rlimit_soft_above_hard(container: Container, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]
    container.refused()


CRUN_ZERO = departs("crun", "R74 1.8 takes 0 for unset")


@pytest.mark.rows("R74")
@pytest.mark.parametrize("value", [pytest.param(0, marks=CRUN_ZERO), 100, 1000])
def test_oom_score_adj(container: Container, bundle: Bundle, value: int) -> None:
    bundle.process["oomScoreAdj"] = value
    bundle.args("cat", "/proc/self/oom_score_adj")
    assert container.finish(before="echo 50 >/proc/self/oom_score_adj") == f"{value}\n"


@pytest.mark.rows("R74")
def test_oom_score_adj_unset(container: Container, bundle: Bundle) -> None:
    bundle.args("cat", "/proc/self/oom_score_adj")
    assert container.finish(before="echo 50 >/proc/self/oom_score_adj") == "50\n"


@pytest.mark.rows("R74", "R4")
@pytest.mark.parametrize("value", [-1001, 1001])
def test_oom_score_adj_out_of_range(container: Container, bundle: Bundle, value: int) -> None:
    bundle.process["oomScoreAdj"] = value
    container.refused()


def scheduling(container: Container) -> tuple[int, int]:
    """Policy and nice value (fields 41 and 19 of /proc/PID/stat) of the process."""
    container.bundle.args("cat", "/proc/self/stat")
    fields = container.finish().rpartition(")")[2].split()
    return int(fields[41 - 3]), int(fields[19 - 3])


@pytest.mark.rows("R75", "R76")
@pytest.mark.parametrize(
    "scheduler, expected",
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, (0, 7)),
        ({"policy": "SCHED_BATCH", "nice": 5}, (3, 5)),
        ({"policy": "SCHED_IDLE"}, (5, 0)),
    ],
    ids=["OTHER", "BATCH", "IDLE"],
)
@departs("runc", "R75 1.1 does not know scheduler")
@departs("crun", "R75 1.8 does not know scheduler")
def test_scheduler(
    container: Container, bundle: Bundle, scheduler: dict[str, Any], expected: tuple[int, int]
) -> None:
    bundle.process["scheduler"] = scheduler
    assert scheduling(container) == expected


@pytest.mark.rows("R75")
def test_scheduler_unset(container: Container) -> None:
    assert scheduling(container)[0] == os.sched_getscheduler(0)


@pytest.mark.rows("R75", "R76", "R77", "R4")
@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"policy": "SCHED_NOTHING"},
        {"policy": "SCHED_ISO"},
        {"policy": "SCHED_OTHER", "nice": 20},
        {"policy": "SCHED_BATCH", "nice": -21},
        {"policy": "SCHED_OTHER", "priority": 1},
        {"policy": "SCHED_FIFO", "priority": 100},
        {"policy": "SCHED_OTHER", "runtime": 1000000},
        {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NOTHING"]},
        {"policy": "SCHED_DEADLINE", "runtime": 2000000, "deadline": 1000000},
    ],
    ids=str,
)
@departs("runc", "R75 1.1 does not know scheduler")
@departs("crun", "R75 1.8 does not know scheduler")
def test_invalid_scheduler(
    container: Container, bundle: Bundle, scheduler: dict[str, Any]
) -> None:
    bundle.process["scheduler"] = scheduler
    container.refused()


@pytest.mark.rows("R78")
@pytest.mark.parametrize(
    "priority, expected",
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 3}, "best-effort: prio 3"),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 0}, "idle"),
    ],
    ids=["BE", "IDLE"],
)
@departs("runc", "R78 1.1 does not know ioPriority")
@departs("crun", "R78 1.8 does not know ioPriority")
def test_io_priority(
    container: Container, bundle: Bundle, priority: dict[str, Any], expected: str
) -> None:
    bundle.process["ioPriority"] = priority
    bundle.args("busybox", "ionice", "-p", "1")
    assert container.finish() == f"{expected}\n"


@pytest.mark.rows("R78", "R4")
@pytest.mark.parametrize(
    "priority",
    [
        {"class": "IOPRIO_CLASS_NOTHING", "priority": 0},
        {"class": "IOPRIO_CLASS_BE", "priority": 8},
        {"class": "IOPRIO_CLASS_BE", "priority": -1},
        {"priority": 1},
    ],
    ids=str,
)
@departs("runc", "R78 1.1 does not know ioPriority")
@departs("crun", "R78 1.8 does not know ioPriority")
def test_invalid_io_priority(
    container: Container, bundle: Bundle, priority: dict[str, Any]
) -> None:
    bundle.process["ioPriority"] = priority
    container.refused()


@pytest.mark.rows("R79")
def test_affinity_of_the_caller(container: Container) -> None:
    """Affinity is not the config's matter: init gets at least the CPUs that we have."""
    container.create().start()
    assert os.sched_getaffinity(container.pid) >= os.sched_getaffinity(0)
    assert alive(container.pid)


@pytest.mark.rows("R41")
def test_signal_dispositions_are_the_defaults(container: Container) -> None:
    """A runtime ignores some signals for itself; its container must not."""
    status = status_of_process(container)
    assert int(status["SigIgn"], 16) == 0
    assert int(status["SigBlk"], 16) == 0
