"""linux.netDevices with real interfaces; the runtime has a network namespace of its own for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, wait_for
from pyruntime import net_devices
from pyruntime.packages import import_package
from tests.root.host import TREE


def inside(namespace: str, *command: str) -> str:
    """Run a command in a network namespace that is given by path."""
    done = subprocess.run(
        ["nsenter", f"--net={namespace}", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Network:
    """A network namespace that plays the host's, for the runtime and for `ip`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def ip(self, *arguments: str) -> str:
        return inside(self.path, "ip", *arguments)

    def links(self) -> list[str]:
        return names(json.loads(self.ip("-json", "link")))


def names(links: list[dict[str, Any]]) -> list[str]:
    return sorted(link["ifname"] for link in links)


def knows_metrics() -> bool:
    message = import_package("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg
    return "IFA_RT_PRIORITY" in dict(message.nla_map)


def own_network() -> str:
    return str(Path("/proc/self/ns/net").readlink())


@pytest.fixture
def network() -> Iterator[Network]:
    """A namespace with the pair one - two of veth interfaces."""
    if not shutil.which("ip"):
        pytest.skip("no ip (package iproute2)")
    holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    path = Path(f"/proc/{holder.pid}/ns/net")
    wait_for(lambda: str(path.readlink()) != own_network(), "a network namespace")
    network = Network(str(path))
    try:
        network.ip("link", "add", "one", "mtu", "1400", "type", "veth", "peer", "name", "two")
    except AssertionError as error:
        pytest.skip(f"no veth interfaces: {error}")
    yield network
    holder.kill()
    holder.wait()


@pytest.fixture
def runtime(runtime: Runtime, network: Network) -> Runtime:
    program = runtime.workplace / "in-the-network"
    program.write_text(f'#!/bin/sh\nexec nsenter --net={network.path} {TREE}/bin/pyruntime "$@"\n')
    program.chmod(0o755)
    runtime.program = str(program)
    return runtime


def ask(container: Container, **devices: str) -> Container:
    container.bundle.namespace("network")
    container.bundle.args("/bin/sleep", "1000")
    container.bundle.linux["netDevices"] = {
        name: {"name": target} if target else {} for name, target in devices.items()
    }
    return container


def seen(container: Container, *arguments: str) -> list[dict[str, Any]]:
    """What `ip` says of the container's network."""
    document = json.loads(inside(f"/proc/{container.pid}/ns/net", "ip", "-json", *arguments))
    assert isinstance(document, list)
    return document


def addresses(links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The global addresses; their state of now (tentative) left out."""
    found = [each for link in links for each in link["addr_info"] if each["scope"] == "global"]
    return [{k: v for k, v in each.items() if k not in ("tentative",)} for each in found]


@pytest.mark.rows("R155")
def test_an_interface_keeps_its_addresses_and_is_up(container: Container, network: Network) -> None:
    if not knows_metrics():
        pytest.skip("this pyroute2 is older than 0.9.3: it does not know an address's metric")
    add = ["addr", "add", "dev", "one"]
    network.ip(*add, "10.9.0.1/24", "broadcast", "10.9.0.255", "label", "one:first")
    network.ip(*add, "10.9.1.1", "peer", "10.9.1.2/30", "metric", "77", "noprefixroute")
    network.ip(*add, "10.9.2.1/32", "preferred_lft", "0")
    network.ip(*add, "fd09::1/64", "nodad")
    network.ip(*add, "fd09::9", "peer", "fd09::a/128")
    network.ip(*add, "169.254.1.1/16", "scope", "link")
    network.ip(*add, "10.9.3.1/24", "valid_lft", "1000", "preferred_lft", "1000")
    before = json.loads(network.ip("-json", "addr", "show", "one"))[0]
    ask(container, one="data").create()
    after = seen(container, "addr", "show", "data")[0]
    expected = [each for each in addresses([before]) if each["local"] != "10.9.3.1"]
    for each in expected:
        if "label" in each:
            each["label"] = each["label"].replace("one", "data")
    order = {each["local"]: each for each in addresses([after])}
    assert order == {each["local"]: each for each in expected}
    assert (after["mtu"], after["address"]) == (1400, before["address"])
    assert "UP" in after["flags"]
    assert network.links() == ["lo", "two"]


@pytest.mark.rows("R155")
def test_without_a_name_it_keeps_its_own(container: Container, network: Network) -> None:
    ask(container, one="", two="").create()
    assert names(seen(container, "link")) == ["lo", "one", "two"]
    assert all("UP" in link["flags"] for link in seen(container, "link"))


@pytest.mark.rows("R155")
def test_a_template_lets_the_kernel_choose(container: Container, network: Network) -> None:
    network.ip("addr", "add", "10.9.0.1/24", "dev", "one")
    ask(container, one="eth%d", two="eth0").create()
    assert names(seen(container, "link")) == ["eth0", "eth1", "lo"]
    link = seen(container, "addr", "show", "eth1")[0]
    assert [each["label"] for each in addresses([link])] == ["eth1"]


@pytest.fixture
def joined(network: Network) -> Iterator[Network]:
    """A namespace to be joined by path, in which `taken` exists with the index of `one`."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    path = Path(f"/proc/{holder.pid}/ns/net")
    wait_for(lambda: str(path.readlink()) != own_network(), "a network namespace")
    other = Network(str(path))
    index = json.loads(network.ip("-json", "link", "show", "one"))[0]["ifindex"]
    other.ip("link", "add", "taken", "index", str(index), "type", "bridge")
    yield other
    holder.kill()
    holder.wait()


@pytest.mark.rows("R155")
@pytest.mark.parametrize("target", ["new", "taken%d", ""])
def test_a_joined_namespace_where_the_index_is_taken(
    target: str, container: Container, network: Network, joined: Network
) -> None:
    network.ip("addr", "add", "fd09::1/64", "dev", "one")
    ask(container, one=target)
    container.bundle.namespace("network", joined.path)
    container.create()
    name = {"taken%d": "taken0", "": "one"}.get(target, target)
    assert joined.links() == sorted(["lo", "taken", name])
    link = json.loads(joined.ip("-json", "addr", "show", name))
    assert [each["local"] for each in addresses(link)] == ["fd09::1"]
    container.delete("--force")
    assert name in joined.links()


@pytest.mark.rows("R155")
def test_a_name_that_exists_there_is_refused(
    container: Container, network: Network, joined: Network
) -> None:
    ask(container, two="", one="taken")
    container.bundle.namespace("network", joined.path)
    assert "linux.netDevices[one].name: taken" in container.refused()
    assert network.links() == ["lo", "one", "two"]


@pytest.mark.rows("R155")
@pytest.mark.parametrize("name", ["absent", "lo"])
def test_what_cannot_be_moved_is_refused(name: str, container: Container, network: Network) -> None:
    assert f"linux.netDevices[{name}]" in ask(container, two="", **{name: "x"}).refused()
    assert network.links() == ["lo", "one", "two"]


@pytest.mark.rows("R155")
def test_the_namespace_of_the_host_is_refused(container: Container, network: Network) -> None:
    ask(container, one="x").bundle.namespace("network", network.path)
    assert "the network namespace is the host's" in container.refused()
    assert "one" in network.links()


def missing_program(bundle: Bundle) -> None:
    bundle.args("/there/is/none")


def missing_mount(bundle: Bundle) -> None:
    bundle.mount("/data", "bind", "/there/is/none", ["bind"])


def failing_hook(bundle: Bundle) -> None:
    bundle.hook("createRuntime", "exit 1")


@pytest.mark.rows("R155", "R36")
@pytest.mark.parametrize(
    "spoil", [missing_program, missing_mount, failing_hook], ids=lambda spoil: spoil.__name__
)
def test_after_a_failed_create_the_host_has_it_again(
    spoil: Callable[[Bundle], None], container: Container, network: Network
) -> None:
    network.ip("addr", "add", "10.9.0.1/24", "dev", "one", "label", "one:first")
    network.ip("link", "set", "one", "up")
    spoil(ask(container, one="data", two="eth%d").bundle)
    container.refused()
    one = json.loads(network.ip("-json", "addr", "show", "one"))[0]
    assert [each["label"] for each in addresses([one])] == ["one:first"]
    assert "UP" in one["flags"]
    two = json.loads(network.ip("-json", "link", "show", "two"))[0]
    assert "UP" not in two["flags"]


@pytest.mark.rows("R155")
def test_a_user_namespace_gets_one_too(container: Container, network: Network) -> None:
    from tests.root.host import map_ids

    map_ids(ask(container, one="data").bundle)
    container.create()
    assert names(seen(container, "link")) == ["data", "lo"]


@pytest.mark.rows("R155")
@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("eth0", "data"),
        ("eth0:a", "data:a"),
        ("other", "data"),
        ("eth0:0123456789", "data:0123456789"),
    ],
)
def test_a_label_begins_with_the_new_name(label: str, expected: str) -> None:
    assert net_devices.relabel(label, "eth0", "data") == expected
