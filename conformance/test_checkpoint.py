"""checkpoint and restore: what goes on as it was, what is refused, what is left behind.

The program of most tests writes a word that it made up at its start, and a number that grows,
to /tmp/said: both are in its memory alone. Standard streams are the null device, for runc
saves neither files of the host nor a terminal that is not the container's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer, runtime_name
from conformance.runtime import Container, Result, Runtime, nothing_left, wait_for
from conformance.test_terminal import ConsoleSocket

departs = pytest.mark.departs
rows = pytest.mark.rows
NULL = ">/dev/null 2>&1"
COUNT = """
read word </proc/sys/kernel/random/uuid; i=0
while :; do
    i=$((i + 1)); echo "$word $i" >/tmp/next; mv /tmp/next /tmp/said; sleep 0.05
done
"""


@cache
def inability() -> str:
    """Why CRIU cannot save processes here, "" if it can."""
    program = shutil.which("criu")
    if program is None:
        return "criu is not installed"
    try:
        check = subprocess.run([program, "check"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"criu check: {error}"
    if check.returncode == 0:
        return ""
    lines = (check.stderr + check.stdout).strip().splitlines() or ["it fails"]
    return f"criu check: {lines[0]}"


@pytest.fixture(autouse=True)
def criu(runtime: Runtime) -> None:
    """Skip where nothing can be saved."""
    if runtime_name() == "crun" and not runtime.lists_verb("checkpoint"):
        pytest.skip("this crun is built without CRIU")
    if inability():
        pytest.skip(inability())


def need_feature(name: str) -> None:
    """Skip where the kernel does not give CRIU what it needs for this."""
    check = ["criu", "check", "--feature", name]
    if subprocess.run(check, capture_output=True, timeout=60).returncode:
        pytest.skip(f"the kernel has no {name} (criu check)")


@pytest.fixture
def images(workplace: Path) -> Path:
    """Where the images are to be; not there yet."""
    return workplace / "images"


def said(container: Container) -> tuple[str, int]:
    """The word and the number that the program has written last."""
    path = container.bundle.rootfs / "tmp/said"
    text = wait_for(lambda: path.exists() and path.read_text(), f"what {container.id} says")
    word, number = text.split()
    return word, int(number)


def wait_number(container: Container, number: int) -> tuple[str, int]:
    """Wait until the number is greater."""
    wait_for(lambda: said(container)[1] > number, f"more than {number} from {container.id}")
    return said(container)


def launch(container: Container, script: str = COUNT) -> Container:
    """Create and start the container with that program, its standard streams the null device."""
    container.bundle.sh(script)
    return container.create(redirections=NULL).start()


def counting(container: Container) -> tuple[str, int]:
    """Launch a container that counts; what it has said when it has counted a little."""
    launch(container)
    return wait_number(container, 2)


def save(container: Container, images: Path, *options: str) -> Result:
    """Checkpoint the container, which must succeed."""
    result = try_save(container, images, *options)
    assert result.status == 0, f"{result}\n{log(images, 'dump')}"
    assert result.stdout == "", str(result)
    return result


def try_save(container: Container, images: Path, *options: str) -> Result:
    """Checkpoint the container, whatever the status."""
    return container.runtime.run("checkpoint", "--image-path", str(images), *options, container.id)


def restore(container: Container, images: Path, *options: str, **settings: str) -> Container:
    """Restore the images as that container, which must succeed."""
    result = try_restore(container, images, *options, **settings)
    assert result.status == 0, f"{result}\n{log(images, 'restore')}"
    return container


def try_restore(container: Container, images: Path, *options: str, **settings: str) -> Result:
    """Restore the images as that container, whatever the status."""
    settings.setdefault("redirections", NULL)
    words = ["--detach", "--image-path", str(images), *options]
    return container.try_create(*words, verb="restore", **settings)


def log(images: Path, name: str) -> str:
    """The end of a log of CRIU's."""
    path = images / f"{name}.log"
    return "\n".join(path.read_text().splitlines()[-60:]) if path.exists() else ""


def inside(container: Container, script: str) -> str:
    """What a script prints that is executed in the container."""
    result = container.exec("/bin/sh", "-c", script)
    assert result.status == 0, str(result)
    return result.stdout.strip()


# ---- what goes on


