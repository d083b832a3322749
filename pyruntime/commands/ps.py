"""pyruntime ps: the processes of a container (R295)."""

from __future__ import annotations

import posix
import sys

from pyruntime import documents, state
from pyruntime.errors import PyruntimeError
from pyruntime.state import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request

DEFAULT = ["-ef"]


def execute(request: Request) -> int:
    """Print what the host's ps says of them, or with --format json their pids."""
    form = request.options.get("format") or "table"
    if form not in ("table", "json"):
        raise PyruntimeError("invalid format option")
    container = state.load(request.root, request.arguments[0])
    found = pids(container)
    if form == "json":
        sys.stdout.write(documents.dumps(found or None) + "\n")
        return 0
    sys.stdout.write(table(host_ps(request.arguments[1:] or DEFAULT), found))
    return 0


def pids(container: state.Container) -> list[int]:
    """Every process in the container's cgroup; the first one at least, where there is none."""
    found = container.cgroup().processes()
    if not found and container.alive():
        return [container.pid]
    return found


def table(text: str, wanted: list[int]) -> str:
    """The header of an output of ps, and the lines whose PID is wanted. Raises PyruntimeError."""
    header, *lines = text.splitlines() or [""]
    columns = header.split()
    if "PID" not in columns:
        raise PyruntimeError("couldn't find PID field in ps output")
    column = columns.index("PID")
    kept = [line for line in lines if _pid(line, column) in wanted]
    return "".join(line + "\n" for line in [header, *kept])


def _pid(line: str, column: int) -> int:
    fields = line.split(None, column + 1)
    if len(fields) <= column or not fields[column].isdigit():
        return -1  # the rest of a name that has a line break in it
    return int(fields[column])


def host_ps(arguments: list[str]) -> str:
    """What the host's ps prints. Raises PyruntimeError with its own words if it fails."""
    output = posix.memfd_create("output", 1)
    streams = [(posix.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    words = ["ps", *arguments]
    try:
        pid = posix.posix_spawnp("ps", words, posix.environ, file_actions=streams)
        status = posix.waitpid(pid, 0)[1]
        posix.lseek(output, 0, 0)
        text = read_file(f"/proc/self/fd/{output}").decode("utf-8", "replace")
    except OSError as error:
        raise PyruntimeError(f"ps: {posix.strerror(error.errno or 0).lower()}") from None
    finally:
        posix.close(output)
    if status:
        raise PyruntimeError(f"ps: exit status {status >> 8}: {text.strip()}")
    return text
