"""What the small verbs will have to do, left in ROOT/ID/verbs for the launcher.

Nine of the ten milliseconds of state, start, kill, delete, pause and resume are the interpreter.
What they do for a plain container is known when it has been made, so it is compiled here, with all
policy, into a few operations for each (spec/launcher.toml); the launcher performs them and
knows nothing of containers. A verb that is not plain has no operations, and whatever the
launcher meets that was not foreseen it leaves to Python before it has changed anything.

The plans hold for one state.json and one config.json, known by inode, size and time of the
last change; a file that somebody writes anew makes them void. What the verbs do stands in
starting.py, deletion.py and commands/: a change there is to be made here too.
"""

from __future__ import annotations

import posix
import struct

from pyruntime import documents, processes, state
from pyruntime import stored_operations as op
from pyruntime.cgroups.manager import Cgroup, NoCgroup
from pyruntime.commands.state import summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Operation = tuple[int, int, tuple[int | str | bytes, ...]]
    Plan = list[Operation]

MAGIC = 0x7362726576797001
HEADER = struct.Struct("<QII")
IDENTITY = struct.Struct("<QQQ")
VERB = struct.Struct("<II")
OPERATION = struct.Struct("<IIQQQ")
FILES = ("state.json", "config.json")
LIMIT = 65536 - 1  # the launcher's buffer
GO_ON = 0
HAND_OVER = 0xFFFFFFFF
SIGKILL = 9
ALL_BITS = (1 << 64) - 1
PATIENCE = 10_000  # ms until a killed process must be gone
FREEZING = 50  # ms until the processes of a plain container have stopped; Python waits longer
VERBS = ("state", "start", "kill", "delete", "pause", "resume", "delete --force")
# What tells a freezer to stop or to go on, the two words, and who says that all have stopped.
FREEZER_V1 = ("freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN")
FREEZER_V2 = ("cgroup.freeze", "1", "0", "cgroup.events", "frozen 1")
# Of what is not listed here nobody has thought yet what the launcher would have to do.
KNOWN = frozenset(
    (
        "ociVersion id pid pid_start bundle rootfs created annotations owner own_pids "
        "no_new_keyring cgroup_paths cgroup_made unit unit_user status tail external_descriptors"
    ).split()
)


def write(container: state.Container, config: dict[str, Any]) -> None:
    """Store the plans of a created container, whose files are written.

    Without them everything works, only slower: what cannot be stored is left out.
    """
    try:
        content = encode(compile_verbs(container, config), [_identity(container, f) for f in FILES])
        if len(content) <= LIMIT:
            state.write_atomically(container.path("verbs"), content, 0o600)
    except OSError:
        container.forget_verbs()


def compile_verbs(container: state.Container, config: dict[str, Any]) -> list[Plan]:
    """The plans of VERBS; empty ones are Python's."""
    cgroup = container.cgroup()
    if not KNOWN.issuperset(container.values) or not isinstance(cgroup, Cgroup | NoCgroup):
        return [[] for _ in VERBS]
    return [
        _state(container, cgroup),
        _start(container, cgroup, config),
        _kill(container, cgroup),
        _delete(container, cgroup, config, force=False),
        _pause(container, cgroup),
        _resume(container, cgroup),
        _delete(container, cgroup, config, force=True),
    ]


# --- the verbs --------------------------------------------------------------------


def _state(container: state.Container, cgroup: Cgroup | NoCgroup) -> Plan:
    """As Container.status() decides; a paused container is left to Python."""
    texts = {}
    for status in (state.CREATED, state.RUNNING, state.STOPPED):
        text = documents.dumps_indented(summary(container, status))
        if not text.isascii():  # how it is written depends on the locale
            return []
        texts[status] = [_print(text), _end()]
    created = [
        (op.EXISTS, 3, ("start",)),
        (op.EXECUTES, 2, (container.pid, processes.INIT_IMAGE)),
        *texts[state.CREATED],
    ]
    living = [*_thawed(cgroup), *created, *texts[state.RUNNING]]
    return [_alive(container, len(living)), *living, *texts[state.STOPPED]]


def _start(container: state.Container, cgroup: Cgroup | NoCgroup, config: dict[str, Any]) -> Plan:
    hooks = config.get("hooks") or {}
    plain = config.get("process") and not hooks.get("startContainer") and not hooks.get("poststart")
    if not plain or _notifies(config):
        return []
    return [
        _alive(container, HAND_OVER),
        *_thawed(cgroup),
        (op.EXISTS, HAND_OVER, ("start",)),
        (op.EXECUTES, HAND_OVER, (container.pid, processes.INIT_IMAGE)),
        (op.RELEASE, HAND_OVER, ("start", "report")),
        _end(),
    ]


def _kill(container: state.Container, cgroup: Cgroup | NoCgroup) -> Plan:
    """SIGKILL may have to thaw, or to reach every process: that is left to Python."""
    killing = _thawed(cgroup) if container.values.get("own_pids") else [_never()]
    return [
        (op.SIGNAL_IS, len(killing), (SIGKILL,)),
        *killing,
        (op.OPEN_PROCESS, HAND_OVER, (container.pid, container.started)),
        (op.SEND, HAND_OVER, (ALL_BITS,)),
        _end(),
    ]


