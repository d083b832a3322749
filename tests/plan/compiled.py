"""Compiling plans in tests: a fixed host, and rows that are easy to search."""

from __future__ import annotations

import copy
from typing import Any

from pyruntime.facts import Facts
from pyruntime.plan import compile as compiler
from pyruntime.plan import render
from pyruntime.plan.builder import Plan
from pyruntime.plan.settings import Settings
from pyruntime.seccomp.filter import Filter

V1 = ("cpu", "cpuset", "memory", "devices", "freezer", "pids", "name=systemd")
ROOT = "/sys/fs/cgroup"


class HostFacts(Facts):
    """A host that does not change from machine to machine; with or without LSMs."""

    __slots__ = ("has_apparmor", "has_selinux")

    def __init__(self, apparmor: bool = False, selinux: bool = False, **facts: Any) -> None:
        super().__init__(**facts)
        self.has_apparmor = apparmor
        self.has_selinux = selinux

    @property
    def selinux(self) -> bool:
        return self.has_selinux

    @property
    def apparmor(self) -> bool:
        return self.has_apparmor


def seccomp_filter(seccomp: dict[str, Any]) -> Filter:
    """Stands for the compiled profile: of a fixed length, whatever libseccomp is installed."""
    listener = "SCMP_ACT_NOTIFY" in str(seccomp)
    return Filter(bytes(24), 8 if listener else 4, listener, [], "")


def config(**sections: Any) -> dict[str, Any]:
    """A small config; `process` and `linux` are merged into those sections, others replace."""
    document: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "mounts": [],
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts", "cgroup")
            ]
        },
    }
    for name, section in sections.items():
        if name in ("process", "linux"):
            document[name].update(section)
        else:
            document[name] = section
    return document


def namespaces(*kinds: str, **paths: str) -> list[dict[str, str]]:
    """An array for linux.namespaces: new ones, and ones given by path."""
    given = [{"type": kind, "path": path} for kind, path in paths.items()]
    return [{"type": kind} for kind in kinds] + given


def settings(document: dict[str, Any], facts: Facts | None = None, **fields: Any) -> Settings:
    """Settings of a config on a fixed host with cgroup v1."""
    result = Settings(copy.deepcopy(document), facts or HostFacts())
    result.bundle, result.rootfs = "/bundle", "/bundle/rootfs"
    result.cgroups = {
        name: (f"{ROOT}/{name.removeprefix('name=')}", f"{ROOT}/{name.removeprefix('name=')}/c")
        for name in V1
    }
    if result.linux.get("seccomp"):
        result.seccomp = seccomp_filter(result.linux["seccomp"])
    for name, value in fields.items():
        setattr(result, name, value)
    return result


def plan(document: dict[str, Any], facts: Facts | None = None, **fields: Any) -> Plan:
    """The compiled plan of a config."""
    return compiler.create(settings(document, facts, **fields))


class Rows:
    """The operations of a plan, to be searched by name and arguments."""

    def __init__(self, compiled: Plan) -> None:
        self.rows = render.as_json(compiled)

    def indexes(self, operation: str, **arguments: Any) -> list[int]:
        """Where that operation stands with (at least) these arguments; `at` is one too."""
        at = arguments.pop("at", None)
        return [
            index
            for index, row in enumerate(self.rows)
            if row["operation"] == operation
            and (at is None or row["at"] == at)
            and all(row["arguments"].get(name) == value for name, value in arguments.items())
        ]

    def index(self, operation: str, **arguments: Any) -> int:
        """Where it stands; there must be exactly one."""
        found = self.indexes(operation, **arguments)
        assert len(found) == 1, (operation, arguments, found)
        return found[0]

    def has(self, operation: str, **arguments: Any) -> bool:
        """Is there such an operation?"""
        return bool(self.indexes(operation, **arguments))

    def arguments(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """All arguments of the one such operation."""
        found: dict[str, Any] = self.rows[self.index(operation, **arguments)]["arguments"]
        return found


def rows(document: dict[str, Any], facts: Facts | None = None, **fields: Any) -> Rows:
    """The rows of the plan of a config."""
    return Rows(plan(document, facts, **fields))