@rows("R296")
def test_memory_goes_on(container: Container, images: Path) -> None:
    word, before = counting(container)
    save(container, images)
    stopped_at = said(container)[1]
    restore(container, images)
    again, number = wait_number(container, stopped_at)
    assert again == word
    assert number > stopped_at >= before
    assert container.status() == "running"


@rows("R296")
def test_nothing_is_left_of_what_was_saved(container: Container, images: Path) -> None:
    counting(container)
    save(container, images)
    nothing_left(container.runtime, container.id, container.bundle)
    assert container.exit_status() == 128 + 9
    result = container.runtime.refused("state", container.id)
    assert "does not exist" in result.stderr


@rows("R296")
def test_state_of_a_restored_container(container: Container, images: Path) -> None:
    counting(container)
    before = container.state()
    save(container, images)
    restore(container, images)
    after = container.state()
    assert after.pop("pid") == container.pid != before.pop("pid")
    assert after.pop("created") > before.pop("created")
    assert after == before


@rows("R296")
def test_leave_running(container: Container, images: Path) -> None:
    word, _ = counting(container)
    pid = container.pid
    save(container, images, "--leave-running")
    number = said(container)[1]
    assert wait_number(container, number)[0] == word
    assert (container.state()["pid"], container.status()) == (pid, "running")


@rows("R296")
def test_another_id_and_bundle(
    container: Container, make_container: MakeContainer, images: Path
) -> None:
    word, _ = counting(container)
    save(container, images, "--leave-running")
    other = make_container()
    shutil.copytree(container.bundle.rootfs / "tmp", other.bundle.rootfs / "tmp", dirs_exist_ok=True)
    other.bundle.sh(COUNT)
    (other.bundle.rootfs / "tmp/said").unlink()
    restore(other, images)
    assert said(other)[0] == word
    numbers = said(container)[1], said(other)[1]
    assert wait_number(container, numbers[0])[0] == word
    assert wait_number(other, numbers[1])[0] == word
    other.stop().delete()
    assert container.status() == "running"


@rows("R296")
def test_memory_that_changed_since(container: Container, images: Path, workplace: Path) -> None:
    need_feature("mem_dirty_track")
    word, _ = counting(container)
    first, second = images / "first", images / "second"
    images.mkdir()
    save(container, first, "--pre-dump")
    assert container.status() == "running"
    assert not (first / "core-1.img").exists()
    wait_number(container, said(container)[1])
    save(container, second, "--pre-dump", "--parent-path", "../first")
    number = said(container)[1]
    last = images / "last"
    save(container, last, "--parent-path", "../second")
    assert os.readlink(last / "parent") == "../second"
    restore(container, last)
    assert wait_number(container, number)[0] == word


@rows("R296")
def test_work_path_has_the_logs(container: Container, images: Path, workplace: Path) -> None:
    counting(container)
    work = workplace / "work"
    save(container, images, "--work-path", str(work))
    restore(container, images, "--work-path", str(work))
    assert {"dump.log", "restore.log"} <= set(os.listdir(work))
    assert not list(images.glob("*.log"))
    assert work.stat().st_mode & 0o777 == 0o700


@rows("R296")
@departs("runc", "R296 a relative path counts from the bundle at restore")
def test_default_image_path(container: Container, workplace: Path) -> None:
    counting(container)
    container.runtime.ok("checkpoint", container.id, cwd=workplace)
    assert (workplace / "checkpoint/inventory.img").exists()
    assert (workplace / "checkpoint").stat().st_mode & 0o777 == 0o700
    result = container.try_create("--detach", verb="restore", redirections=NULL, cwd=workplace)
    assert result.status == 0, str(result)


@rows("R296")
def test_a_container_that_is_paused(container: Container, images: Path) -> None:
    word, _ = counting(container)
    container.runtime.ok("pause", container.id)
    save(container, images)
    nothing_left(container.runtime, container.id, container.bundle)
    restore(container, images)
    if container.status() == "paused":
        container.runtime.ok("resume", container.id)
    assert wait_number(container, said(container)[1])[0] == word


@rows("R296")
def test_again_and_again(container: Container, images: Path) -> None:
    word, _ = counting(container)
    for turn in range(3):
        place = Path(f"{images}{turn}")
        save(container, place)
        restore(container, place)
        assert wait_number(container, said(container)[1])[0] == word


# ---- a restored container is a container