def _delete(
    container: state.Container, cgroup: Cgroup | NoCgroup, config: dict[str, Any], force: bool
) -> Plan:
    """Of a stopped container; with force of a living one too, if nobody outlives its init."""
    if (config.get("hooks") or {}).get("poststop") or not _removable(cgroup):
        return []
    if container.values.get("unit"):  # systemd is to be told, and that takes Python
        return []
    ending = [_never()]
    if force and container.values.get("own_pids"):
        ending = [
            *_thawed(cgroup),
            (op.OPEN_PROCESS, HAND_OVER, (container.pid, container.started)),
            (op.SEND, HAND_OVER, (SIGKILL,)),
            (op.AWAIT_EXIT, HAND_OVER, (PATIENCE,)),
        ]
    return [
        *([(op.NOTHING_HIDDEN, HAND_OVER, ())] if force else []),
        _alive(container, len(ending)),
        *ending,
        *((op.RMDIR, HAND_OVER, (path,)) for path in _main_first(cgroup)),
        (op.REMOVE_DIRECTORY, HAND_OVER, ()),
        _end(),
    ]


def _pause(container: state.Container, cgroup: Cgroup | NoCgroup) -> Plan:
    """Who does not stop at once is Python's, and runs again before that.

    For a cgroup that was told to freeze is a paused container, which Python would refuse.
    """
    freezer = _freezer(cgroup)
    if freezer is None:
        return []
    path, (file, frozen, thawed, events, stopped) = freezer
    return [
        _alive(container, HAND_OVER),
        *_thawed(cgroup),
        (op.WRITE_FILE, HAND_OVER, (f"{path}/{file}", frozen)),
        (op.AWAIT_TEXT, 1, (f"{path}/{events}", stopped, FREEZING)),
        _end(),
        (op.WRITE_FILE, HAND_OVER, (f"{path}/{file}", thawed)),
        _never(),
        _end(),
    ]


def _resume(container: state.Container, cgroup: Cgroup | NoCgroup) -> Plan:
    freezer = _freezer(cgroup)
    if freezer is None:
        return []
    path, (file, frozen, thawed, *_) = freezer
    return [
        _alive(container, HAND_OVER),
        (op.FILE_SAYS, HAND_OVER, (f"{path}/{file}", frozen + "\n")),
        (op.WRITE_FILE, HAND_OVER, (f"{path}/{file}", thawed)),
        _end(),
    ]


# --- what they are made of ------------------------------------------------------------


def _alive(container: state.Container, otherwise: int) -> Operation:
    return (op.ALIVE, otherwise, (container.pid, container.started))


def _print(text: str) -> Operation:
    return (op.PRINT, HAND_OVER, (text.encode(),))


def _end() -> Operation:
    return (op.END, GO_ON, ())


def _never() -> Operation:
    """Python's, whatever the answer would be: nothing is there under an empty name."""
    return (op.EXISTS, HAND_OVER, ("",))


def _thawed(cgroup: Cgroup | NoCgroup) -> Plan:
    freezer = _freezer(cgroup)
    if freezer is None:
        return []
    path, (file, _, thawed, *_) = freezer
    return [(op.FILE_SAYS, HAND_OVER, (f"{path}/{file}", thawed + "\n"))]


def _freezer(cgroup: Cgroup | NoCgroup) -> tuple[str, tuple[str, str, str, str, str]] | None:
    """The directory of what stops the processes, and its files and words."""
    freezer = cgroup.freezer() if isinstance(cgroup, Cgroup) else None
    if freezer is None:
        return None
    return freezer.directory.path, FREEZER_V2 if freezer.unified else FREEZER_V1


def _removable(cgroup: Cgroup | NoCgroup) -> bool:
    """Whether nobody can be in the cgroup once its main directory could be removed.

    One that was there before stays, and Python kills who is in it.
    """
    if not isinstance(cgroup, Cgroup):
        return True
    main = cgroup.main()
    return main is not None and main.path in cgroup.made


def _main_first(cgroup: Cgroup | NoCgroup) -> list[str]:
    """The directories that were made. While somebody is in the first, none is removed."""
    if not isinstance(cgroup, Cgroup):
        return []
    main = cgroup.main()
    return sorted(cgroup.made, key=lambda path: main is None or path != main.path)


def _notifies(config: dict[str, Any]) -> bool:
    seccomp = (config.get("linux") or {}).get("seccomp") or {}
    return bool(seccomp.get("listenerPath"))


# --- the file ---------------------------------------------------------------------------


def _identity(container: state.Container, name: str) -> bytes:
    about = posix.stat(container.path(name), follow_symlinks=False)
    return IDENTITY.pack(about.st_ino, about.st_size, about.st_mtime_ns)


def encode(plans: list[Plan], identities: list[bytes]) -> bytes:
    """The file: header, identities, where each plan stands, operations, texts."""
    at = HEADER.size + IDENTITY.size * len(identities) + VERB.size * len(plans)
    texts_at = at + OPERATION.size * sum(map(len, plans))
    verbs, operations, texts = b"", b"", bytearray()
    for plan in plans:
        verbs += VERB.pack(at, len(plan))
        at += OPERATION.size * len(plan)
        for number, otherwise, arguments in plan:
            values = _values(arguments, texts, texts_at)
            operations += OPERATION.pack(number, otherwise, *values)
    texts.append(0)
    head = HEADER.pack(MAGIC, op.INTERFACE, texts_at + len(texts))
    return head + b"".join(identities) + verbs + operations + texts


def _values(arguments: tuple[int | str | bytes, ...], texts: bytearray, texts_at: int) -> list[int]:
    values: list[int] = []
    for argument in arguments:
        if isinstance(argument, int):
            values.append(argument)
            continue
        values.append(texts_at + len(texts))
        if isinstance(argument, bytes):
            values.append(len(argument))
            texts += argument
        else:
            texts += argument.encode("utf-8", "surrogateescape") + b"\0"
    return values + [0] * (3 - len(values))
