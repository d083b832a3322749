"""pyruntime plan: print what a create would do, without doing it and without root."""

from __future__ import annotations

import sys

from pyruntime import config as configs
from pyruntime import documents, home
from pyruntime.facts import Facts
from pyruntime.plan import compile as compiler
from pyruntime.plan import render
from pyruntime.plan.settings import Settings
from pyruntime.request import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.request import Request


def execute(request: Request) -> int:
    """One line for each operation, or a JSON array with --json."""
    arguments = request.arguments
    bundle = absolute(arguments[0] if arguments else request.options.get("bundle") or ".")
    config = request.options.get("config") or None
    plan = compiler.create(settings(bundle, config, request.systemd_cgroup))
    for warning in plan.warnings:
        request.log.warning(warning)
    if request.options.get("json"):
        sys.stdout.write(documents.dumps_indented(render.as_json(plan)) + "\n")
    else:
        sys.stdout.write("".join(line + "\n" for line in render.lines(plan)))
    return 0


def settings(bundle: str, config_path: str | None, systemd: bool = False) -> Settings:
    """The input of a compile as root on this host would have it."""
    from pyruntime.cgroups import layout

    document = configs.load(bundle, config_path).document
    result = Settings(document, Facts())
    result.bundle = bundle
    path = document["root"]["path"]
    result.rootfs = absolute(path if path.startswith("/") else bundle + "/" + path)
    result.home = home.directory(document, result.rootfs)
    roots = layout.detect().roots()
    below = below_root(document, result.identifier, systemd)
    result.cgroups = {name: (root, root + below) for name, root in roots.items()}
    if "" in roots and "devices" not in roots:
        from pyruntime.cgroups.devices import program

        result.device_program = program((result.linux.get("resources") or {}).get("devices"))
    return result


def below_root(document: dict[str, Any], identifier: str, systemd: bool) -> str:
    """The path of the container's cgroup; under systemd, below the cgroup of its manager."""
    from pyruntime.cgroups import paths

    if not systemd:
        return paths.cgroup_path(document, identifier)
    from pyruntime.cgroups.systemd import unit_path

    return unit_path(paths.systemd_unit(document, identifier))
