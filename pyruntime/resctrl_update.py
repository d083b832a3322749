"""update --l3-cache-schema and --mem-bw-schema: other lines for a container's class (R294)."""

from __future__ import annotations

import fcntl
import posix

from pyruntime import facts, resctrl
from pyruntime.cgroups.directory import read_text
from pyruntime.errors import OperationError, PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.state import Container

_NOT_ENABLED = {
    "l3CacheSchema": "Intel RDT/CAT: l3 cache schema is not enabled",
    "memBwSchema": "Intel RDT/MBA: memory bandwidth schema is not enabled",
}
_NEEDED = {"l3CacheSchema": ("L3", "L3CODE", "L3DATA"), "memBwSchema": ("MB",)}


def asked(options: dict[str, Any]) -> dict[str, str]:
    """The lines of the flags, by their names in linux.intelRdt.

    Raises PyruntimeError, with runc's words where the machine does not have the resource.
    """
    flags = (("l3CacheSchema", "l3_cache_schema"), ("memBwSchema", "mem_bw_schema"))
    lines = {name: options[flag] for name, flag in flags if options.get(flag)}
    root = resctrl.find_mount(read_text("/proc/self/mountinfo"))
    known = resctrl.parse(facts.read(root + "/schemata")) if root else {}
    for name, line in lines.items():
        if not any(resource in known for resource in _NEEDED[name]):
            raise PyruntimeError(_NOT_ENABLED[name])
        _check(name, line)
    return lines


def _check(name: str, line: str) -> None:
    """What the schema of config.json asks of the same lines (R202)."""
    flag = "--l3-cache-schema" if name == "l3CacheSchema" else "--mem-bw-schema"
    if "\n" in line:
        raise PyruntimeError(f"invalid value for {flag}: a newline; give one line")
    if name == "memBwSchema" and not line.startswith("MB:"):
        raise PyruntimeError(f'invalid value for {flag}: "{line}" does not begin with MB:')


class Change:
    """New lines for the class that a container is in, with what brings the old ones back.

    Made before anything is written. Raises PyruntimeError if the container has no class
    of its own accord: without linux.intelRdt it is in whatever class its parent was in.
    """

    __slots__ = ("before", "config", "directory", "lines", "root")

    def __init__(
        self, container: Container, config: dict[str, Any], lines: dict[str, str]
    ) -> None:
        self.config = config
        self.lines = lines
        directories = container.values.get("resctrl_tasks")
        if not directories:
            raise PyruntimeError(
                "updating the schemata of a container whose config has no linux.intelRdt is not "
                "possible: it is in no class of its own"
            )
        self.directory: str = directories[0]
        default = config["linux"]["intelRdt"].get("closID") == "/"
        self.root = self.directory if default else self.directory.rpartition("/")[0]
        self.before = ""

    def write(self) -> None:
        """Write all lines at once; the config names them then. Raises OperationError, undone."""
        lock = posix.open(self.root, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.before = facts.read(self.directory + "/schemata")
            at = f"{resctrl.AT}.{next(iter(self.lines))}"
            try:
                self._write(list(self.lines.values()), at)
            except OperationError:
                self.put_back()  # the kernel may have changed one domain and refused the next
                raise
        finally:
            posix.close(lock)
        self.config["linux"]["intelRdt"].update(self.lines)

    def put_back(self) -> None:
        """Write what the class had of the same resources. An earlier error is the one to tell."""
        wanted = {name for line in self.lines.values() for name in resctrl.parse(line)}
        lines = [line.strip() for line in self.before.splitlines()]
        old = [line for line in lines if line.partition(":")[0] in wanted]
        try:
            if old:
                self._write(old, resctrl.AT)
        except OperationError:
            return

    def _write(self, lines: list[str], at: str) -> None:
        content = "".join(line + "\n" for line in lines)
        resctrl.write_file(self.root, at, self.directory + "/schemata", content)
