"""A container's unit: started, changed and stopped by systemd (rows R160, R161, R252)."""

from __future__ import annotations

import posix

from pyruntime.cgroups.bus import MANAGER, PROPERTIES, Bus, Refused
from pyruntime.cgroups.properties import ANNOTATION, PREFIX, Property
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_EXISTS = "org.freedesktop.systemd1.UnitExists"
_ABSENT = "org.freedesktop.systemd1.NoSuchUnit"
_UNKNOWN_PROPERTY = (
    "org.freedesktop.DBus.Error.PropertyReadOnly",
    "org.freedesktop.DBus.Error.UnknownProperty",
)
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
CACHE = "~systemd"


class UnitExists(CgroupError):
    """There is a unit of that name already."""


def start(bus: Bus, name: str, properties: list[Property], root: str) -> None:
    """Make a transient unit and wait until it runs.

    Properties that this systemd does not know are left out, and remembered below `root`, if
    something else stands for them; an annotation's are an error. A unit of that name that has
    failed is forgotten first. Raises UnitExists, Refused, CgroupError, Unreachable.
    """
    send = _starting(bus, name)
    try:
        job = with_known(bus, properties, root, send)
    except Refused as error:
        if error.name != _EXISTS:
            raise
        reset(bus, name)
        job = _once_more(bus, name, properties, root)
    result = bus.await_job(job)
    if result != "done":
        hint = f"(`systemctl status {name}`, `journalctl -u {name}` may know why)"
        raise CgroupError(f"systemd: start of unit {name}: {result} {hint}")


def _starting(bus: Bus, name: str) -> Callable[[list[Property]], str]:
    def send(properties: list[Property]) -> str:
        pairs = [each.pair() for each in properties]
        body: tuple[Any, ...] = (name, "replace", pairs, [])
        (job,) = bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        return str(job)

    return send


def _once_more(bus: Bus, name: str, properties: list[Property], root: str) -> str:
    try:
        return with_known(bus, properties, root, _starting(bus, name))
    except Refused as error:
        if error.name != _EXISTS:
            raise
        raise UnitExists(
            f"systemd: unit {name} exists already: another container has that"
            " linux.cgroupsPath, or something of it still runs"
        ) from None


def change(bus: Bus, name: str, properties: list[Property], root: str) -> None:
    """Set properties until the machine, or the unit, goes. Raises Refused, Unreachable.

    Returns when systemd has written them into the cgroup, so that who then writes a file
    has the last word: it does so before it looks at the next message.
    """

    def send(wanted: list[Property]) -> str:
        if wanted:
            pairs = [each.pair() for each in wanted]
            bus.call("SetUnitProperties", "sba(sv)", (name, True, pairs))
        return ""

    with_known(bus, properties, root, send)
    control_group(bus, name)


def stop(bus: Bus, name: str) -> None:
    """Stop a unit, wait for that, and let systemd forget it; one that is gone is fine."""
    try:
        (job,) = bus.call("StopUnit", "ss", (name, "replace"))
        bus.await_job(job)
    except Refused as error:
        if error.name != _ABSENT:
            raise
    reset(bus, name)


def reset(bus: Bus, name: str) -> None:
    """Forget that a unit has failed; most have not, and then systemd says that it knows none."""
    try:
        bus.call("ResetFailedUnit", "s", (name,))
    except Refused:
        pass


def control_group(bus: Bus, name: str) -> str:
    """The path of a unit's cgroup below the mount point. Raises Refused."""
    return str(bus.get("ControlGroup", object_path(name), _interface(name)))


def values(bus: Bus, name: str, properties: list[Property]) -> list[Property]:
    """What those properties are now, as far as systemd has them."""
    (found,) = bus.call("GetAll", "s", (_interface(name),), object_path(name), PROPERTIES)
    return [
        Property(each.name, each.signature, found[each.name][1], each.origin)
        for each in properties
        if each.name in found and found[each.name][0] == each.signature
    ]


def _interface(name: str) -> str:
    return MANAGER.replace("Manager", "Slice" if name.endswith(".slice") else "Scope")


def object_path(name: str) -> str:
    """Where the bus has a unit: what is no letter or digit (first: no letter) as _ and its code."""
    digits = b"0123456789"
    return "/org/freedesktop/systemd1/unit/" + "".join(
        chr(byte) if byte in _PLAIN and (index or byte not in digits) else f"_{byte:02x}"
        for index, byte in enumerate(name.encode())
    )


# Properties that an older systemd does not know


def with_known(
    bus: Bus, properties: list[Property], root: str, send: Callable[[list[Property]], str]
) -> str:
    """Send the properties, without those that turn out to be unknown. Raises Refused."""
    unknown = recall(bus, root)
    left = [each for each in properties if each.name not in unknown or each.origin == ANNOTATION]
    learned = False
    while True:
        try:
            answer = send(left)
        except Refused as error:
            culprit = _unknown(error, left)
            if culprit is None:
                raise _naming(error, left) from None
            left.remove(culprit)
            unknown.append(culprit.name)
            learned = True
            continue
        if learned:
            remember(bus, root, unknown)
        return answer


def _unknown(error: Refused, properties: list[Property]) -> Property | None:
    """The property that systemd does not know, if we can do without."""
    if error.name not in _UNKNOWN_PROPERTY:
        return None
    for each in _named(error, properties):
        if each.origin != ANNOTATION and each.name not in ("PIDs", "Slice", "Delegate"):
            return each
    return None


def _named(error: Refused, properties: list[Property]) -> list[Property]:
    words = set("".join(c if c in _LETTERS else " " for c in error.reason).split())
    return [each for each in properties if each.name in words]


def _naming(error: Refused, properties: list[Property]) -> Refused:
    """The error with the annotation that caused it; where systemd names none, those there are."""
    if error.name == _EXISTS:
        return error
    ours = [each.name for each in properties if each.origin == ANNOTATION]
    named = [each.name for each in _named(error, properties)]
    guilty = [name for name in ours if name in named] or ([] if named else ours)
    if not guilty:
        return error
    keys = " or ".join(f"annotations[{PREFIX}{name}]" for name in guilty)
    return Refused(keys, error.name, error.reason)


def recall(bus: Bus, root: str) -> list[str]:
    """The properties that this systemd is known not to know."""
    try:
        fd = posix.open(f"{root}/{CACHE}", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError:
        return []
    try:
        version, _, names = posix.read(fd, 65536).decode("utf-8", "replace").partition("\n")
    finally:
        posix.close(fd)
    return names.split() if version and version == bus.get("Version") else []


def remember(bus: Bus, root: str, names: list[str]) -> None:
    """Keep what `recall` tells, for this version of systemd. It is a cache: it may fail."""
    content = f"{bus.get('Version')}\n{' '.join(sorted(set(names)))}\n"
    from pyruntime.state import write_atomically

    try:
        write_atomically(f"{root}/{CACHE}", content.encode(), 0o600)
    except OSError:
        pass
