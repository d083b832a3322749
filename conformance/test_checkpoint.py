"""checkpoint and restore: what goes on as it was, what is refused, what is left behind.

The program of most tests writes a word that it made up at its start, and a number that grows,
to /tmp/said: both are in its memory alone. Standard streams are the null device, for runc
saves neither files of the host nor a terminal that is not the container's.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conformance.conftest import MakeContainer, runtime_name
from conformance.runtime import Container, Result, Runtime, nothing_left, wait_for
from conformance.test_terminal import ConsoleSocket, OnTerminal

departs = pytest.mark.departs
rows = pytest.mark.rows
NULL = ">/dev/null 2>&1"
# Linux 6.16 refuses an option of TCP sockets that CRIU before 4.2 asks for.
NEWER_KERNEL = "sockets: Can't get 1:16 opt: Operation not supported"
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
        # It takes 0.1 s; where it takes so long, a restore would not end within TIMEOUT.
        check = subprocess.run([program, "check"], capture_output=True, text=True, timeout=20)
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
    text = wait_for(lambda: path.read_text() if path.exists() else "", f"what {container.id} says")
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
    dump = log(images, "dump")
    if NEWER_KERNEL in dump:
        pytest.skip(f"this criu is too old for this kernel: {NEWER_KERNEL}")
    assert result.status == 0, f"{result}\n{dump}"
    assert result.stdout == "", str(result)
    return result


def try_save(container: Container, images: Path, *options: str) -> Result:
    """Checkpoint the container, whatever the status."""
    return container.runtime.run("checkpoint", "--image-path", str(images), *options, container.id)


def restore(container: Container, images: Path, *options: str, **settings: Any) -> Container:
    """Restore the images as that container, which must succeed."""
    result = try_restore(container, images, *options, **settings)
    assert result.status == 0, f"{result}\n{log(images, 'restore')}"
    return container


def try_restore(container: Container, images: Path, *options: str, **settings: Any) -> Result:
    """Restore the images as that container, whatever the status."""
    settings.setdefault("redirections", ">/dev/null")
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
    shutil.copytree(
        container.bundle.rootfs / "tmp", other.bundle.rootfs / "tmp", dirs_exist_ok=True
    )
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
    script = "mknod /dev/disk b 7 77; cat /dev/disk; echo $?; head -c 1 /dev/zero | wc -c"
    assert inside(container, f"({script}) 2>&1").splitlines()[-2:] == ["1", "1"]
    assert "not permitted" in inside(container, f"({script}) 2>&1")


# ---- mounts


@rows("R296")
@departs("runc", "R296 a file that was mounted read-only can be written to after restore")
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


@rows("R296", "R215", "R216")
@departs("runc", "R296 masked files are covered by the host's null device after restore")
def test_masked_and_read_only_paths(container: Container, images: Path) -> None:
    container.bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/keys", "/sys/firmware"]
    container.bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/bus"]
    counting(container)
    look = (
        "wc -c </proc/keys; ls /sys/firmware | wc -l; cut -d' ' -f2-4 /proc/self/mounts | sort;"
        " (echo x >/proc/sys/kernel/domainname) 2>&1 || echo refused"
    )
    before = inside(container, look)
    assert before.startswith("0\n0\n") and before.endswith("refused")
    save(container, images)
    restore(container, images)
    assert inside(container, look) == before


@rows("R296")
def test_a_source_with_mounts_in_it(container: Container, images: Path, source: Path) -> None:
    """rbind brings them along; they are found again at restore."""
    (source / "deep").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "deep"], check=True)
    (source / "deep/file").write_text("deep\n")
    container.bundle.mount("/data", "bind", str(source), ["rbind", "ro"])
    counting(container)
    assert inside(container, "cat /data/deep/file") == "deep"
    save(container, images)
    restore(container, images)
    assert inside(container, "cat /data/deep/file") == "deep"


@rows("R296")
def test_a_new_root_file_system(
    container: Container, make_container: MakeContainer, images: Path, source: Path
) -> None:
    """Mount points are made as create makes them; what is in the files is the engine's to bring."""
    (source / "inner").mkdir()
    container.bundle.mount("/new/data", "bind", str(source), ["bind"])
    container.bundle.mount("/new/data/inner/file", "bind", str(source / "file"), ["bind"])
    word, _ = counting(container)
    save(container, images)
    other = make_container()
    other.bundle.config["mounts"] = container.bundle.config["mounts"]
    other.bundle.sh(COUNT)
    (source / "inner/file").unlink()
    restore(other, images)
    assert said(other)[0] == word
    assert inside(other, "cat /new/data/inner/file") == "content of the source"


