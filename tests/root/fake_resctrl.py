"""A directory that plays resctrl, for machines whose processor has no such thing.

Run as a program it is pyruntime (`python3 -IS fake_resctrl.py TREE DIRECTORY VERB ...`)
with a C library of its own: in DIRECTORY, mkdir, rmdir and write do what the kernel's
resctrl does. Whether the kernel would agree is not tested by this.
"""

from __future__ import annotations

import errno
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = "L3:0=fffff;1=fffff\nMB:0=100;1=100\n"
STEP = 10  # bandwidth_gran
GROUPS = 4


def make(directory: Path) -> Path:
    """Make the root: the default class, and the directory info."""
    directory.mkdir()
    (directory / "schemata").write_text(DEFAULT)
    (directory / "tasks").write_text("")
    (directory / "mon_groups").mkdir()
    (directory / "info/MB").mkdir(parents=True)
    (directory / "info/MB/bandwidth_gran").write_text(f"{STEP}\n")
    (directory / "info/L3").mkdir()
    (directory / "info/L3/cbm_mask").write_text("fffff\n")
    (directory / "info/L3/min_cbm_bits").write_text("1\n")
    (directory / "info/L3/num_closids").write_text("8\n")
    (directory / "info/last_cmd_status").write_text("ok\n")
    return directory


def program(tree: Path, directory: Path, path: Path) -> str:
    """Write a command that runs pyruntime with this resctrl; its path."""
    path.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -IS {__file__} {tree} {directory} "$@"\n')
    path.chmod(0o755)
    return str(path)


class Kernel:
    """The calls, as resctrl answers them below `root`; elsewhere they are the system's."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.mkdir, self.rmdir, self.write = posix.mkdir, posix.rmdir, posix.write

    def install(self) -> None:
        posix.mkdir = self.make_directory  # type: ignore[assignment]
        posix.rmdir = self.remove_directory  # type: ignore[assignment]
        posix.write = self.write_file  # type: ignore[assignment]

    def make_directory(self, path: str, mode: int = 0o777) -> None:
        if path.startswith(self.root + "/") and len(posix.listdir(self.root)) >= 4 + GROUPS:
            self.say("Out of CLOSIDs")
            raise OSError(errno.ENOSPC, "no space", path)
        self.mkdir(path, mode)
        if path.startswith(self.root + "/"):
            self.put(path + "/tasks", "")
            self.count(path + "/mon_data", 4096)
            if "/mon_groups/" not in path:
                self.put(path + "/schemata", DEFAULT)
                self.mkdir(path + "/mon_groups", 0o755)

    def count(self, path: str, number: int) -> None:
        """The counters of the only cache that is watched; one of them cannot be read just now."""
        self.mkdir(path, 0o755)
        self.mkdir(path + "/mon_L3_00", 0o755)
        self.put(path + "/mon_L3_00/mbm_total_bytes", f"{number}\n")
        self.put(path + "/mon_L3_00/mbm_local_bytes", "Unavailable\n")
        self.put(path + "/mon_L3_00/llc_occupancy", f"{number}\n")

    def forget(self, path: str) -> None:
        for name in posix.listdir(path + "/mon_L3_00"):
            posix.unlink(f"{path}/mon_L3_00/{name}")
        self.rmdir(path + "/mon_L3_00")
        self.rmdir(path)

    def remove_directory(self, path: str) -> None:
        if path.startswith(self.root + "/"):
            if "/mon_groups/" not in path:
                posix.unlink(path + "/schemata")
                for group in posix.listdir(path + "/mon_groups"):
                    self.remove_directory(f"{path}/mon_groups/{group}")
                self.rmdir(path + "/mon_groups")
            posix.unlink(path + "/tasks")
            if "mon_data" in posix.listdir(path):  # not in what a test has made
                self.forget(path + "/mon_data")
        self.rmdir(path)

    def write_file(self, descriptor: int, data: bytes) -> int:
        path = posix.readlink(f"/proc/self/fd/{descriptor}")
        if not path.startswith(self.root + "/"):
            return self.write(descriptor, data)
        directory, _, name = path.rpartition("/")
        text = bytes(data).decode()
        with open(self.root + "/log", "a") as log:
            log.write(f"{path.removeprefix(self.root)}: {text!r}\n")
        if name == "schemata":
            self.fill(path, text)
        else:
            self.join(directory, text.strip())
        return len(data)

    def fill(self, path: str, text: str) -> None:
        """Later lines of one write may not name a domain again, as in the kernel."""
        lines = dict(line.split(":") for line in self.get(path).split())
        if not text.endswith("\n"):
            self.refuse("no newline")
        for line in text.splitlines():
            name, _, values = line.partition(":")
            if name not in lines:
                self.refuse(f"Unknown or unsupported resource name '{name}'")
            domains = dict(each.split("=") for each in lines[name].split(";"))
            for each in values.split(";"):
                key, _, value = each.partition("=")
                if name == "MB":
                    value = str(-(-int(value) // STEP) * STEP)
                else:
                    value = f"{int(value, 16):05x}"
                domains[str(int(key))] = value
            lines[name] = ";".join(f"{key}={value}" for key, value in domains.items())
        self.put(path, "".join(f"{name}:{values}\n" for name, values in lines.items()))

    def join(self, directory: str, pid: str) -> None:
        parent, inside, _ = directory.partition("/mon_groups/")
        tasks = self.get(parent + "/tasks").split()
        if inside and pid not in tasks:
            self.refuse("Task is not in the class of the group")
        posix.kill(int(pid), 0)
        self.put(directory + "/tasks", self.get(directory + "/tasks") + pid + "\n")

    def refuse(self, text: str) -> None:
        self.say(text)
        raise OSError(errno.EINVAL, "invalid")

    def say(self, text: str) -> None:
        self.put(self.root + "/info/last_cmd_status", text + "\n")

    def put(self, path: str, text: str) -> None:
        with open(path, "w") as file:
            file.write(text)

    def get(self, path: str) -> str:
        with open(path) as file:
            return file.read()


def main() -> None:
    """Be pyruntime, on a machine with resctrl."""
    tree, root = sys.argv[1:3]
    sys.argv[1:3] = []
    sys.path.insert(0, tree)
    from pyruntime import resctrl
    from pyruntime.__main__ import main as run

    Kernel(root).install()
    resctrl.find_mount = lambda mountinfo: root
    run()


if __name__ == "__main__":
    main()
