"""Devices in a cgroup of v2: the program in the kernel says what the rules say (R170).

A child of the test enters the container's cgroup and tries the container's nodes.
"""

from __future__ import annotations

import errno
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.conftest import cases
from conformance.runtime import Container
from conformance.test_devices import DENY_ALL, add, device
from conformance.unified import directory, mount_point, need

ALLOW_ALL = {"allow": True, "type": "a", "access": "rwm"}
# Numbers that no driver has: what the cgroup lets pass ends in ENXIO.
NODES = [("c", 240, 77), ("c", 240, 78), ("c", 241, 77), ("b", 240, 77), ("b", 241, 78)]
NUMBERS = [None, None, 240, 241], [None, None, 77, 78]

TRY = """
import json, os, stat, sys
place, root, nodes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
open(place + "/cgroup.procs", "w").write("0")
found = {}
def attempt(name, act, *args):
    try:
        act(*args)
        found[name] = 0
    except OSError as error:
        found[name] = error.errno
for kind, major, minor in nodes:
    path, name = f"{root}/dev/{kind}{major}.{minor}", f"{kind}{major}.{minor}"
    attempt(name + " r", os.open, path, os.O_RDONLY | os.O_NONBLOCK)
    attempt(name + " w", os.open, path, os.O_WRONLY | os.O_NONBLOCK)
    found[name + " F_OK"] = 0 if os.access(path, os.F_OK) else 1
    mode = stat.S_IFCHR if kind == "c" else stat.S_IFBLK
    attempt(name + " m", os.mknod, path + ".new", mode | 0o600, os.makedev(major, minor))
    os.unlink(path + ".new")
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def unified() -> Path:
    """Skip where the controllers are not on v2."""
    return mount_point()


def tried(container: Container, place: Path | None = None) -> dict[str, int]:
    """The errno (0: none) of each access, by node and letter, from within the cgroup."""
    words = [str(place or directory(container)), f"/proc/{container.pid}/root", json.dumps(NODES)]
    done = subprocess.run(
        [sys.executable, "-c", TRY, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def allowed(container: Container, place: Path | None = None) -> set[str]:
    """Which accesses to which nodes are let through."""
    found = tried(container, place)
    assert set(found.values()) <= {0, errno.EPERM, errno.ENXIO}, found
    return {name for name, number in found.items() if number != errno.EPERM}


def with_nodes(container: Container, rules: list[dict[str, Any]] | None) -> Container:
    """A created container with these rules, and the nodes in its /dev."""
    if rules is not None:
        container.bundle.resources["devices"] = rules
    for kind, major, minor in NODES:
        add(container.bundle, device(f"/dev/{kind}{major}.{minor}", kind, (major, minor)))
    return container.create()


def oracle(rules: list[dict[str, Any]]) -> set[str]:
    """The model: of one access to one device the last rule that is about it decides.

    Nodes may be made, and asked for, whatever the rules say.
    """
    result = set()
    for kind, major, minor in NODES:
        name = f"{kind}{major}.{minor}"
        result |= {f"{name} m", f"{name} F_OK"}
        for letter in "rw":
            verdict = False
            for rule in rules:
                numbers = rule.get("major") in (None, major) and rule.get("minor") in (None, minor)
                about = rule.get("type") == kind and letter in rule["access"] and numbers
                if rule.get("type", "a") == "a" or about:
                    verdict = rule["allow"]
            if verdict:
                result.add(f"{name} {letter}")
    return result


def random_rules(source: random.Random) -> list[dict[str, Any]]:
    """Rules of all kinds; after one with numbers only such that are not a part of it."""
    rules: list[dict[str, Any]] = [source.choice([DENY_ALL, DENY_ALL, ALLOW_ALL])]
    for _ in range(source.randrange(2, 7)):
        letters = "".join(source.sample("rwm", source.randrange(1, 4)))
        rule = {"allow": source.random() < 0.5, "type": source.choice("bcccb"), "access": letters}
        for name, numbers in zip(("major", "minor"), NUMBERS, strict=True):
            if (number := source.choice(numbers)) is not None:
                rule[name] = number
        rules.append(rule)
    return rules


@pytest.mark.rows("R170", "R153")
@pytest.mark.parametrize(
    "seed",
    cases(range(8), "runc", "R170: a wide denial leaves a narrower permission before it", [6]),
)
def test_random_rules(container: Container, seed: int) -> None:
    """What the kernel lets through is what the model says, for each access to each node."""
    source = random.Random(17000 + seed)
    for _ in range(50):
        rules = random_rules(source)
        container.bundle.linux.pop("devices", None)
        container.bundle.resources["devices"] = rules
        for kind, major, minor in NODES:
            add(container.bundle, device(f"/dev/{kind}{major}.{minor}", kind, (major, minor)))
        result = container.try_create()
        if result.status == 0:
            assert allowed(container) == oracle(rules), rules
            return
        assert "punch hole" in result.stderr, str(result)
    raise AssertionError("every list of rules was refused")


@pytest.mark.rows("R170", "R153")
@pytest.mark.parametrize("rules", [None, [], [DENY_ALL]], ids=["unset", "empty", "deny"])
@pytest.mark.departs("crun", "R170: nothing is denied unless a rule says so")
def test_nothing_is_allowed_at_first(container: Container, rules: Any) -> None:
    with_nodes(container, rules)
    assert allowed(container) == oracle([])


@pytest.mark.rows("R170", "R294")
def test_an_update_leaves_the_devices(container: Container) -> None:
    """A document about other things, and one that would change the rules."""
    need("pids")
    rule = {"allow": True, "type": "c", "major": 240, "minor": 77, "access": "r"}
    with_nodes(container, [DENY_ALL, rule])
    before = allowed(container)
    assert before == oracle([DENY_ALL, rule])
    for document in ({"pids": {"limit": 50}}, {"devices": [], "pids": {"limit": 60}}):
        container.runtime.ok("update", "-r", "-", container.id, stdin=json.dumps(document))
        assert allowed(container) == before
    assert (directory(container) / "pids.max").read_text() == "60\n"


@pytest.mark.rows("R170", "R291")
def test_groups_below_are_bound_as_well(container: Container) -> None:
    rule = {"allow": True, "type": "b", "major": 240, "access": "rw"}
    with_nodes(container, [DENY_ALL, rule])
    below = directory(container) / "below"
    below.mkdir()
    assert allowed(container, below) == allowed(container) == oracle([DENY_ALL, rule])


@pytest.mark.rows("R170")
def test_there_is_one_program(container: Container) -> None:
    """Not one more for each attempt, and none on the parent."""
    with_nodes(container, [DENY_ALL])
    try:
        shown = subprocess.run(
            ["bpftool", "cgroup", "show", str(directory(container)), "-j"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("bpftool is not installed")
    assert shown.returncode == 0, shown.stderr
    kinds = [program["attach_type"] for program in json.loads(shown.stdout or "[]")]
    assert kinds in (["cgroup_device"], ["device"])
