"""File descriptors: what reaches the container and what must not; the links in /dev."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, wait_for

departs = pytest.mark.departs


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors of a process and where they lead."""
    directory = f"/proc/{pid}/fd"
    return {int(name): os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}


def wait_exec(pid: int, program: str = "sleep") -> None:
    """Wait until the process has executed `program`."""
    comm = Path(f"/proc/{pid}/comm")
    wait_for(lambda: comm.read_text().strip() == program, f"{pid} has executed {program}")


@pytest.fixture
def files(workplace: Path) -> list[Path]:
    """Files to pass, each holding its own number."""
    paths = [workplace / f"passed{number}" for number in range(3, 10)]
    for number, path in enumerate(paths, 3):
        path.write_text(f"text {number}\n")
    return paths


def opened(files: list[Path], first: int = 3) -> str:
    """Redirections of a shell that open the files from number `first` on."""
    return " ".join(f"{number}<{path}" for number, path in enumerate(files, first))


@pytest.mark.rows("R41")
def test_only_stdio_is_open(container: Container) -> None:
    container.create().start()
    wait_exec(container.pid)
    found = descriptors(container.pid)
    assert sorted(found) == [0, 1, 2]
    assert found[0] == "/dev/null"
    assert found[1] == str(container.stdout)
    assert found[2] == str(container.stderr)


@pytest.mark.rows("R41")
def test_descriptors_of_the_caller_do_not_reach_the_container(
    container: Container, files: list[Path]
) -> None:
    container.create(redirections=opened(files)).start(redirections=opened(files))
    wait_exec(container.pid)
    assert sorted(descriptors(container.pid)) == [0, 1, 2]


@pytest.mark.rows("R41")
@departs("crun", "R41 1.8 closes them at start only")
def test_created_init_holds_nothing_of_the_caller(
    container: Container, files: list[Path]
) -> None:
    container.create(redirections=opened(files))
    leaked = set(descriptors(container.pid).values()) & {str(path) for path in files}
    assert leaked == set()


@pytest.mark.rows("R41")
def test_created_init_holds_no_directory_of_the_host(container: Container) -> None:
    """A directory of the host that the container could reach by /proc/PID/fd is a way out."""
    container.create()
    root = os.stat(f"/proc/{container.pid}/root")
    for number in descriptors(container.pid):
        path = f"/proc/{container.pid}/fd/{number}"
        if os.path.isdir(path):
            assert os.stat(path).st_dev == root.st_dev and os.stat(path).st_ino == root.st_ino


@pytest.mark.rows("R41", "R290")
def test_preserve_fds(container: Container, bundle: Bundle, files: list[Path]) -> None:
    bundle.sh("cat <&3; cat <&4; [ -e /proc/self/fd/5 ] || echo no 5")
    container.finish("--preserve-fds", "2", redirections=opened(files))
    assert container.output() == "text 3\ntext 4\nno 5\n"


