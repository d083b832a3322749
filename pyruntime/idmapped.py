"""User namespaces for idmapped mounts (R95, R116): made for their maps alone."""

from __future__ import annotations

import posix

from pyruntime import id_maps
from pyruntime.init_process import InitProcess
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan
from pyruntime.plan.mounts import idmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.facts import Facts
    from pyruntime.plan.settings import Settings

SYNC_MAPS = 2
SYNC_HOLD = 3


def open_all(settings: Settings) -> dict[str, int]:
    """A descriptor of a user namespace for each idmapped mount, as `idmap INDEX`.

    Mounts with the same maps share one namespace.
    """
    made: dict[str, int] = {}
    result = {}
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        if not idmapped(mount):
            continue
        joined = settings.namespaces().get("user")
        maps = mount if mount.get("uidMappings") else settings.linux
        key = joined if maps is settings.linux and joined else _key(maps)
        if key not in made:
            made[key] = _open(key) if key == joined else make_namespace(maps, settings.facts)
        result[f"idmap {index}"] = posix.dup(made[key])
    for descriptor in made.values():
        posix.close(descriptor)
    return result


def _key(maps: dict[str, Any]) -> str:
    return "\0".join(id_maps.text(maps.get(kind) or []) for kind in ("uidMappings", "gidMappings"))


def _open(path: str) -> int:
    return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)


def make_namespace(maps: dict[str, Any], facts: Facts) -> int:
    """A user namespace with those maps. A throw-away process makes it; the descriptor keeps it."""
    plan = Plan()
    plan.at = ".mounts"
    plan.add(op.unshare(c.CLONE_NEWUSER))
    plan.add(op.sync(SYNC_MAPS, 0))
    plan.add(op.sync(SYNC_HOLD, 0))
    init = InitProcess(plan)
    init.spawn([])
    try:
        for kind in (SYNC_MAPS, SYNC_HOLD):
            if init.receive_before_clone() != kind:
                raise init.failure()
            if kind == SYNC_MAPS:
                id_maps.write(init.outer, maps, facts)
                init.answer()
        return _open(f"/proc/{init.outer}/ns/user")
    finally:
        init.kill()
        init.close()
