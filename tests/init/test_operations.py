"""Single operations, each in a throw-away plan, and what they did."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.operation import Operation
from tests.init.machine import Init, memory, output, perform

ROOT, TARGET, LIKE, OTHER = 0, 1, 2, 3
HERE = -1  # AT_FDCWD
HERE_FD = -100
RENAME_EXCHANGE = 2
DIRECTORY = c.O_PATH | c.O_DIRECTORY
PYTHON = sys.executable


def pardoned(operation: Operation, *pardons: tuple[int, int]) -> Operation:
    operation.pardons = pardons
    return operation


def opened(slot: int, path: Path | str, flags: int = c.O_PATH) -> Operation:
    return op.openat2(slot, HERE, str(path), flags, 0, 0)


def refused(plan: list[Operation], index: int, number: int) -> None:
    """The plan must end at that operation with that errno."""
    done = perform(plan)
    assert (done.status, done.failed) == (1, index)
    assert errno.errorcode[done.error] == errno.errorcode[number]
    assert done.errors[index] == number
    assert done.values[index] == -1


# --- the machine itself ---------------------------------------------


def test_results_of_a_plan() -> None:
    done = perform([op.umask(0o22), op.umask(0o77), op.exit(4)])
    assert done.status == 4
    assert done.failed == -1
    assert done.values[1] == 0o22
    assert done.errors == [0, 0, 0]
    assert 0 < done.begin <= done.ends[0] <= done.ends[1]
    assert done.ends[2] == 0


def test_a_plan_ends_by_leaving() -> None:
    assert perform([op.umask(0)]).status == 0


def test_a_failure_ends_the_plan(tmp_path: Path) -> None:
    plan = [op.chdir(str(tmp_path / "missing")), op.mkdirat(HERE, str(tmp_path / "made"), 0o755)]
    refused(plan, 0, errno.ENOENT)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM])
def test_injected_failure(number: int, tmp_path: Path) -> None:
    """The operation is not performed, and the plan ends as if it had failed."""
    plan = [op.umask(0), op.mkdirat(HERE, str(tmp_path / "made"), 0o755), op.exit(0)]
    done = perform(plan, failure=(1, number))
    assert (done.status, done.failed, done.error) == (1, 1, number)
    assert not (tmp_path / "made").exists()


def test_injected_failure_can_be_pardoned() -> None:
    plan = [pardoned(op.umask(0), (errno.EIO, 1)), op.exit(1), op.exit(7)]
    assert perform(plan, failure=(0, errno.EIO)).status == 7


@pytest.mark.parametrize(("count", "status"), [(0, 10), (1, 11), (2, 12), (3, 0)])
def test_skip(count: int, status: int) -> None:
    assert perform([op.skip(count), op.exit(10), op.exit(11), op.exit(12)]).status == status


@pytest.mark.parametrize(
    ("pardons", "status"),
    [
        ([(errno.ENOENT, 0)], 10),
        ([(errno.ENOENT, 1)], 11),
        ([(errno.EACCES, 0), (errno.ENOENT, 2)], 12),
        ([(errno.EACCES, 0), (errno.EIO, 2)], 1),
        ([], 1),
    ],
)
def test_pardons(pardons: list[tuple[int, int]], status: int) -> None:
    first = pardoned(op.chdir("/no/such/directory"), *pardons)
    assert perform([first, op.exit(10), op.exit(11), op.exit(12)]).status == status


def test_what_succeeds_needs_no_pardon() -> None:
    assert perform([pardoned(op.chdir("/"), (errno.ENOENT, 1)), op.exit(10)]).status == 10


def test_a_pardoned_failure_is_in_the_results() -> None:
    done = perform([pardoned(op.chdir("/no/such"), (errno.ENOENT, 0)), op.exit(0)])
    assert done.errors[0] == errno.ENOENT
    assert done.failed == -1


def test_sync_tells_and_waits() -> None:
    with Init([op.umask(0), op.sync(5, 42), op.exit(3)]) as init:
        assert init.receive() == (5, 1, 42)
        assert init.process.poll() is None
        init.answer()
        assert init.wait().status == 3


def test_without_a_runtime_there_is_no_container() -> None:
    with Init([op.sync(5, 0), op.exit(0)]) as init:
        init.receive()
        init.ours.shutdown(socket.SHUT_RDWR)
        assert init.process.wait(60) == 1


# --- make_path ---------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    path = tmp_path / "root"
    path.mkdir()
    return path


def make(root: Path, path: str, *, mode: int = 0o755, like: str = "") -> list[Operation]:
    plan = [op.umask(0), opened(ROOT, root, DIRECTORY)]
    if like:
        plan.append(opened(LIKE, like))
    plan.append(op.make_path(TARGET, ROOT, path, mode, LIKE if like else -1))
    return plan


def made(root: Path, path: str, mode: int = 0o755, like: str = "") -> Path:
    """Make the path; where its descriptor says that it is."""
    plan = make(root, path, mode=mode, like=like)
    with Init([*plan, op.sync(9, 0)]) as init:
        assert init.receive() is not None, init.wait().error
        number = os.pread(init.results, 8, 24 + 24 * (len(plan) - 1))
        descriptor = int.from_bytes(number, "little")
        return Path(os.readlink(f"/proc/{init.process.pid}/fd/{descriptor}"))


def outside(root: Path) -> list[str]:
    """What was made beside the root."""
    names = {str(path.relative_to(root.parent)) for path in root.parent.rglob("*")}
    return sorted(name for name in names - {"outside", "root"} if not name.startswith("root/"))


@pytest.mark.rows("R91")
@pytest.mark.parametrize("path", ["a", "/a", "a/b/c", "//a///b/", "x" * 255])
def test_missing_directories_are_made(root: Path, path: str) -> None:
    expected = root / path.strip("/").replace("///", "/")
    assert made(root, path) == expected
    assert expected.is_dir()


@pytest.mark.rows("R91")
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777])
def test_they_get_the_mode(root: Path, mode: int) -> None:
    (root / "a").mkdir(mode=0o711)
    made(root, "a/b/c", mode)
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o711, mode, mode]


@pytest.mark.rows("R91")
@pytest.mark.parametrize("like", ["/dev/null", "/proc/version"])
def test_a_file_is_made_for_what_is_no_directory(root: Path, like: str) -> None:
    path = made(root, "a/b/file", like=like)
    assert path.is_file()
    assert path.parent.is_dir()
    assert path.read_bytes() == b""


@pytest.mark.rows("R91")
def test_a_directory_is_made_for_a_directory(root: Path) -> None:
    assert made(root, "a/b", like="/tmp").is_dir()


@pytest.mark.rows("R91")
def test_what_exists_is_taken_as_it_is(root: Path) -> None:
    (root / "file").write_text("kept")
    assert made(root, "file") == root / "file"
    assert made(root, "file", like="/dev/null").read_text() == "kept"
    assert made(root, "/") == root


@pytest.mark.rows("R91")
@pytest.mark.parametrize(
    ("link", "target", "path", "expected"),
    [
        ("a", "b", "a/c", "b/c"),
        ("a", "/b", "a/c", "b/c"),
        ("a", "b/c/d", "a", "b/c/d"),
        ("a", "/x/../b", "a/c", "b/c"),
        ("deep/a", "../b", "deep/a/c", "b/c"),
        ("a", "../../../b", "a/c", "b/c"),
        ("a", "/../../b", "a", "b"),
        ("a", "../outside", "a/c", "outside/c"),
    ],
)
def test_links_to_nothing_are_followed_inside_of_the_root(
    root: Path, link: str, target: str, path: str, expected: str
) -> None:
    (root / "x").mkdir()
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(target)
    assert made(root, path) == root / expected
    assert outside(root) == []


@pytest.mark.rows("R91")
def test_links_to_directories_of_the_host_stay_inside(root: Path) -> None:
    (root / "a").symlink_to(root.parent / "outside")
    path = made(root, "a/b")
    assert path.is_relative_to(root)
    assert outside(root) == []


@pytest.mark.rows("R91")
@pytest.mark.parametrize(
    "target",
    ["missing/../../outside/x", "/missing/../../outside/x", "missing/../../../x", "no/../.."],
)
def test_no_way_leads_out_through_what_is_made_on_the_way(root: Path, target: str) -> None:
    """`..` behind a component that does not exist: the kernel says ENOENT, and so must we."""
    (root / "a").symlink_to(target)
    with Init([*make(root, "a/made"), op.sync(9, 0)]) as init:
        if init.receive():  # it may also be refused
            for number in os.listdir(f"/proc/{init.process.pid}/fd"):
                place = os.readlink(f"/proc/{init.process.pid}/fd/{number}")
                assert place != str(root.parent)
                assert not place.startswith(str(root.parent / "outside"))
    assert outside(root) == []


@pytest.mark.rows("R91")
@pytest.mark.parametrize(
    ("links", "path", "number"),
    [
        ({"a": "a"}, "a/b", errno.ELOOP),
        ({"a": "b", "b": "a"}, "a", errno.ELOOP),
        ({"file": ""}, "file/b", errno.ENOTDIR),
        ({}, "x" * 256, errno.ENAMETOOLONG),
        ({}, "x/" * 2100, errno.ENAMETOOLONG),
    ],
)
def test_a_path_that_cannot_be_made(
    root: Path, links: dict[str, str], path: str, number: int
) -> None:
    for name, target in links.items():
        if target:
            (root / name).symlink_to(target)
        else:
            (root / name).write_text("")
    refused(make(root, path), 2, number)


@pytest.mark.rows("R91")
def test_links_of_proc_are_not_followed(root: Path) -> None:
    """Such a link leads wherever its process is, whatever the root."""
    plan = [opened(ROOT, "/proc", DIRECTORY), op.make_path(TARGET, ROOT, "self/root/x", 0o755, -1)]
    done = perform(plan)
    assert done.failed == 1
    assert done.error in (errno.ELOOP, errno.EXDEV)


class Swapper:
    """Somebody in the container who puts a link to the outside in place of a directory."""

    def __init__(self, root: Path) -> None:
        self.here, self.link = root / "a", root / "link"
        self.here.mkdir()
        self.link.symlink_to(root.parent / "outside")
        self.ended = False
        self.thread = threading.Thread(target=self.swap)
        self.thread.start()

    def swap(self) -> None:
        exchange = ctypes.CDLL(None).renameat2
        names = (HERE_FD, bytes(self.here), HERE_FD, bytes(self.link), RENAME_EXCHANGE)
        while not self.ended:
            exchange(*names)

    def stop(self) -> None:
        self.ended = True
        self.thread.join()


@pytest.mark.rows("R91")
@pytest.mark.parametrize("like", ["", "/dev/null"])
def test_races_with_links_are_lost_by_the_link(root: Path, like: str) -> None:
    swapper = Swapper(root)
    inside = 0
    try:
        for number in range(150):
            done = perform(make(root, f"a/{number}/x", like=like))
            assert done.status in (0, 1)
            inside += done.status == 0
    finally:
        swapper.stop()
    assert list((root.parent / "outside").iterdir()) == []
    assert outside(root) == []
    assert inside > 0


# --- copy_tree ---------------------------------------------


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    return source, target


def copy(source: Path, target: Path) -> list[Operation]:
    return [opened(ROOT, source, DIRECTORY), opened(TARGET, target, DIRECTORY),
            op.copy_tree(ROOT, TARGET)]  # fmt: skip


def described(top: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Path below top to (mode, uid, gid, device, content)."""
    result = {}
    for path in top.rglob("*"):
        about = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.readlink(path).encode()
        elif path.is_file():
            content = path.read_bytes()
        name = str(path.relative_to(top))
        result[name] = (about.st_mode, about.st_uid, about.st_gid, about.st_rdev, content)
    return result