@pytest.mark.rows("R41", "R290")
def test_preserve_fds_leaves_no_other(container: Container, files: list[Path]) -> None:
    container.create("--preserve-fds=3", redirections=opened(files)).start()
    wait_exec(container.pid)
    assert sorted(descriptors(container.pid)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.rows("R41", "R290")
def test_preserve_fds_with_run(container: Container, bundle: Bundle, files: list[Path]) -> None:
    bundle.sh("cat <&3")
    result = container.try_create(
        "--preserve-fds", "1", verb="run", redirections=opened(files)
    )
    assert (result.status, result.stdout) == (0, "text 3\n")


LISTEN = "export LISTEN_PID=$$ LISTEN_FDS=1"
SHOW = 'echo "$LISTEN_FDS $LISTEN_PID"; cat <&3'


@pytest.mark.rows("R41", "R297")
@departs("crun", "R41 1.8 sets an empty LISTEN_FDS")
def test_listen_fds(container: Container, bundle: Bundle, files: list[Path]) -> None:
    bundle.sh(SHOW)
    container.finish(before=LISTEN, redirections=opened(files[:1]))
    assert container.output() == "1 1\ntext 3\n"


@pytest.mark.rows("R41", "R297")
def test_listen_fds_close_the_others(container: Container, files: list[Path]) -> None:
    container.create(before=LISTEN, redirections=opened(files)).start()
    wait_exec(container.pid)
    assert sorted(descriptors(container.pid)) == [0, 1, 2, 3]


@pytest.mark.rows("R41", "R297")
@departs("crun", "R41 1.8 sets an empty LISTEN_FDS")
def test_preserve_fds_in_addition_to_listen_fds(
    container: Container, bundle: Bundle, files: list[Path]
) -> None:
    bundle.sh(f"{SHOW}; cat <&4; [ -e /proc/self/fd/5 ] || echo no 5")
    container.finish("--preserve-fds", "1", before=LISTEN, redirections=opened(files))
    assert container.output() == "1 1\ntext 3\ntext 4\nno 5\n"


@pytest.mark.rows("R41")
def test_standard_input_is_passed(container: Container, bundle: Bundle, files: list[Path]) -> None:
    bundle.args("cat")
    container.finish(redirections=f"<{files[0]}")
    assert container.output() == "text 3\n"


@pytest.mark.rows("R41")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@departs("runc", "R41 1.1 passes on its /sys/fs/cgroup directory as standard input")
@departs("crun<1.21", "R41 fails without any")
def test_standard_descriptors_that_are_closed(
    container: Container, bundle: Bundle, closed: str
) -> None:
    """Files of the runtime that take the place of 0, 1 or 2 must not end in the container."""
    status = container.try_create(redirections=closed).status
    assert status == 0, str(container.try_create())  # once more, with a place to say why
    container.start(redirections=closed)
    wait_exec(container.pid)
    known = {"/dev/null", str(container.stdout), str(container.stderr)}
    found = descriptors(container.pid)
    assert set(found.values()) <= known
    assert set(found) <= {0, 1, 2}


@pytest.mark.rows("R41", "R291")
def test_exec_leaks_nothing(container: Container, workplace: Path, files: list[Path]) -> None:
    container.create().start()
    pid_file = workplace / "exec.pid"
    result = container.exec(
        "sleep", "1001", flags=("--detach", "--pid-file", str(pid_file)),
        redirections=opened(files),
    )
    assert result.status == 0, str(result)
    pid = int(pid_file.read_text())
    wait_exec(pid)
    assert sorted(descriptors(pid)) == [0, 1, 2]
    os.kill(pid, 9)
    os.waitpid(pid, 0)


@pytest.mark.rows("R41", "R291")
def test_exec_preserve_fds(container: Container, files: list[Path]) -> None:
    container.create().start()
    result = container.exec(
        "sh", "-c", "cat <&3; cat <&4; [ -e /proc/self/fd/5 ] || echo no 5",
        flags=("--preserve-fds", "2"), redirections=opened(files),
    )
    assert (result.status, result.stdout) == (0, "text 3\ntext 4\nno 5\n"), str(result)


@pytest.mark.rows("R41")
def test_two_containers_do_not_share(
    runtime: Runtime, container: Container, make_container: Callable[[], Container]
) -> None:
    container.create()
    other = make_container().create().start()
    wait_exec(other.pid)
    assert sorted(descriptors(other.pid)) == [0, 1, 2]
    container.start()
    wait_exec(container.pid)
    assert sorted(descriptors(container.pid)) == [0, 1, 2]


@pytest.mark.rows("R42")
@pytest.mark.parametrize(
    "link, target",
    [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ],
)
def test_links_in_dev(container: Container, bundle: Bundle, link: str, target: str) -> None:
    bundle.args("readlink", f"/dev/{link}")
    assert container.finish() == f"{target}\n"


@pytest.mark.rows("R42")
def test_links_that_are_there_are_left_alone(container: Container, bundle: Bundle) -> None:
    bundle.config["mounts"] = [
        mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")
    ]
    (bundle.rootfs / "dev/stdin").symlink_to("/elsewhere")
    bundle.sh("readlink /dev/stdin; readlink /dev/stdout")
    assert container.finish() == "/elsewhere\n/proc/self/fd/1\n"