@rows("R296", "R93")
@departs("runc", "R296 without a namespace the mounts show other cgroups after restore")
@pytest.mark.parametrize("own", [True, False], ids=["own namespace", "no namespace"])
def test_mounts_of_cgroups(container: Container, images: Path, own: bool) -> None:
    if own:
        container.bundle.namespace("cgroup")
    container.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "ro"])
    counting(container)
    look = (
        "cat /proc/self/cgroup; grep ' cgroup2* ' /proc/self/mountinfo | cut -d' ' -f4-6 | sort;"
        " ls /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs | grep -c cgroup.procs"
    )
    before = inside(container, look)
    save(container, images)
    restore(container, images)
    after = inside(container, look)
    # The host's cgroups, where they are shown, come and go.
    *same, number = after.splitlines()
    assert same == before.splitlines()[:-1]
    assert int(number) > 0


@rows("R296", "R297")
@departs("runc", "R296 the mount is not among those that it tells CRIU of")
def test_mount_for_readiness(container: Container, images: Path, workplace: Path) -> None:
    container.bundle.sh(COUNT)
    address = workplace / "manager.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        container.create(redirections=NULL, env={**os.environ, "NOTIFY_SOCKET": str(address)})
        container.start()
        wait_number(container, 2)
        save(container, images)
        restore(container, images)
    mount = "grep ' /run/notify ' /proc/self/mounts | cut -d' ' -f4"
    assert {"ro", "nosuid", "nodev"} <= set(inside(container, mount).split(","))


# ---- namespaces


@rows("R296")
@departs("runc", "R296 CRIU in the user namespace cannot read the images")
def test_user_namespace(container: Container, images: Path, source: Path) -> None:
    bundle = container.bundle
    hidden = source / "hidden"
    (hidden / "inner").mkdir(parents=True)
    (hidden / "inner/file").write_text("found\n")
    hidden.chmod(0o700)  # what is below can be reached by the host's root alone
    (bundle.rootfs / "data").mkdir()
    bundle.mount("/data", "bind", str(hidden / "inner"), ["bind", "ro"])
    bundle.namespace("user")
    bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    (bundle.rootfs / "tmp").chmod(0o1777)
    word, _ = counting(container)
    look = "cat /proc/self/uid_map /proc/self/gid_map; id -u; echo x >/dev/null && ls -l /dev/zero"
    look += "; cat /data/file"
    before = inside(container, look)
    assert before.endswith("found")
    save(container, images)
    restore(container, images)
    assert inside(container, look) == before
    assert wait_number(container, said(container)[1])[0] == word


@rows("R296")
def test_network_namespace_that_is_given(container: Container, images: Path) -> None:
    """It stays as it is: CRIU neither saves nor makes it."""
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up; exec sleep 1000"])
    try:
        wait_for(lambda: "UP" in in_network(holder.pid, "ip link show lo"), "the loopback")
        path = f"/proc/{holder.pid}/ns/net"
        container.bundle.namespace("network", path)
        word, _ = counting(container)
        save(container, images)
        restore(container, images)
        assert os.stat(f"/proc/{container.pid}/ns/net").st_ino == os.stat(path).st_ino
        assert wait_number(container, said(container)[1])[0] == word
    finally:
        holder.kill()
        holder.wait()


@rows("R296", "R95")
@departs("runc", "R296 not in 1.1")
def test_idmapped_mount(container: Container, images: Path, source: Path) -> None:
    container.bundle.mount("/data", "bind", str(source), ["bind", "idmap"])
    mapping = [{"containerID": 0, "hostID": 1000, "size": 1}]
    container.bundle.config["mounts"][-1] |= {"uidMappings": mapping, "gidMappings": mapping}
    result = container.try_create(redirections=">/dev/null")
    if "mount_setattr" in result.stderr:
        pytest.skip(f"no idmapped mounts here: {result.stderr}")
    container.delete()
    counting(container)
    before = inside(container, "stat -c %u /data/file")
    assert before == "1000"
    save(container, images)
    restore(container, images)
    assert inside(container, "stat -c %u /data/file") == before


def in_network(pid: int, command: str) -> str:
    """What a command prints in the network namespace of a process."""
    words = ["nsenter", "-n", "-t", str(pid), *command.split()]
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout


@rows("R296")
def test_names_and_ipc(container: Container, images: Path) -> None:
    container.bundle.linux["sysctl"] = {"kernel.msgmax": "1000"}
    counting(container)
    look = "hostname; cat /proc/sys/kernel/msgmax"
    before = inside(container, look)
    assert before == "conformance\n1000"
    save(container, images)
    restore(container, images)
    assert inside(container, look) == before


