"""linux.netDevices: interfaces of the host that a container gets (R155).

Slow lane: pyroute2, imported only for a config that asks. A process with one thread may
change its network namespace and return; a netlink socket stays where it was opened.
Addresses go back as they came, attribute by attribute, which pyroute2's own calls do not
offer: its messages are used, over sockets of ours.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from pyruntime import failures
from pyruntime.errors import OperationError, PyruntimeError
from pyruntime.packages import import_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT = ".linux.netDevices"
CLONE_NEWNET = 0x40000000
IFF_UP = 0x1
IFF_LOOPBACK = 0x8
IFA_F_DEPRECATED = 0x20
IFA_F_PERMANENT = 0x80
# What the kernel says of an address and takes from nobody: secondary, dadfailed,
# deprecated, tentative, permanent.
IFA_F_SAID = 0x01 | 0x08 | IFA_F_DEPRECATED | 0x40 | IFA_F_PERMANENT
RT_SCOPE_UNIVERSE = 0
RTM_NEWADDR = 20
NEW = 0x1 | 0x4 | 0x200 | 0x400  # NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE
HINTS = {
    errno.EPERM: "it needs CAP_NET_ADMIN here and in the container's user namespace",
    errno.EINVAL: "this kind of interface may not leave its namespace",
    errno.EEXIST: "the container's network namespace has such an interface already",
    errno.EBUSY: "the kernel does not let it go now",
}


class Device:
    """An interface as it is on the host: `index`, `up`, and the addresses that it keeps."""

    def __init__(self, name: str, target: str, link: Any, addresses: list[Any]) -> None:
        self.name = name
        self.target = target
        self.index: int = link["index"]
        self.up = bool(link["flags"] & IFF_UP)
        self.addresses = [address for address in addresses if is_kept(address)]


class Connection:
    """Netlink in the namespace that the process is in when this is made."""

    def __init__(self, pyroute2: Any) -> None:
        self.route = pyroute2.IPRoute()
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

    def set_link(self, index: int, **values: Any) -> None:
        self.route.link("set", index=index, **values)

    def links(self) -> list[Any]:
        return list(self.route.get_links())

    def names(self) -> dict[int, str]:
        """Index and name of every interface."""
        return {link["index"]: link.get_attr("IFLA_IFNAME") for link in self.links()}

    def addresses(self, index: int) -> list[Any]:
        return [each for each in self.route.get_addr() if each["index"] == index]

    def add_address(self, index: int, address: Any, attributes: list[tuple[str, Any]]) -> None:
        """RTM_NEWADDR with these attributes. Raises OSError."""
        request = import_package("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg()
        for field in ("family", "prefixlen", "scope"):
            request[field] = address[field]
        request["flags"] = address["flags"] & ~IFA_F_SAID
        request["index"] = index
        request["attrs"] = attributes
        request["header"]["type"] = RTM_NEWADDR
        request["header"]["flags"] = NEW
        request.encode()
        self.socket.send(request.data)
        # struct nlmsghdr, then the negative errno, 0 for a success (netlink(7)).
        number = -struct.unpack_from("i", self.socket.recv(1 << 16), 16)[0]
        if number:
            raise OSError(number, os.strerror(number))

    def close(self) -> None:
        self.route.close()
        self.socket.close()


class Transfer:
    """Moves interfaces into the network namespace of a process, and back if create fails.

    The descriptors keep both namespaces alive, so that an interface can be brought
    back after the container's processes have died.
    """

    def __init__(self, devices: dict[str, Any], pid: int) -> None:
        self.devices = devices
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.moved: list[tuple[Device, int]] = []
        self.here: Connection | None = None
        self.there: Connection | None = None

    def move(self) -> None:
        """Look at all of them first, then move each. Raises OperationError.

        Those with a name of their own come before those whose name the kernel chooses.
        """
        if os.fstat(self.own).st_ino == os.fstat(self.other).st_ino:
            raise OperationError(f"{AT[1:]}: the network namespace is the host's", AT)
        here, there = self._connect()
        devices = [_find(name, wanted, here, there) for name, wanted in self.devices.items()]
        for device in sorted(devices, key=lambda device: "%" in device.target):
            self._move(device, here, there)

    def undo(self) -> None:
        """Bring every interface back with its name, addresses and state."""
        for device, index in reversed(self.moved):
            try:
                self._bring_back(device, index)
            except Exception:  # pyroute2 has many; what made create fail is the error to tell
                continue
        self.moved = []

    def _bring_back(self, device: Device, index: int) -> None:
        assert self.here is not None and self.there is not None
        self.there.set_link(index, net_ns_fd=self.own, ifname=device.name)
        back = next(index for index, name in self.here.names().items() if name == device.name)
        _restore(self.here, device, back, device.name)
        if device.up:
            self.here.set_link(back, state="up")

    def close(self) -> None:
        """Close what is open; the interfaces are the container's now."""
        for each in (self.here, self.there):
            if each is not None:
                each.close()
        os.close(self.own)
        os.close(self.other)

    def _connect(self) -> tuple[Connection, Connection]:
        pyroute2 = _load()
        self.here = Connection(pyroute2)
        _enter(self.other)
        try:
            self.there = Connection(pyroute2)
        finally:
            _enter(self.own)
        return self.here, self.there

    def _move(self, device: Device, here: Connection, there: Connection) -> None:
        before = there.names()
        try:
            here.set_link(device.index, net_ns_fd=self.other, ifname=device.target)
        except Exception as error:
            # The kernel may have moved it and then refused the name: it is to be brought back.
            if device.index not in here.names():
                self.moved.append((device, _arrived(device, before, there)[0]))
            raise _failure(device, f"move to {device.target}", error) from None
        index, name = _arrived(device, before, there)
        self.moved.append((device, index))
        try:
            _restore(there, device, index, name)
            there.set_link(index, state="up")
        except Exception as error:
            raise _failure(device, f"addresses and state of {name}", error) from None


