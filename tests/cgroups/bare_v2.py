"""Checks that run where cgroup v2 is all there is; test_v2.py starts them one by one.

Run as a script, in a mount namespace in which only cgroup2 is mounted: the name of a
check is the argument, and the exit status says whether it holds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable

from pyruntime.cgroups.devices import program
from pyruntime.cgroups.directory import Directory
from pyruntime.cgroups.layout import detect
from pyruntime.cgroups.manager import Cgroup
from pyruntime.cgroups.ownership import delegated_files
from pyruntime.errors import CgroupError

NAME = f"/pyruntime-test-{uuid.uuid4().hex}"


def cgroup(path: str = NAME) -> Cgroup:
    layout = detect()
    assert layout.mode == "v2", layout
    assert layout.v2 == "/sys/fs/cgroup"
    return Cgroup(layout, path)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])


def refusal(act: Callable[[], object]) -> str:
    try:
        act()
    except CgroupError as error:
        return str(error)
    raise AssertionError("it was not refused")


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


def lifecycle() -> None:
    """Create, join, freeze, thaw, kill, delete."""
    one = cgroup(NAME + "/a")
    one.create()
    assert one.paths() == {"": f"/sys/fs/cgroup{NAME}/a"}
    process = sleeper()
    one.join(process.pid)
    assert one.processes() == [process.pid]
    one.freeze()
    assert one.frozen()
    assert "frozen 1" in Directory(one.paths()[""]).read("cgroup.events")
    os.kill(process.pid, signal.SIGTERM)
    one.thaw()
    assert not one.frozen()
    assert process.wait(30) == -signal.SIGTERM
    process = sleeper()
    one.join(process.pid)
    one.freeze()
    other = Cgroup.from_paths(one.paths(), one.made)
    other.kill()
    other.delete()
    assert process.wait(30) == -signal.SIGKILL
    assert not os.path.exists(one.paths()[""])
    assert os.path.exists(f"/sys/fs/cgroup{NAME}")
    one.undo()
    assert not os.path.exists(f"/sys/fs/cgroup{NAME}")


def controllers() -> None:
    """Every controller of the root is enabled for the container, through each parent."""
    one = cgroup(NAME + "/a/b")
    one.create()
    wanted = Directory("/sys/fs/cgroup").read("cgroup.controllers").split()
    assert Directory(one.paths()[""]).read("cgroup.controllers").split() == wanted
    assert Directory(one.paths()[""]).read("cgroup.subtree_control").split() == []
    if "hugetlb" in wanted:
        one.apply({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]})
        one.apply({"unified": {"hugetlb.2MB.max": "2097152"}})
        assert Directory(one.paths()[""]).read("hugetlb.2MB.max").strip() == "2097152"
    if "memory" not in wanted:
        text = refusal(lambda: one.apply({"memory": {"limit": 5}}))
        assert text.startswith("linux.resources.memory.limit: "), text
        assert text.endswith("(controller memory is not enabled there)"), text
    text = refusal(lambda: one.apply({"unified": {"nothing.max": "5"}}))
    assert text.startswith("linux.resources.unified['nothing.max']: "), text
    text = refusal(lambda: one.apply({"memory": {"swappiness": 5}}))
    assert text == "linux.resources.memory.swappiness: cgroup v2 has no such setting", text
    one.undo()


def unified() -> None:
    """Any file can be written by its name, and an update puts it back when it fails."""
    one = cgroup()
    one.create()
    one.apply({"unified": {"cgroup.max.depth": "7", "cgroup.max.descendants": "5"}})
    there = Directory(one.paths()[""])
    assert there.read("cgroup.max.depth").strip() == "7"
    new = {"unified": {"cgroup.max.depth": "9", "cgroup.max.descendants": "nonsense"}}
    assert "invalid argument" in refusal(lambda: one.update({}, new))
    assert there.read("cgroup.max.depth").strip() == "7"
    one.undo()


def fitness() -> None:
    """A cgroup with processes, or a frozen one, is refused."""
    os.mkdir(f"/sys/fs/cgroup{NAME}")
    there = Directory(f"/sys/fs/cgroup{NAME}")
    process = sleeper()
    there.write("cgroup.procs", str(process.pid))
    assert "is not empty" in refusal(cgroup().create)
    process.kill()
    process.wait()
    there.write("cgroup.freeze", "1")
    until(lambda: "frozen 1" in there.read("cgroup.events"))
    assert "is frozen" in refusal(cgroup().create)
    assert "is frozen" in refusal(cgroup(NAME + "/below").create)
    assert not os.path.exists(there.path + "/below")
    os.rmdir(there.path)


def threaded() -> None:
    """Below a threaded cgroup the container's becomes threaded, or limits are refused."""
    os.mkdir(f"/sys/fs/cgroup{NAME}")
    os.mkdir(f"/sys/fs/cgroup{NAME}/t")
    Directory(f"/sys/fs/cgroup{NAME}/t").write("cgroup.type", "threaded")
    one = cgroup(NAME + "/c")
    refused = {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}
    assert "below a threaded cgroup" in refusal(lambda: one.create(refused))
    one = cgroup(NAME + "/c")
    one.create()
    assert Directory(one.paths()[""]).read("cgroup.type").strip() == "threaded"
    one.undo()
    os.rmdir(f"/sys/fs/cgroup{NAME}/t")
    os.rmdir(f"/sys/fs/cgroup{NAME}")