# ---- sockets, terminals, streams

SERVER = """
mkfifo /tmp/in /tmp/out
nc -l -p 7000 </tmp/in >/tmp/server & exec 3<>/tmp/in
until nc 127.0.0.1 7000 </tmp/out >/tmp/client; do sleep 0.05; done & exec 4<>/tmp/out
echo first >&3; echo second >&4; wait
"""


@rows("R296")
@departs("runc", "R296 the loopback stays down after restore")
def test_listening_socket(container: Container, images: Path) -> None:
    launch(container, "nc -l -p 7000 >/tmp/server; echo done >/tmp/done; sleep 1000")
    listens = "cat /proc/net/tcp /proc/net/tcp6 | grep -c ':1B58 0*:0000 0A '"
    wait_for(lambda: container.exec("/bin/sh", "-c", listens).status == 0, "the server")
    save(container, images)
    restore(container, images)
    assert inside(container, listens) == "1"
    inside(container, "echo word | nc 127.0.0.1 7000")
    wait_for((container.bundle.rootfs / "tmp/done").exists, "what was sent to the server")
    assert (container.bundle.rootfs / "tmp/server").read_text() == "word\n"


@rows("R296")
@departs("runc", "R296 the loopback stays down after restore")
def test_established_connection(container: Container, images: Path) -> None:
    launch(container, SERVER)
    client, server = (container.bundle.rootfs / "tmp" / name for name in ("client", "server"))
    wait_for(lambda: client.exists() and client.read_text() == "first\n", "what the server says")
    wait_for(lambda: server.read_text() == "second\n", "what the client says")
    result = container.runtime.check_refused(try_save(container, images))
    assert container.status() == "running"
    if container.runtime.name != "runc":
        assert "tcp-established" in result.stderr and "dump.log" in result.stderr
    save(container, images, "--tcp-established")
    container.runtime.check_refused(try_restore(container, images))
    restore(container, images, "--tcp-established")
    inside(container, "echo third >/tmp/in; echo fourth >/tmp/out")
    wait_for(lambda: client.read_text() == "first\nthird\n", "what the server says then")
    wait_for(lambda: server.read_text() == "second\nfourth\n", "what the client says then")


@pytest.fixture
def console(workplace: Path) -> Iterator[ConsoleSocket]:
    """A listening console socket."""
    listener = ConsoleSocket(workplace / "console.sock")
    yield listener
    listener.close()


@rows("R296", "R62")
def test_terminal(container: Container, images: Path, console: ConsoleSocket) -> None:
    container.bundle.process["terminal"] = True
    container.bundle.sh("read first; echo got $first; read second; echo $first and $second; read x")
    option = ("--console-socket", str(console.path))
    container.create(*option).start()
    terminal = console.terminal()
    terminal.write("one\n")
    terminal.wait_text("got one")
    save(container, images)
    result = container.runtime.check_refused(try_restore(container, images))
    assert "console socket" in result.stderr
    restore(container, images, *option)
    terminal = console.terminal()
    terminal.write("two\n")
    terminal.wait_text("one and two")
    assert "/dev/pts/" in inside(container, "readlink /proc/1/fd/0")


@rows("R296", "R62", "R295")
def test_restore_on_our_terminal(
    container: Container, images: Path, console: ConsoleSocket
) -> None:
    container.bundle.process["terminal"] = True
    container.bundle.sh("stty -echo; read first; echo got $first; read second; exit 5")
    container.create("--console-socket", str(console.path)).start()
    terminal = console.terminal()
    terminal.write("one\n")
    terminal.wait_text("got one")
    save(container, images)
    here = OnTerminal(container, words=("restore", "--image-path", str(images)))
    try:
        here.terminal.write("two\n")
        assert here.process.wait(60) == 5
    finally:
        here.close()
    nothing_left(container.runtime, container.id, container.bundle)


@rows("R296", "R41")
def test_pipes_are_those_of_the_caller(container: Container, images: Path) -> None:
    """What comes out after restore comes to whoever called restore."""
    read, write = os.pipe()
    again, into = os.pipe()
    script = "read word </proc/sys/kernel/random/uuid; while :; do echo $word; sleep 0.05; done"
    container.bundle.sh(script)
    words: dict[int, str] = {}
    for number, end, verb in ((read, write, "create"), (again, into, "restore")):
        options = ["--detach", "--image-path", str(images)] if verb == "restore" else []
        run_with_output(container, verb, options, end)
        if verb == "create":
            container.start()
        os.close(end)
        words[number] = first_line(number)
        if verb == "create":
            save(container, images)
        os.close(number)
    assert words[read] == words[again] != ""