def _find(name: str, wanted: dict[str, Any], here: Connection, there: Connection) -> Device:
    """The interface, and whether the move is possible. Raises OperationError."""
    at = f"{AT}[{name}]"
    found = [link for link in here.links() if link.get_attr("IFLA_IFNAME") == name]
    if not found:
        raise OperationError(f"{at[1:]}: there is no such interface on the host", at)
    link = found[0]
    if link["flags"] & IFF_LOOPBACK or link.get_attr("IFLA_NETNS_IMMUTABLE"):
        raise OperationError(f"{at[1:]}: {HINTS[errno.EINVAL]}", at, errno.EINVAL)
    target = wanted.get("name") or name
    if target in there.names().values():
        message = f"{at[1:]}.name: {target}: {HINTS[errno.EEXIST]}"
        raise OperationError(message, at + ".name", errno.EEXIST)
    return Device(name, target, link, here.addresses(link["index"]))


def _arrived(device: Device, before: dict[int, str], there: Connection) -> tuple[int, str]:
    """The new index and name. The kernel keeps the index if it is free there."""
    new = {index: name for index, name in there.names().items() if index not in before}
    if device.index in new:
        return device.index, new[device.index]
    for index, name in new.items():
        if name in (device.target, device.name) or "%" in device.target:
            return index, name
    at = f"{AT}[{device.name}]"
    raise OperationError(f"{at[1:]}: it has not arrived in the namespace", at)


def _restore(where: Connection, device: Device, index: int, name: str) -> None:
    """The kernel removes all addresses of an interface that it moves."""
    for address in device.addresses:
        where.add_address(index, address, attributes(address, device.name, name))


def _failure(device: Device, what: str, error: Exception) -> OperationError:
    """The error for what the kernel, or pyroute2, said."""
    at = f"{AT}[{device.name}]"
    number = int(getattr(error, "code", 0) or getattr(error, "errno", 0) or 0)
    hint = f" ({HINTS[number]})" if what.startswith("move") and number in HINTS else ""
    why = failures.reason(number) if number else f"{type(error).__name__}: {error}"
    return OperationError(f"{at[1:]}: {what}: {why}{hint}", at, number)


def is_kept(address: Any) -> bool:
    """Permanent and of global scope, in whichever family."""
    flags = address.get_attr("IFA_FLAGS") or address["flags"]
    return bool(flags & IFA_F_PERMANENT) and address["scope"] == RT_SCOPE_UNIVERSE


def attributes(address: Any, old: str, new: str) -> list[tuple[str, Any]]:
    """All attributes of an address, for an interface with another name.

    An IPv4 label must begin with the interface's name. That an address is deprecated
    is said to the kernel by the time for which it is preferred.
    """
    kept = []
    deprecated = (address.get_attr("IFA_FLAGS") or address["flags"]) & IFA_F_DEPRECATED
    for attribute in address["attrs"]:
        key, value = attribute[0], attribute[1]
        if key == "IFA_LABEL":
            value = relabel(value, old, new)
        elif key == "IFA_FLAGS":
            value &= ~IFA_F_SAID
        elif key == "IFA_CACHEINFO" and deprecated:
            value = {**value, "ifa_preferred": 0}
        if key != "UNKNOWN":
            kept.append((key, value))
    return kept


def relabel(label: str, old: str, new: str) -> str:
    """The label under the new name, without its end where the kernel has no room (15 bytes)."""
    rest = label[len(old) :] if label == old or label.startswith(old + ":") else ""
    return (new + rest)[:15]


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        hint = "it needs CAP_SYS_ADMIN here and in its user namespace"
        message = f"{AT[1:]}: setns: {failures.reason(number)} ({hint})"
        raise OperationError(message, AT, number)


def _load() -> Any:
    try:
        return import_package("pyroute2")
    except ModuleNotFoundError:
        raise PyruntimeError(
            "linux.netDevices: the Python package pyroute2 is not installed"
        ) from None
