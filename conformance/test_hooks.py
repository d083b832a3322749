"""Hooks: section 3 of the requirements.

Hooks on the host write below the root file system by its path on the host, startContainer hooks
write to the same files by their path in the container: so all of them can share one file.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, alive, cgroup_mounts, nothing_left

AT_CREATE = ("prestart", "createRuntime", "createContainer")
HOOKS = (*AT_CREATE, "startContainer", "poststart", "poststop")
WAIT_FOR_POSTSTART = "while ! grep -q poststart /order; do sleep 0.05; done"

departs = pytest.mark.departs


def seen_from(kind: str, bundle: Bundle, name: str) -> str:
    """The path by which a hook of that type reaches the file `name` of the root."""
    return f"/{name}" if kind == "startContainer" else f"{bundle.rootfs}/{name}"


def add_noting_hook(bundle: Bundle, kind: str, note: str, then: str = "", **fields: Any) -> None:
    """A hook that reads its input, appends a line to the file `order`, and then does more."""
    target = seen_from(kind, bundle, "order")
    bundle.hook(kind, f"cat >/dev/null; echo {note} >>{target}; {then}", **fields)


def order(bundle: Bundle) -> list[str]:
    """What the hooks and the process noted."""
    path = bundle.rootfs / "order"
    return path.read_text().split() if path.exists() else []


def whole_life(container: Container) -> None:
    """Create, start, wait for the end, delete."""
    container.create().start().wait_stopped().delete()


@pytest.mark.rows("R40", "R50", "R51", "R52", "R53", "R54", "R55", "R57")
@departs("runc", "R54 1.1 runs poststart hooks at create")
@departs("crun", "R54 1.8 does not wait for startContainer hooks before poststart hooks")
def test_order(container: Container, bundle: Bundle) -> None:
    for kind in reversed(HOOKS):
        for number in "123":
            add_noting_hook(bundle, kind, kind + number)
    bundle.sh(f"echo process >>/order; {WAIT_FOR_POSTSTART}")
    container.create()
    assert order(bundle) == [kind + number for kind in AT_CREATE for number in "123"]
    container.start()
    started = order(bundle)
    container.wait_stopped()
    assert "poststop1" not in order(bundle)
    container.delete()
    startcontainer = ["startContainer1", "startContainer2", "startContainer3"]
    assert started[9:12] == startcontainer
    rest = [note for note in order(bundle)[12:] if note != "process"]
    assert rest == [kind + number for kind in ("poststart", "poststop") for number in "123"]
    assert "poststart3" in started


@pytest.mark.rows("R53", "R40")
def test_start_container_comes_before_the_process(container: Container, bundle: Bundle) -> None:
    add_noting_hook(bundle, "startContainer", "hook")
    bundle.sh("echo process >>/order")
    container.finish()
    assert order(bundle) == ["hook", "process"]


STATUS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}
CRUN_STATUS = departs("crun", "R58 says created, and starting")
RUNC_POSTSTART = departs("runc", "R54 1.1 runs poststart hooks at create")
STATUS_MARKS = {
    kind: [RUNC_POSTSTART] if kind == "poststart" else [CRUN_STATUS] for kind in HOOKS[:-1]
}


def state_on_stdin(container: Container, kind: str) -> dict[str, Any]:
    """What a hook of that type reads, over a whole life of the container."""
    bundle = container.bundle
    bundle.config["annotations"] = {"com.example.key": "é\n"}
    bundle.hook(kind, f"/bin/cat >{seen_from(kind, bundle, 'stdin')}")
    bundle.sh("while [ ! -e /stdin ]; do sleep 0.05; done" if kind == "poststart" else "true")
    whole_life(container)
    document = json.loads((bundle.rootfs / "stdin").read_text())
    assert isinstance(document, dict)
    return document


CRUN_BUNDLE = departs("crun", "R58 says that the bundle is /")


@pytest.mark.rows("R58", "R30", "R31")
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=CRUN_BUNDLE if kind == "startContainer" else []) for kind in HOOKS],
)
def test_state_on_stdin(container: Container, bundle: Bundle, kind: str) -> None:
    state = state_on_stdin(container, kind)
    assert state["id"] == container.id
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"com.example.key": "é\n"}
    assert state["ociVersion"]


@pytest.mark.rows("R58", "R31")
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=STATUS_MARKS.get(kind, [])) for kind in HOOKS],
)
def test_status_on_stdin(container: Container, kind: str) -> None:
    assert state_on_stdin(container, kind)["status"] == STATUS[kind]


@pytest.mark.rows("R34", "R58")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart"])
def test_pid_in_the_namespace_of_the_runtime(container: Container, kind: str) -> None:
    assert state_on_stdin(container, kind)["pid"] == container.pid


@pytest.mark.rows("R34", "R58")
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
@departs("crun", "R34 passes 0")
def test_pid_in_the_namespace_of_the_container(container: Container, kind: str) -> None:
    assert state_on_stdin(container, kind)["pid"] == 1


@pytest.mark.rows("R34", "R58")
def test_pid_after_the_end(container: Container) -> None:
    assert state_on_stdin(container, "poststop").get("pid", 0) == 0


# Where hooks run

NAMESPACES = ("mnt", "uts", "ipc", "net")


def namespaces_of_hook(container: Container, kind: str) -> tuple[list[str], list[str]]:
    """The namespaces that a hook of that type runs in, and those of the container."""
    bundle = container.bundle
    paths = " ".join(f"/proc/self/ns/{name}" for name in NAMESPACES)
    target = seen_from(kind, bundle, "namespaces")
    bundle.hook(kind, f"for path in {paths}; do readlink $path; done >{target}")
    container.create()
    own = [os.readlink(f"/proc/{container.pid}/ns/{name}") for name in NAMESPACES]
    container.start().stop().delete()
    return (bundle.rootfs / "namespaces").read_text().split(), own


@pytest.mark.rows("R50", "R51", "R54", "R55", "R60")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_runs_in_the_namespaces_of_the_runtime(container: Container, kind: str) -> None:
    seen, _ = namespaces_of_hook(container, kind)
    assert seen == [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]


@pytest.mark.rows("R52", "R53", "R60")
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_runs_in_the_namespaces_of_the_container(container: Container, kind: str) -> None:
    seen, own = namespaces_of_hook(container, kind)
    assert seen == own


@pytest.mark.rows("R50", "R51", "R60")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_namespaces_exist_when_the_hook_runs(
    container: Container, bundle: Bundle, kind: str
) -> None:
    bundle.hook(
        kind,
        "pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); "
        f"readlink /proc/$pid/ns/net >{bundle.rootfs}/net",
    )
    container.create()
    seen = (bundle.rootfs / "net").read_text().strip()
    assert seen == os.readlink(f"/proc/{container.pid}/ns/net")


@pytest.mark.rows("R52")
def test_create_container_sees_the_host_and_the_mounts_of_the_container(
    container: Container, bundle: Bundle
) -> None:
    script = bundle.path / "hook.sh"
    script.write_text(
        "#!/bin/sh\n"
        f"grep -o ' {bundle.rootfs}/dev/shm ' /proc/self/mountinfo >{bundle.rootfs}/seen\n"
    )
    script.chmod(0o755)
    bundle.config["hooks"] = {"createContainer": [{"path": str(script)}]}
    container.create()
    assert (bundle.rootfs / "seen").read_text().strip() == f"{bundle.rootfs}/dev/shm"


@pytest.mark.rows("R53")
def test_start_container_path_is_the_containers(container: Container, bundle: Bundle) -> None:
    bundle.file("/only-here", "#!/bin/sh\necho ran >/ran\n", 0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/only-here"}]}
    bundle.args("cat", "/ran")
    assert container.finish() == "ran\n"


@pytest.mark.rows("R14", "R52")
@departs("crun", "R14 1.8 makes the root read-only before the hooks")
def test_create_hooks_can_write_to_a_readonly_root(container: Container, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    for kind in AT_CREATE:
        add_noting_hook(bundle, kind, kind)
    container.create()
    assert order(bundle) == list(AT_CREATE)


# The entry


@pytest.mark.rows("R56")
@pytest.mark.parametrize("kind", HOOKS)
def test_args_and_env(container: Container, bundle: Bundle, kind: str) -> None:
    target = seen_from(kind, bundle, "seen")
    script = f'echo "$0|$1|$2|$A|$B" >{target}; cat /proc/self/environ >{target}.env'
    entry = {
        "path": "/bin/sh",
        "args": ["sh", "-c", script, "zero", "one two", ""],
        "env": ["A=a b", "B=c=d", "PATH=/bin"],
    }
    bundle.config["hooks"] = {kind: [entry]}
    bundle.sh("while [ ! -e /seen.env ]; do sleep 0.05; done" if kind == "poststart" else "true")
    whole_life(container)
    assert (bundle.rootfs / "seen").read_text() == "zero|one two||a b|c=d\n"
    environment = (bundle.rootfs / "seen.env").read_text().split("\0")
    assert {"A=a b", "B=c=d", "PATH=/bin"} <= set(environment)
    assert not any(entry.startswith("HOME=") for entry in environment)


@pytest.mark.rows("R56")
def test_argv_is_args_and_nothing_else(container: Container, bundle: Bundle) -> None:
    target = f"{bundle.rootfs}/argv"
    bundle.config["hooks"] = {
        "createRuntime": [
            {"path": "/bin/sh", "args": ["name", "-c", f"cat /proc/$$/cmdline >{target}"]}
        ]
    }
    container.create()
    assert (bundle.rootfs / "argv").read_text().split("\0")[:2] == ["name", "-c"]


@pytest.mark.rows("R56")
@pytest.mark.parametrize("kind", [*AT_CREATE, "startContainer"])
def test_no_args(container: Container, bundle: Bundle, kind: str) -> None:
    text = f"#!/bin/sh\necho $# >{seen_from(kind, bundle, 'count')}\n"
    if kind == "startContainer":
        bundle.file("/hook", text, 0o755)
        path = "/hook"
    else:
        path = str(bundle.file("../hook", text, 0o755).resolve())
    bundle.config["hooks"] = {kind: [{"path": path}]}
    bundle.args("true")
    container.create().start().wait_stopped()
    assert (bundle.rootfs / "count").read_text() == "0\n"


@pytest.mark.rows("R58")
@pytest.mark.parametrize("kind", HOOKS)
@departs("crun", "R58 1.8 dies of SIGPIPE when a poststop hook does not read its input")
def test_hook_that_does_not_read(container: Container, bundle: Bundle, kind: str) -> None:
    """More than a pipe holds: writing all of it blocks, then breaks, when nobody reads."""
    bundle.config["annotations"] = {"com.example.long": "x" * 200_000}
    bundle.hook(kind, "exec <&-; exit 0")
    bundle.args("true")
    whole_life(container)


@pytest.mark.rows("R58")
def test_state_that_is_larger_than_a_pipe(container: Container, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"com.example.long": "x" * 200_000}
    bundle.hook("createRuntime", f"cat >{bundle.rootfs}/stdin")
    container.create()
    state = json.loads((bundle.rootfs / "stdin").read_text())
    assert state["annotations"] == bundle.config["annotations"]


# Failure

FAILURES = {"status": "exit 3", "signal": "kill -9 $$"}


def start_refused(container: Container) -> str:
    """Create, then start, which must fail; what it wrote to stderr."""
    container.create()
    return container.runtime.refused("start", container.id).stderr


@pytest.mark.rows("R50", "R51", "R52", "R40", "R57")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", AT_CREATE)
def test_failure_at_create(
    container: Container, bundle: Bundle, kind: str, failure: str
) -> None:
    add_noting_hook(bundle, kind, "first")
    add_noting_hook(bundle, kind, "failing", FAILURES[failure])
    for later in HOOKS[HOOKS.index(kind) : -1]:
        add_noting_hook(bundle, later, f"after-{later}")
    container.refused()
    assert order(bundle) == ["first", "failing"]


@pytest.mark.rows("R40", "R55")
@pytest.mark.parametrize("kind", AT_CREATE)
@departs("crun", "R40 runs no poststop hooks when create fails")
def test_poststop_after_a_failed_create(container: Container, bundle: Bundle, kind: str) -> None:
    add_noting_hook(bundle, kind, "failing", "exit 1")
    add_noting_hook(bundle, "poststop", "poststop")
    container.refused()
    assert order(bundle) == ["failing", "poststop"]


@pytest.mark.rows("R53", "R57")
def test_start_container_failure(container: Container, bundle: Bundle) -> None:
    add_noting_hook(bundle, "startContainer", "first", "exit 1")
    add_noting_hook(bundle, "startContainer", "second")
    bundle.sh("echo process >>/order")
    container.create()
    container.runtime.run("start", container.id)
    assert container.exit_status() != 0
    assert order(bundle) == ["first"]


@pytest.mark.rows("R53", "R40")
@departs("runc", "R53 1.1 start does not wait for the hook")
@departs("crun", "R53 1.8 start does not wait for the hook")
def test_start_container_failure_is_the_failure_of_start(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.hook("startContainer", "exit 1")
    add_noting_hook(bundle, "poststart", "poststart")
    add_noting_hook(bundle, "poststop", "poststop")
    start_refused(container)
    assert order(bundle) == ["poststop"]
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R54", "R40")
@departs("runc", "R54 1.1 keeps the stopped container, and runs no poststop hooks")
@departs("crun", "R54 1.8 warns only")
def test_poststart_failure(runtime: Runtime, container: Container, bundle: Bundle) -> None:
    add_noting_hook(bundle, "poststart", "first", "exit 1")
    add_noting_hook(bundle, "poststart", "second")
    add_noting_hook(bundle, "poststop", "poststop")
    start_refused(container)
    assert container.exit_status() == 137
    assert order(bundle) == ["first", "poststop"]
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R55")
@departs("runc", "R55 the first failure ends delete")
@pytest.mark.parametrize("failure", FAILURES)
def test_poststop_failure(
    runtime: Runtime, container: Container, bundle: Bundle, failure: str
) -> None:
    add_noting_hook(bundle, "poststop", "first", FAILURES[failure])
    add_noting_hook(bundle, "poststop", "second")
    bundle.args("true")
    whole_life(container)
    assert order(bundle) == ["first", "second"]
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R55")
def test_poststop_of_a_forced_delete(container: Container, bundle: Bundle) -> None:
    add_noting_hook(bundle, "poststop", "poststop")
    container.create().start().delete("--force")
    assert order(bundle) == ["poststop"]


@pytest.mark.rows("R55", "R40")
def test_poststop_comes_after_the_end_of_the_container(
    container: Container, bundle: Bundle
) -> None:
    cgroups = " ".join(f"{mount}{bundle.cgroups_path}" for mount in cgroup_mounts())
    bundle.hook("poststop", f"ls -d {cgroups} >{bundle.rootfs}/cgroups 2>/dev/null; exit 0")
    container.create().start().delete("--force")
    assert (bundle.rootfs / "cgroups").read_text() == ""


@pytest.mark.rows("R50", "R51", "R52", "R56")
@pytest.mark.parametrize("kind", AT_CREATE)
def test_missing_program_of_a_hook(container: Container, bundle: Bundle, kind: str) -> None:
    bundle.config["hooks"] = {kind: [{"path": "/no/such/hook"}]}
    assert "/no/such/hook" in container.refused()


# Timeouts


@pytest.mark.rows("R59")
@pytest.mark.parametrize("kind", AT_CREATE)
def test_timeout_at_create(container: Container, bundle: Bundle, kind: str) -> None:
    bundle.hook(kind, f"echo $$ >{bundle.rootfs}/pid; exec sleep 1000", timeout=1)
    container.refused()
    if kind != "createContainer":
        assert not alive(int((bundle.rootfs / "pid").read_text()))


@pytest.mark.rows("R59")
def test_a_hook_within_its_timeout(container: Container, bundle: Bundle) -> None:
    add_noting_hook(bundle, "createRuntime", "ran", "exit 0", timeout=1000)
    container.create()
    assert order(bundle) == ["ran"]


@pytest.mark.rows("R55", "R59")
@departs("runc", "R55 the first failure ends delete")
def test_timeout_of_poststop(container: Container, bundle: Bundle) -> None:
    add_noting_hook(bundle, "poststop", "first", "exec sleep 1000", timeout=1)
    add_noting_hook(bundle, "poststop", "second")
    bundle.args("true")
    whole_life(container)
    assert order(bundle) == ["first", "second"]


@pytest.mark.rows("R59")
@departs("runc", "R59 waits for the end of the pipes that a grandchild holds")
def test_timeout_does_not_wait_for_grandchildren(container: Container, bundle: Bundle) -> None:
    bundle.hook("createRuntime", f"sleep 40 & echo $! >{bundle.rootfs}/pid; wait", timeout=1)
    container.refused()
    grandchild = int((bundle.rootfs / "pid").read_text())
    still_alive = alive(grandchild)
    if still_alive:
        os.kill(grandchild, 9)
    assert still_alive


@pytest.mark.rows("R60")
def test_background_process_of_a_hook_does_not_block(
    container: Container, bundle: Bundle
) -> None:
    bundle.hook(
        "createRuntime", f"sleep 40 >/dev/null 2>&1 & echo $! >{bundle.rootfs}/pid; exit 0"
    )
    container.create()
    child = int((bundle.rootfs / "pid").read_text())
    assert alive(child)
    os.kill(child, 9)


@pytest.mark.rows("R56", "R59")
@pytest.mark.parametrize("timeout", [0, -1])
@departs("crun", "R56 takes 0 and less for no timeout")
@departs("runc", "R56 1.1 races a hook against a time that is over")
def test_timeout_must_be_positive(container: Container, bundle: Bundle, timeout: int) -> None:
    bundle.hook("createRuntime", "exit 0", timeout=timeout)
    container.refused()


@pytest.mark.rows("R56")
def test_path_must_be_absolute(container: Container, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "bin/true"}]}
    container.refused()