@rows("R296", "R291")
def test_exec_in_a_restored_container(container: Container, images: Path) -> None:
    counting(container)
    save(container, images)
    restore(container, images)
    assert inside(container, "cat /proc/1/cmdline | tr '\\0' ' '").startswith("/bin/sh -c")
    here = inside(container, "readlink /proc/self/ns/* | sort")
    assert here == inside(container, "readlink /proc/1/ns/* | sort")
    assert inside(container, "cat /proc/self/cgroup") == inside(container, "cat /proc/1/cgroup")


@rows("R296")
def test_kill_and_delete(container: Container, images: Path) -> None:
    counting(container)
    save(container, images)
    restore(container, images)
    result = container.runtime.refused("delete", container.id)
    assert "is not stopped" in result.stderr
    container.kill("KILL")
    assert container.exit_status() == 128 + 9
    container.wait_stopped()
    container.delete()
    nothing_left(container.runtime, container.id, container.bundle)


@rows("R296")
def test_start_is_refused(container: Container, images: Path) -> None:
    counting(container)
    save(container, images)
    restore(container, images)
    result = container.runtime.refused("start", container.id)
    assert "cannot start an already running container" in result.stderr


@rows("R296")
def test_pause_and_resume(container: Container, images: Path) -> None:
    counting(container)
    save(container, images)
    restore(container, images)
    container.runtime.ok("pause", container.id)
    assert container.status() == "paused"
    container.runtime.ok("resume", container.id)
    wait_number(container, said(container)[1])


def limit(container: Container, *files: str) -> str:
    """The content of the first of these cgroup files that is there."""
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        path = line.split(":", 2)[2]
        for directory in Path("/sys/fs/cgroup").glob("*"):
            for file in files:
                for place in (directory, directory.parent):
                    found = place / path.lstrip("/") / file
                    if found.exists():
                        return found.read_text().strip()
    pytest.skip(f"no cgroup here has a file {' or '.join(files)}")


@rows("R296", "R301")
def test_limits_are_those_of_the_bundle(
    container: Container, make_container: MakeContainer, images: Path
) -> None:
    container.bundle.resources["pids"] = {"limit": 50}
    counting(container)
    save(container, images)
    container.bundle.resources["pids"] = {"limit": 70}
    restore(container, images)
    assert limit(container, "pids.max") == "70"
    container.runtime.ok("update", "--pids-limit", "60", container.id)
    assert limit(container, "pids.max") == "60"


@rows("R296", "R170")
def test_devices_are_limited_again(container: Container, images: Path) -> None:
    deny = [{"allow": False, "access": "rwm"}]
    container.bundle.resources["devices"] = deny
    container.bundle.capability("CAP_MKNOD")
    counting(container)
    save(container, images)
    restore(container, images)
    script = "mknod /tmp/disk b 7 77; cat /tmp/disk; echo $?; head -c 1 /dev/zero | wc -c"
    assert inside(container, f"({script}) 2>&1").splitlines()[-2:] == ["1", "1"]
    assert "not permitted" in inside(container, f"({script}) 2>&1")


# ---- mounts


@rows("R296")
def test_mounts(container: Container, images: Path, source: Path) -> None:
    bundle = container.bundle
    (source / "inner").mkdir()
    (bundle.rootfs / "run").mkdir()
    (bundle.rootfs / "var").mkdir()
    (bundle.rootfs / "var/run").symlink_to("/run")
    bundle.mount("/data", "bind", str(source), ["rbind"])
    bundle.mount("/data/inner", "tmpfs", "tmpfs", ["size=64k"])
    bundle.mount("/file", "bind", str(source / "file"), ["bind", "ro"])
    bundle.mount("/var/run/link", "bind", str(source), ["bind", "ro"])
    bundle.mount("/scratch", "tmpfs", "tmpfs", ["size=1m", "mode=700"])
    counting(container)
    look = "cut -d' ' -f2-4 /proc/self/mounts | sort; cat /scratch/kept /data/inner/deep"
    inside(container, "echo kept >/scratch/kept; echo deep >/data/inner/deep")
    before = inside(container, look)
    assert before.endswith("kept\ndeep")
    save(container, images)
    restore(container, images)
    assert inside(container, look) == before
    text = "content of the source"
    assert inside(container, "cat /file /run/link/file").splitlines() == [text, text]
    (source / "new").write_text("seen\n")
    assert inside(container, "cat /data/new") == "seen"