def run_with_output(container: Container, verb: str, options: list[str], stdout: int) -> None:
    """Run a verb with that descriptor as standard output; the pid is noted."""
    container.bundle.save()
    files = ["--bundle", str(container.bundle.path), "--pid-file", str(container.pid_file)]
    errors = container.runtime.workplace / f"{verb}.log"
    command = container.runtime.command(
        verb, *files, *options, container.id, options=["--log", str(errors)]
    )
    null = subprocess.DEVNULL
    done = subprocess.run(command, stdin=null, stdout=stdout, stderr=null, timeout=120)
    assert done.returncode == 0, errors.read_text()
    container.pid = int(container.pid_file.read_text())


def first_line(descriptor: int) -> str:
    text = b""
    while not text.endswith(b"\n"):
        text += os.read(descriptor, 1)
    return text.decode().strip()


@rows("R296")
@departs("runc", "R296 a file of the host cannot be saved")
def test_files_are_those_of_the_caller(container: Container, images: Path) -> None:
    """CRIU wants a file of the size that it had: the same one, to append to."""
    container.bundle.sh("i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done")
    container.create().start()
    container.wait_output("3\n")
    save(container, images)
    last = container.output().splitlines()[-1]
    restore(container, images, redirections="", stdout=container.stdout, stderr=container.stderr)
    following = f"\n{int(last) + 1}\n{int(last) + 2}\n"
    container.wait_output(following)
    assert container.output().count("\n1\n") == 0


@rows("R296", "R295")
def test_restore_in_the_foreground(container: Container, images: Path) -> None:
    launch(container, "until [ -e /tmp/end ]; do sleep 0.05; done; exit 7")
    save(container, images)
    container.bundle.file("tmp/end")
    words = ["--image-path", str(images)]
    result = container.try_create(*words, verb="restore", redirections=NULL)
    assert result.status == 7, str(result)
    nothing_left(container.runtime, container.id, container.bundle)


# ---- hooks


@rows("R296", "R50", "R55")
def test_hooks(container: Container, images: Path) -> None:
    """Namespaces are made anew, so what sets them up runs again; the program only goes on."""
    record = container.runtime.workplace / "hooks"
    for kind in ("prestart", "createRuntime", "poststart", "poststop"):
        container.bundle.hook(kind, f"echo {kind} >>{record}; cat >{record}.{kind}")
    counting(container)
    created = record.read_text().split()
    assert created == ["prestart", "createRuntime", "poststart"]
    save(container, images)
    assert record.read_text().split()[3:] == ["poststop"]
    restore(container, images)
    assert record.read_text().split()[4:] == ["prestart", "createRuntime"]
    state = json.loads(Path(f"{record}.createRuntime").read_text())
    assert (state["id"], state["pid"]) == (container.id, container.pid)


@rows("R296", "R52")
def test_a_hook_that_fails(container: Container, images: Path) -> None:
    counting(container)
    save(container, images)
    container.bundle.hook("createRuntime", "exit 3")
    result = container.runtime.check_refused(try_restore(container, images))
    if container.runtime.name == "pyruntime":
        assert "hooks.createRuntime[0]" in result.stderr
    nothing_left(container.runtime, container.id, container.bundle)


@rows("R296", "R39")
@departs("runc", "R296 a mount is left on the host")
def test_a_restore_that_is_killed(container: Container, images: Path) -> None:
    """Whatever it was doing, `delete --force` removes what there is, CRIU too."""
    counting(container)
    save(container, images)
    fifo = container.runtime.workplace / "fifo"
    os.mkfifo(fifo)
    container.bundle.hook("createRuntime", f"echo here >{fifo}; exec sleep 1000")
    container.bundle.save()
    words = ["--detach", "--image-path", str(images), "--bundle", str(container.bundle.path)]
    null = subprocess.DEVNULL
    command = container.runtime.command("restore", *words, container.id)
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=null) as restoring:
        assert fifo.read_text() == "here\n"
        restoring.kill()
    container.delete("--force")
    nothing_left(container.runtime, container.id, container.bundle)


# ---- what is refused


@rows("R296")
def test_states_that_cannot_be_saved(container: Container, images: Path) -> None:
    container.create(redirections=NULL)
    result = container.runtime.check_refused(try_save(container, images))
    assert "cannot be checkpointed in created state" in result.stderr
    assert container.status() == "created"
    container.start().stop()
    result = container.runtime.check_refused(try_save(container, images))
    assert "cannot be checkpointed in stopped state" in result.stderr
    result = container.runtime.refused("checkpoint", "no-such-container")
    assert "does not exist" in result.stderr


Damage = Callable[[Path], object]