@pytest.mark.rows("R117")
def test_copy_of_a_tree(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (source / "directory/deep").mkdir(parents=True)
    (source / "directory/deep").chmod(0o1777)
    (source / "directory").chmod(0o500)
    (source / "file").write_bytes(bytes(range(256)) * 300)
    (source / "file").chmod(0o4751)
    (source / "empty").touch(0o000)
    (source / "link").symlink_to("directory/deep")
    (source / "dangling").symlink_to("/no/such")
    os.mkfifo(source / "fifo", 0o640)
    for number in range(150):  # more than one read of the directory
        (source / f"a-rather-long-name-of-a-file-{number}").touch()
    assert perform([op.umask(0), *copy(source, target)]).failed == -1
    assert described(target) == described(source)
    assert not (target / "link").is_dir() or (target / "link").is_symlink()


@pytest.mark.rows("R117")
def test_a_copy_keeps_owners_and_devices(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (source / "d").mkdir()
    (source / "d/f").touch()
    (source / "d/l").symlink_to("f")
    try:
        for number, name in enumerate(["d", "d/f", "d/l"]):
            os.chown(source / name, 1000 + number, 2000 + number, follow_symlinks=False)
        os.mknod(source / "node", stat.S_IFCHR | 0o600, os.makedev(10, 300))
    except PermissionError:
        pytest.skip("may neither give files away nor make device nodes")
    (source / "d/f").chmod(0o6711)  # chown takes these bits away
    assert perform(copy(source, target)).failed == -1
    assert described(target) == described(source)


@pytest.mark.rows("R117")
def test_a_copy_replaces_nothing(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (source / "f").write_text("new")
    (target / "f").write_text("old")
    refused(copy(source, target), 2, errno.EEXIST)
    assert (target / "f").read_text() == "old"


@pytest.mark.rows("R117")
def test_a_copy_of_nothing(trees: tuple[Path, Path]) -> None:
    assert perform(copy(*trees)).failed == -1


@pytest.mark.rows("R117")
def test_a_copy_ends_somewhere(trees: tuple[Path, Path]) -> None:
    deep = trees[0].joinpath(*["d"] * 70)
    deep.mkdir(parents=True)
    refused(copy(*trees), 2, errno.ELOOP)


# --- find_executable, execve ---------------------------------------------


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Directories first and second, some of whose files can be executed."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both").write_text(f"#!/bin/sh\necho {name} $0\n")
        (tmp_path / name / "both").chmod(0o755)
    shutil.copy(tmp_path / "second/both", tmp_path / "second/only")
    (tmp_path / "first/plain").touch(0o644)
    (tmp_path / "first/directory").mkdir()
    return tmp_path


def found(file: str, path: str | None, directory: Path) -> str:
    return output(
        [op.chdir(str(directory)), op.find_executable(file, path), op.execve(None, ["x"], [])]
    )


@pytest.mark.rows("R66")
def test_search_in_path(programs: Path) -> None:
    path = f"{programs}/none:{programs}/first:{programs}/second"
    assert found("both", path, programs) == f"first {programs}/first/both\n"
    assert found("only", path, programs) == f"second {programs}/second/only\n"


@pytest.mark.rows("R66")
@pytest.mark.parametrize("path", ["", ":/none", "/none:", "/none::/none2"])
def test_an_empty_entry_is_the_working_directory(programs: Path, path: str) -> None:
    assert found("both", path, programs / "first") == "first ./both\n"


@pytest.mark.rows("R66")
def test_with_a_slash_there_is_no_search(programs: Path) -> None:
    assert found("first/both", "/none", programs) == "first first/both\n"
    assert found(f"{programs}/first/both", None, programs).startswith("first")


@pytest.mark.rows("R66")
@pytest.mark.parametrize(
    ("file", "number"),
    [
        ("missing", errno.ENOENT),
        ("", errno.ENOENT),
        ("plain", errno.EACCES),
        ("directory", errno.ENOENT),
        ("first/directory", errno.EISDIR),
        ("./first/plain", errno.EACCES),
        ("./missing", errno.ENOENT),
        ("first/both/x", errno.ENOTDIR),
        ("./" + "x" * 5000, errno.ENAMETOOLONG),
    ],
)
def test_nothing_to_execute(programs: Path, file: str, number: int) -> None:
    path = f"{programs}/first:{programs}/second"
    refused([op.chdir(str(programs)), op.find_executable(file, path)], 1, number)


@pytest.mark.rows("R66")
def test_a_program_further_on_is_found_behind_one_that_is_not_executable(programs: Path) -> None:
    (programs / "first/only").touch(0o644)
    path = f"{programs}/first:{programs}/second"
    assert found("only", path, programs).startswith("second")


@pytest.mark.rows("R65", "R66")
def test_arguments_and_environment_arrive_unchanged(tmp_path: Path) -> None:
    args = ["sh", "-c", 'printf "%s|" "$@"; echo "$A"', "zero", "", "two words", "ü\n"]
    assert output([op.execve("/bin/sh", args, ["A=b=c"])]) == "|two words|ü\n|b=c\n"


# --- run_hook ---------------------------------------------


def hook(
    script: str, *, stdin: int = -1, timeout: int = 0, env: list[str] | None = None
) -> Operation:
    return op.run_hook(
        "/bin/sh", ["sh", "-c", script], env or ["PATH=/bin:/usr/bin"], stdin, timeout
    )


@pytest.fixture
def state() -> Iterator[int]:
    descriptor = memory(b"the state\n")
    yield descriptor
    os.close(descriptor)


@pytest.mark.rows("R58")
def test_each_hook_reads_the_file_from_its_start(state: int, tmp_path: Path) -> None:
    plan = [
        op.load_fd(ROOT, state),
        hook(f"cat >{tmp_path}/one", stdin=ROOT),
        hook(f"cat >{tmp_path}/two", stdin=ROOT),
    ]
    assert perform(plan, inherit=[state]).status == 0
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "the state\n"


@pytest.mark.rows("R56")
def test_arguments_and_environment_of_a_hook(state: int, tmp_path: Path) -> None:
    script = f'echo "$0 $1 $A" >{tmp_path}/out'
    args = ["sh", "-c", script, "zero", "one"]
    plan = [op.load_fd(ROOT, state), op.run_hook("/bin/sh", args, ["A=b"], ROOT, 0)]
    assert perform(plan, inherit=[state]).status == 0
    assert (tmp_path / "out").read_text() == "zero one b\n"


@pytest.mark.rows("R52", "R53")
@pytest.mark.parametrize(
    ("script", "detail"), [("exit 3", 3 << 8), ("kill -9 $$", 9), ("exit 255", 255 << 8)]
)
def test_failure_of_a_hook(state: int, script: str, detail: int) -> None:
    plan = [op.load_fd(ROOT, state), hook(script, stdin=ROOT), op.exit(0)]
    done = perform(plan, inherit=[state])
    assert (done.status, done.failed, done.error) == (1, 1, errno.EREMOTEIO)
    assert done.detail & 0xFF7F == detail


@pytest.mark.rows("R52")
def test_a_hook_that_cannot_be_executed(state: int) -> None:
    plan = [op.load_fd(ROOT, state), op.run_hook("/no/such", ["x"], [], ROOT, 0)]
    done = perform(plan, inherit=[state])
    assert (done.failed, done.error, done.detail) == (1, errno.EREMOTEIO, 127 << 8)


@pytest.mark.rows("R59")
def test_timeout_of_a_hook(state: int, tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/pid; exec sleep 1000"
    plan = [op.load_fd(ROOT, state), hook(script, stdin=ROOT, timeout=300)]
    done = perform(plan, inherit=[state])
    assert (done.failed, done.error) == (1, errno.ETIME)
    text = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
    if text:  # on a slow machine it may not have come so far
        assert not Path(f"/proc/{int(text)}").exists()


@pytest.mark.rows("R59")
def test_a_hook_within_its_timeout(state: int) -> None:
    plan = [op.load_fd(ROOT, state), hook("exit 0", stdin=ROOT, timeout=60_000), op.exit(5)]
    assert perform(plan, inherit=[state]).status == 5


@pytest.mark.rows("R59")
def test_what_a_hook_leaves_running_is_not_waited_for(state: int, tmp_path: Path) -> None:
    """It holds the hook's output open, too."""
    script = f"sleep 1000 & echo $! >{tmp_path}/pid"
    plan = [op.load_fd(ROOT, state), hook(script, stdin=ROOT), op.exit(5)]
    with Init(plan, inherit=[state], stdout=subprocess.DEVNULL) as init:
        assert init.process.wait(60) == 5
    os.kill(int((tmp_path / "pid").read_text()), 9)


# --- descriptors ---------------------------------------------


def descriptors(init: Init) -> dict[int, bool]:
    """Open descriptors of a process, and whether each is close-on-exec."""
    base = Path(f"/proc/{init.process.pid}/fdinfo")
    result = {}
    for path in base.iterdir():
        line = next(line for line in path.read_text().splitlines() if line.startswith("flags:"))
        result[int(path.name)] = bool(int(line.split()[1], 8) & os.O_CLOEXEC)
    return result


@pytest.mark.rows("R41")
def test_close_from_keeps_three_slots_and_the_socket() -> None:
    numbers = [memory(b"") for _ in range(8)]
    kept = numbers[1], numbers[4], numbers[7]
    plan = [op.load_fd(slot, number) for slot, number in enumerate(kept)]
    plan += [op.close_from(3, 0, 1, 2), op.sync(9, 0)]
    with Init(plan, inherit=numbers) as init:
        init.receive()
        now = descriptors(init)
    for number in numbers:
        os.close(number)
    rest = {number: flag for number, flag in now.items() if number > 2}
    assert set(kept) < set(rest)
    assert len(rest) == 4
    assert all(rest.values())


@pytest.mark.rows("R253")
@pytest.mark.parametrize("which", [(1, 2), (1, -1), (-1, 2)], ids=["both", "stdout", "stderr"])
def test_hooks_write_where_they_are_told(state: int, which: tuple[int, int]) -> None:
    """Also after close_from, which leaves those descriptors open."""
    files = [memory(b""), memory(b"")]
    given = [file for file, slot in zip(files, which, strict=True) if slot != -1]
    plan = [op.load_fd(ROOT, state)]
    plan += [op.load_fd(slot, file) for file, slot in zip(files, which, strict=True) if slot != -1]
    plan += [op.hook_output(*which), op.close_from(3, ROOT, -1, -1)]
    plan += [hook("echo out; echo err >&2", stdin=ROOT)]
    done = perform(plan, inherit=[state, *given])
    assert done.status == 0
    texts = [os.pread(file, 100, 0) for file in files]
    for file in files:
        os.close(file)
    assert texts == [b"out\n" if which[0] != -1 else b"", b"err\n" if which[1] != -1 else b""]


@pytest.mark.rows("R41")
def test_close_from_can_begin_higher() -> None:
    """The first ones are those that the program is to have."""
    numbers = sorted(memory(b"") for _ in range(6))
    first = numbers[2]
    with Init([op.close_from(first, -1, -1, -1), op.sync(9, 0)], inherit=numbers) as init:
        init.receive()
        now = descriptors(init)
    for number in numbers:
        os.close(number)
    assert set(numbers[:2]) <= set(now)
    assert not set(numbers[2:]) & set(now)
    assert not now[numbers[0]]


@pytest.mark.rows("R41")
def test_the_program_gets_three_descriptors() -> None:
    number = memory(b"")
    text = "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1])"
    plan = [op.load_fd(0, number), op.close_from(3, 0, -1, -1),
            op.execve(PYTHON, ["python", "-IS", "-c", text], [])]  # fmt: skip
    assert output(plan, inherit=[number]) == "['0', '1', '2']\n"
    os.close(number)


def test_every_descriptor_of_the_init_is_close_on_exec(tmp_path: Path) -> None:
    plan = [opened(0, tmp_path), op.make_path(1, 0, "a", 0o755, -1), op.sync(9, 0)]
    with Init(plan) as init:
        init.receive()
        now = descriptors(init)
    assert all(flag for number, flag in now.items() if number > 2)
    assert len(now) == 6  # three streams, the socket, two slots: plan and results are closed


def test_a_slot_that_is_filled_again_closes_what_it_held(tmp_path: Path) -> None:
    plan = [opened(0, tmp_path)] * 20 + [op.close(0), op.close(0), op.sync(9, 0)]
    plan[-2].pardons = ((errno.EBADF, 0),)
    with Init(plan) as init:
        assert init.receive()
        assert len(descriptors(init)) == 4


@pytest.mark.rows("R62")
def test_send_fd_and_dup3(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    number = memory(b"content")
    plan = [
        op.load_fd(0, theirs.fileno()),
        op.load_fd(1, number),
        op.send_fd(0, 1, b"payload"),
        op.dup3(1, 0),
        op.execve("/bin/cat", ["cat"], []),
    ]
    os.lseek(number, 0, os.SEEK_SET)
    assert output(plan, inherit=[number, theirs.fileno()]) == "content"
    payload, rights, _, _ = ours.recvmsg(100, 100)
    assert payload == b"payload"
    received = array.array("i", rights[0][2])
    assert os.pread(received[0], 100, 0) == b"content"
    for descriptor in (received[0], number):
        os.close(descriptor)
    ours.close()
    theirs.close()


def test_terminal() -> None:
    """The peer comes from the master, whatever lies in /dev/pts."""
    try:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        pytest.skip(f"/dev/ptmx: {error}")
    plan = [
        op.load_fd(0, master),
        op.expect_filesystem(0, c.DEVPTS_SUPER_MAGIC),
        op.tiocgptpeer(1, 0, c.O_RDWR | c.O_NOCTTY),
        op.dup3(1, 0),
        op.setsid(),
        op.ioctl_value(1, c.TIOCSCTTY, 0),
        op.ioctl(0, c.TIOCSWINSZ, b"\x07\0\x09\0\0\0\0\0"),
        op.execve("/bin/sh", ["sh", "-c", "stty size </dev/tty"], ["PATH=/bin:/usr/bin"]),
    ]
    # The multiplexer is on a devpts, or a node beside it that only leads there.
    plan[1].pardons = ((errno.EXDEV, 0),)
    try:
        assert output(plan, inherit=[master]) == "7 9\n"
    finally:
        os.close(master)


# --- checks ---------------------------------------------


@pytest.mark.rows("R150")
def test_expect_device(tmp_path: Path) -> None:
    good = op.expect_device(0, c.S_IFCHR, 1, 3)
    assert perform([opened(0, "/dev/null"), good]).failed == -1
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    refused([opened(0, "/dev/zero"), good], 1, errno.EEXIST)
    refused([opened(0, tmp_path / "file"), good], 1, errno.EEXIST)
    refused([opened(0, tmp_path / "link", c.O_PATH | c.O_NOFOLLOW), good], 1, errno.EEXIST)
    refused([opened(0, "/dev/null"), op.expect_device(0, c.S_IFBLK, 1, 3)], 1, errno.EEXIST)
    refused([good], 0, errno.EBADF)


def test_expect_filesystem(tmp_path: Path) -> None:
    good = op.expect_filesystem(0, c.PROC_SUPER_MAGIC)
    assert perform([opened(0, "/proc"), good]).failed == -1
    refused([opened(0, tmp_path), good], 1, errno.EXDEV)


@pytest.mark.rows("R64")
def test_check_cwd(tmp_path: Path) -> None:
    assert perform([op.chdir(str(tmp_path)), op.check_cwd()]).failed == -1
    gone = tmp_path / "gone"
    gone.mkdir()
    plan = [op.chdir(str(gone)), op.unlinkat(HERE, str(gone), c.AT_REMOVEDIR), op.check_cwd()]
    refused(plan, 2, errno.EXDEV)


@pytest.mark.rows("R64")
def test_check_cwd_refuses_a_directory_outside_of_the_root(tmp_path: Path) -> None:
    """As one that a leaked descriptor leads to (CVE-2024-21626)."""
    (tmp_path / "root").mkdir()
    plan = [opened(0, tmp_path), op.chroot(str(tmp_path / "root")), op.fchdir(0), op.check_cwd()]
    done = perform(plan)
    if (done.failed, done.error) == (1, errno.EPERM):
        pytest.skip("chroot(2) is not allowed here")
    assert (done.failed, done.error) == (3, errno.EXDEV)


@pytest.mark.parametrize(
    ("path", "resolve", "number"),
    [
        ("link", c.RESOLVE_NO_SYMLINKS, errno.ELOOP),
        ("..", c.RESOLVE_BENEATH, errno.EXDEV),
        ("/", c.RESOLVE_BENEATH, errno.EXDEV),
        ("missing", c.IN_ROOT, errno.ENOENT),
    ],
)
def test_openat2_takes_the_restrictions(
    tmp_path: Path, path: str, resolve: int, number: int
) -> None:
    (tmp_path / "link").symlink_to("/")
    plan = [opened(0, tmp_path, DIRECTORY), op.openat2(1, 0, path, c.O_PATH, 0, resolve)]
    refused(plan, 1, number)


def test_openat2_in_root(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/../../file")
    (tmp_path / "file").write_text("inside")
    plan = [
        opened(0, tmp_path, DIRECTORY),
        op.openat2(1, 0, "link", c.O_RDONLY, 0, c.IN_ROOT),
        op.dup3(1, 0),
        op.execve("/bin/cat", ["cat"], []),
    ]
    assert output(plan) == "inside"


# --- files ---------------------------------------------


def test_write_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("longer than before")
    plan = [opened(0, tmp_path, DIRECTORY), op.write_file(0, "there", b"new\0", c.IN_ROOT)]
    assert perform(plan).failed == -1
    assert (tmp_path / "there").read_bytes() == b"new\0er than before"


def test_write_file_makes_none(tmp_path: Path) -> None:
    plan = [opened(0, tmp_path, DIRECTORY), op.write_file(0, "missing", b"x", c.IN_ROOT)]
    refused(plan, 1, errno.ENOENT)
    assert list(tmp_path.iterdir()) == []


def test_files_of_every_kind(tmp_path: Path) -> None:
    plan = [
        op.umask(0),
        opened(0, tmp_path, DIRECTORY),
        op.mkdirat(0, "directory", 0o751),
        op.mknodat(0, "fifo", stat.S_IFIFO | 0o640, 0),
        op.symlinkat("a target", 0, "link"),
        op.mknodat(0, "file", stat.S_IFREG | 0o600, 0),
        op.fchmodat(0, "file", 0o4711),
        op.fchownat(0, "link", os.getuid(), os.getgid(), c.AT_SYMLINK_NOFOLLOW),
        op.mknodat(0, "removed", stat.S_IFREG | 0o600, 0),
        op.unlinkat(0, "removed", 0),
    ]
    assert perform(plan).failed == -1
    modes = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    assert modes == {
        "directory": stat.S_IFDIR | 0o751,
        "fifo": stat.S_IFIFO | 0o640,
        "link": stat.S_IFLNK | 0o777,
        "file": stat.S_IFREG | 0o4711,
    }
    assert os.readlink(tmp_path / "link") == "a target"


# --- the process ---------------------------------------------


@pytest.mark.rows("R70")
def test_prlimit() -> None:
    plan = [
        op.prlimit(4, 100, 2**40),
        op.execve("/bin/sh", ["sh", "-c", "cat /proc/self/limits"], []),
    ]
    plan[1] = op.execve("/bin/cat", ["cat", "/proc/self/limits"], [])
    lines = output(plan).splitlines()
    core = next(line for line in lines if line.startswith("Max core"))
    assert core.split()[4:6] == ["100", str(2**40)]


@pytest.mark.rows("R71")
def test_no_new_privileges() -> None:
    plan = [op.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            op.execve("/bin/cat", ["cat", "/proc/self/status"], [])]  # fmt: skip
    assert "NoNewPrivs:\t1\n" in output(plan)


@pytest.mark.rows("R41")
def test_signals_have_their_defaults() -> None:
    """Neither what the starter blocks nor what it ignores reaches the program."""

    def spoil() -> None:
        import signal

        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])

    plan = [op.execve("/bin/cat", ["cat", "/proc/self/status"], [])]
    text = output(plan, preexec_fn=spoil)
    fields = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Sig"))
    assert int(fields["SigBlk"], 16) == 0
    assert int(fields["SigIgn"], 16) == 0


@pytest.mark.rows("R33", "R161")
def test_clone_goes_on_in_the_child(tmp_path: Path) -> None:
    plan = [op.clone(0, -1), op.mkdirat(HERE, str(tmp_path / "child"), 0o755), op.sync(9, 0)]
    with Init(plan) as init:
        # Parent and child send on one socket: either may be first.
        messages = sorted(message for message in (init.receive(), init.receive()) if message)
        assert [message[:2] for message in messages] == [(1, 0), (9, 2)]
        assert messages[0][2] != init.process.pid
        assert init.process.wait(60) == 0
        assert (tmp_path / "child").is_dir()


@pytest.mark.rows("R37", "R306")
def test_wait_start_lets_go_of_the_runtime_and_reports_to_the_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "start")
    start = os.open(tmp_path / "start", os.O_RDWR)
    read, report = os.pipe()
    plan = [
        op.load_fd(0, start),
        op.load_fd(1, report),
        op.sync(5, 0),
        op.wait_start(0, 1),
        op.chdir("/no/such"),
    ]
    with Init(plan, inherit=[start, report]) as init:
        os.close(report)
        init.receive()
        init.answer()
        assert init.receive() is None  # its end of the socket is closed
        assert init.process.poll() is None
        os.write(start, b".")
        done = init.wait()
    assert (done.failed, done.error) == (4, errno.ENOENT)
    record = os.read(read, 100)
    assert [int.from_bytes(record[i : i + 8], "little") for i in (0, 8)] == [4, errno.ENOENT]
    assert os.read(read, 100) == b""
    os.close(start)
    os.close(read)


@pytest.mark.rows("R240")
def test_a_seccomp_filter_is_loaded() -> None:
    import struct

    allow = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    plan = [
        op.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        op.seccomp(0, allow, 0),
        op.execve("/bin/cat", ["cat", "/proc/self/status"], []),
    ]
    assert "Seccomp_filters:\t" in output(plan)
    assert "Seccomp:\t2\n" in output(plan)


def test_a_filter_that_is_none_is_refused() -> None:
    plan = [op.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), op.seccomp(0, b"", 0)]
    refused(plan, 1, errno.EINVAL)


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        (op.dup3(5, 0), errno.EBADF),
        (op.fchdir(5), errno.EBADF),
        (op.setns(5, 0), errno.EBADF),
        (op.copy_tree(5, 6), errno.EBADF),
        (op.openat2(0, 5, "x", 0, 0, 0), errno.EBADF),
        (op.mount_setattr(5, "", 0, b"short", -1), errno.EBADMSG),
        (op.fsopen(0, "no-such-filesystem"), errno.ENODEV),
        (op.load_fd(0, 999), errno.EBADF),
    ],
    ids=lambda value: op.NAMES[value.number] if isinstance(value, Operation) else "",
)
def test_empty_slots_and_bad_arguments(operation: Operation, number: int) -> None:
    done = perform([operation])
    if (done.error, number) == (errno.EPERM, errno.ENODEV):
        pytest.skip("fsopen(2) is not allowed here")
    assert (done.failed, errno.errorcode[done.error]) == (0, errno.errorcode[number])