def ownership() -> None:
    """The directory and the delegated files are given away, and no others."""
    one = cgroup()
    one.create()
    one.chown(1234)
    path = one.paths()[""]
    owned = {name for name in os.listdir(path) if os.stat(f"{path}/{name}").st_uid == 1234}
    assert os.stat(path).st_uid == 1234
    assert owned == {name for name in delegated_files() if os.path.exists(f"{path}/{name}")}
    assert owned and owned != set(os.listdir(path))
    one.undo()


def into() -> None:
    """The descriptor for CLONE_INTO_CGROUP is one of the directory."""
    one = cgroup()
    one.create()
    assert os.path.samestat(os.fstat(one.directory_fd()), os.stat(one.paths()[""]))
    assert not os.get_inheritable(one.directory_fd())
    one.undo()


def device_program() -> None:
    """The kernel takes the program, and it decides about real opens as the rules say."""
    one = cgroup()
    one.create()
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]
    attach(one.directory_fd(), load(program(rules)))
    attached = ["null", "zero", "kmsg:r"]
    process = subprocess.Popen(
        ["sh", "-c", f"echo $$ > {one.paths()['']}/cgroup.procs; {OPENS}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert output.split() == attached, output
    one.undo()


def device_programs_of_every_shape() -> None:
    """The kernel's verifier takes programs for all kinds of rules."""
    allow_all = {"allow": True, "type": "a", "access": "rwm"}
    for rules in (
        None,
        [allow_all],
        [allow_all, {"allow": False, "type": "b", "major": 8, "access": "w"}],
        [{"allow": True, "type": "b", "major": 4294967295, "minor": 0, "access": "r"}],
        [
            {"allow": True, "type": "c", "major": 200, "minor": minor, "access": "rw"}
            for minor in range(200)
        ],
    ):
        os.close(load(program(rules)))


OPENS = """
(: > /dev/null) && echo null
(: < /dev/zero) && echo zero
(: < /dev/kmsg) && echo kmsg:r
(: > /dev/kmsg) && echo kmsg:w
"""

SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, PROG_ATTACH = 5, 8
PROG_TYPE_CGROUP_DEVICE, CGROUP_DEVICE = 15, 6


def load(code: bytes) -> int:
    text = ctypes.create_string_buffer(code)
    license = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQ",
        PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(text),
        ctypes.addressof(license),
    )
    return bpf(PROG_LOAD, attributes.ljust(128, b"\0"))


def attach(directory: int, loaded: int) -> None:
    attributes = struct.pack("<IIII", directory, loaded, CGROUP_DEVICE, 0)
    bpf(PROG_ATTACH, attributes.ljust(128, b"\0"))


def bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    call = SYS_BPF.get(os.uname().machine)
    if call is None:
        print(f"needs the number of bpf(2) on {os.uname().machine}")
        sys.exit(77)
    result: int = libc.syscall(call, command, attributes, len(attributes))
    if result < 0:
        number = ctypes.get_errno()
        if number in (errno.EPERM, errno.ENOSYS):
            print(f"needs the right to use bpf: {os.strerror(number)}")
            sys.exit(77)
        raise OSError(number, os.strerror(number), f"bpf {command}")
    return result


CHECKS = {
    check.__name__: check
    for check in (
        lifecycle,
        controllers,
        unified,
        fitness,
        threaded,
        ownership,
        into,
        device_program,
        device_programs_of_every_shape,
    )
}


def clean() -> None:
    """Remove what a check that failed half-way has left."""
    left = Cgroup.from_paths({"": f"/sys/fs/cgroup{NAME}"})
    left.kill()
    left.delete()


if __name__ == "__main__":
    try:
        CHECKS[sys.argv[1]]()
    finally:
        clean()