def no_directory(images: Path) -> None:
    shutil.rmtree(images)


def empty_directory(images: Path) -> None:
    shutil.rmtree(images)
    images.mkdir()


def cut_short(images: Path) -> None:
    (images / "inventory.img").write_bytes((images / "inventory.img").read_bytes()[:9])


def no_process(images: Path) -> None:
    for path in images.glob("core-*.img"):
        path.unlink()


def strange_streams(images: Path) -> None:
    (images / "descriptors.json").write_text('{"0": 1}')


@rows("R296", "R1")
@pytest.mark.parametrize(
    "damage",
    [no_directory, empty_directory, cut_short, no_process, strange_streams],
    ids=lambda damage: damage.__name__,
)
def test_images_that_cannot_be_restored(container: Container, images: Path, damage: Damage) -> None:
    counting(container)
    save(container, images)
    damage(images)
    result = container.runtime.check_refused(try_restore(container, images))
    nothing_left(container.runtime, container.id, container.bundle)
    if container.runtime.name == "pyruntime":
        assert str(images) in result.stderr
    assert "Traceback" not in result.stderr


@rows("R296")
def test_an_id_that_is_taken(container: Container, images: Path) -> None:
    word, _ = counting(container)
    save(container, images, "--leave-running")
    pid = container.pid
    result = container.runtime.check_refused(try_restore(container, images))
    assert "already exists" in result.stderr
    assert container.state()["pid"] == pid
    assert wait_number(container, said(container)[1])[0] == word


@rows("R296")
@departs("runc", "R296 takes whatever the directory holds")
@pytest.mark.parametrize("who", ["directory", "file", "owner"])
def test_images_that_others_can_change(container: Container, images: Path, who: str) -> None:
    """Whoever writes them decides what runs as root."""
    counting(container)
    save(container, images)
    if who == "directory":
        images.chmod(0o777)
    elif who == "file":
        (images / "pages-1.img").chmod(0o666)
    else:
        os.chown(images / "core-1.img", 1000, 1000)
    result = container.runtime.check_refused(try_restore(container, images))
    assert str(images) in result.stderr
    nothing_left(container.runtime, container.id, container.bundle)


@rows("R296")
@departs("runc", "R296 writes wherever it is told")
def test_a_directory_that_others_can_write_to(container: Container, images: Path) -> None:
    """A link that somebody puts there would be written through."""
    counting(container)
    images.mkdir()
    images.chmod(0o777)
    result = container.runtime.check_refused(try_save(container, images))
    assert str(images) in result.stderr
    assert container.status() == "running"
    assert os.listdir(images) == []


@rows("R296")
@pytest.mark.parametrize(
    ("verb", "words", "text"),
    [
        ("checkpoint", ["--manage-cgroups-mode", "soft-ish"], "manage-cgroups-mode"),
        ("restore", ["--manage-cgroups-mode", "soft-ish"], "manage-cgroups-mode"),
        ("checkpoint", ["--empty-ns", "user"], "not supported"),
        ("checkpoint", ["--page-server", "nowhere"], "--page-server ADDRESS:PORT"),
        ("checkpoint", ["--page-server", "127.0.0.1:x"], "nvalid port"),
        ("checkpoint", ["--parent-path", "/absolute"], "must be relative"),
        ("checkpoint", ["--parent-path", "../none"], "invalid --parent-path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_are_wrong(
    container: Container, images: Path, verb: str, words: list[str], text: str
) -> None:
    counting(container)
    if verb == "checkpoint":
        result = try_save(container, images, *words)
    else:
        save(container, images)
        result = try_restore(container, images, *words)
    assert text in container.runtime.check_refused(result).stderr
    if verb == "checkpoint":
        assert container.status() == "running"
        wait_number(container, said(container)[1])
    else:
        nothing_left(container.runtime, container.id, container.bundle)


@rows("R296")
@pytest.mark.parametrize("mode", ["soft", "full", "ignore"])
def test_manage_cgroups_mode(container: Container, images: Path, mode: str) -> None:
    if mode == "ignore" and runtime_name() == "runc" and "ignore" not in help_of(container.runtime):
        pytest.skip("this runc has no mode ignore")
    word, _ = counting(container)
    before = Path(f"/proc/{container.pid}/cgroup").read_text()
    save(container, images, "--manage-cgroups-mode", mode)
    restore(container, images, "--manage-cgroups-mode", mode)
    assert Path(f"/proc/{container.pid}/cgroup").read_text() == before
    assert wait_number(container, said(container)[1])[0] == word


def help_of(runtime: Runtime) -> str:
    return runtime.run("checkpoint", "--help").stdout
