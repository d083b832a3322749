"""The systemd cgroup driver: the container's cgroup is that of a transient unit (R160, R161).

systemd makes the cgroup around a process that is there already: the init, which waits before
it clones the container's first process. Where the cgroup will be is known beforehand, so all
else, from the plan to `delete`, works on directories as it does without systemd; this class
adds what systemd must be told. The limits are told it as properties and then written into the
files too, exactly, and with those that systemd does not know.

What needs the bus is imported where it is used: kill, state and exec do without.
"""

from __future__ import annotations

import posix

from pyruntime.cgroups.directory import failed, make
from pyruntime.cgroups.manager import Cgroup
from pyruntime.cgroups.paths import Unit, slice_path, systemd_unit
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyruntime.cgroups.bus import Bus
    from pyruntime.cgroups.layout import Layout
    from pyruntime.cgroups.properties import Property
    from pyruntime.facts import Facts

    Resources = dict[str, Any]

# Controllers of v2 that systemd enables by itself, for the properties that it is given.
_SYSTEMD_ENABLES = {"", "cpu", "cpuset", "io", "memory", "pids"}


class UnitCgroup(Cgroup):
    """The cgroup of a unit. `first` is the process to make it around, to be set before `create`.

    `name` is the unit's, `user` whether the user's own manager has it, `started` whether we
    have asked for it.
    """

    __slots__ = (
        "annotations", "bus", "first", "identifier", "late", "name", "root", "slice", "started",
        "user",
    )  # fmt: skip

    name: str
    root: str
    user: bool

    @classmethod
    def of_config(
        cls, layout: Layout, config: dict[str, Any], identifier: str, facts: Facts, root: str
    ) -> UnitCgroup:
        """The cgroup that a new container will have.

        `root` is the runtime's own directory. Raises CgroupError, ConfigError.
        """
        from pyruntime.cgroups import bus, properties

        user = of_user(facts)
        unit = systemd_unit(config, identifier, user)
        annotations = properties.of_annotations(config.get("annotations"))
        connection = bus.connect(user)
        try:
            base = str(connection.get("ControlGroup")).rstrip("/")
            cgroup = cls(seen_by(layout, user), base + unit_path(unit))
        except BaseException:
            connection.close()
            raise
        cgroup._set(unit.name, user, connection)
        cgroup.slice = unit.slice
        cgroup.identifier = identifier
        cgroup.annotations = annotations
        cgroup.root = root
        return cgroup

    @classmethod
    def of_values(cls, values: dict[str, Any], root: str) -> UnitCgroup:
        """The cgroup of a container that exists, from what state.json holds."""
        cgroup = cls.from_paths(values["cgroup_paths"], values.get("cgroup_made"))
        assert isinstance(cgroup, cls)
        cgroup._set(values["unit"], bool(values.get("unit_user")), None)
        cgroup.root = root
        # Directories that were there before the container are somebody else's, unit and all.
        cgroup.started = bool(cgroup.made)
        return cgroup

    def _set(self, name: str, user: bool, bus: Bus | None) -> None:
        self.name = name
        self.user = user
        self.bus = bus
        self.started = False
        self.first = 0
        self.late: Resources = {}
        self.slice = ""
        self.identifier = ""
        self.annotations: list[Property] = []

    def values(self) -> dict[str, Any]:
        """What of the unit is to be kept in state.json."""
        return {"unit": self.name, **({"unit_user": True} if self.user else {})}

    def close(self) -> None:
        """Close directories and the connection; both open again when needed."""
        super().close()
        if self.bus is not None:
            self.bus.close()
            self.bus = None

    def _connected(self) -> Bus:
        if self.bus is None:
            from pyruntime.cgroups import bus

            self.bus = bus.connect(self.user)
        return self.bus

    # Making

    def create(self, resources: Resources | None = None) -> None:
        """Let systemd make the unit around `first`, then what it has not made.

        On an error the unit is stopped and what was made is removed.
        """
        from pyruntime.cgroups import creation

        for directory in self.each():
            creation.check_empty(directory)
        try:
            self._start(resources or {})
            self._make_rest(resources or {})
        except CgroupError:
            self.undo()
            raise

    def _start(self, resources: Resources) -> None:
        from pyruntime.cgroups import bus, properties, units

        base = properties.of_unit(Unit(self.slice, self.name), self.identifier, self.first)
        wanted = properties.combined(base, self.annotations, self._limits(resources))
        connection = self._connected()
        self.started = True  # also if systemd's answer does not come
        try:
            units.start(connection, self.name, wanted, self.root)
        except units.UnitExists:
            self.started = False
            if not self.name.endswith(".slice"):
                raise
        except bus.Refused:
            self.started = False
            raise
        self._check_place(units.control_group(connection, self.name))

    def _limits(self, resources: Resources) -> list[Property]:
        """The limits as properties, but for those that only the first process can bear."""
        from pyruntime.cgroups import conversions, devices, limits, properties

        now, self.late = _postponed(resources)
        version = limits.Limits(self).version
        found = properties.of_writes(conversions.writes(now, version))
        if "devices" in self.directories:
            found += properties.of_devices(devices.access(resources.get("devices")))
        return found

    def _check_place(self, path: str) -> None:
        """Raises CgroupError if systemd has made the cgroup elsewhere than the plan says."""
        for name, root in self.roots.items():
            expected = self.directories[name].path
            if root.rstrip("/") + path != expected:
                raise CgroupError(
                    f"systemd: unit {self.name} has its cgroup at {path}, not at {expected}"
                )

    def _make_rest(self, resources: Resources) -> None:
        """Hierarchies of v1 that systemd leaves alone, and controllers of v2 that are not its."""
        from pyruntime.cgroups import creation

        for directory in self.each():
            names = [name for name, one in self.directories.items() if one is directory]
            root = self.roots[names[0]]
            try:
                make(root, directory.path, self.new)
                if self.started:
                    self.made.append(directory.path)
                if "cpuset" in names:
                    creation.fill_cpuset(root, directory.path)
                if "" in names:
                    foreign = creation.needed(resources) - _SYSTEMD_ENABLES
                    creation.enable(root, directory.path, foreign, foreign)
            except OSError as error:
                raise failed("", f"make cgroup {directory.path}", error) from error
        creation.check_thawed(self)

    def apply(self, resources: Resources | None) -> None:
        """Write the limits into the files, where they are exact."""
        super().apply(_postponed(resources or {})[0])

    def settle(self) -> None:
        """The first process is alone in the cgroup: set what would have kept it from being born.

        That is the last that systemd is asked, so the connection is closed: nobody would read
        what comes through it while the container runs.
        """
        from pyruntime.cgroups import conversions, limits

        if self.late:
            written = limits.Limits(self)
            self._tell(self.late)
            written.write_all(conversions.writes(self.late, written.version))
            self.late = {}
        self.close()

    def _tell(self, resources: Resources) -> list[Property]:
        """Tell systemd of limits, and return what it had instead."""
        from pyruntime.cgroups import conversions, limits, properties, units

        version = limits.Limits(self).version
        wanted = properties.of_writes(conversions.writes(resources, version))
        bus = self._connected()
        before = units.values(bus, self.name, wanted)
        units.change(bus, self.name, wanted, self.root)
        return before

    # Entering

    def attach(self, pid: int) -> None:
        """Let systemd move a process into the unit. Raises Refused, Unreachable."""
        self._connected().call("AttachProcessesToUnit", "ssau", (self.name, "/", [pid]))
        self.close()

    # Changing

    def update(
        self,
        old: Resources | None,
        new: Resources | None,
        keep: Callable[[Resources], None] | None = None,
    ) -> Resources:
        """Change files and unit, both or neither; as Cgroup.update.

        Files first, for the kernel says no and systemd only notes it; then the unit, whose
        values systemd writes into the same files, rounded as it keeps them; then the files
        again, for the exact ones.
        """
        from pyruntime.cgroups import conversions, limits

        merged = conversions.merge(old, new)
        changed = conversions.changed(merged, new or {})
        written = limits.Limits(self)
        writes = conversions.writes(changed, written.version)
        written.check_usage(changed)
        written.undo = []
        before: list[Property] = []
        try:
            written.write_all(writes)
            before = self._tell(changed)
            limits.Limits(self).write_all(writes)
            if keep is not None:
                keep(merged)
        except BaseException:
            self._tell_again(before)
            written.put_back()
            raise
        finally:
            self.close()
        return merged

    def _tell_again(self, before: list[Property]) -> None:
        from pyruntime.cgroups import units

        if before:
            try:
                units.change(self._connected(), self.name, before, self.root)
            except CgroupError:
                pass  # an earlier error is the one to tell

    # Removing

    def delete(self) -> None:
        """Stop the unit, let systemd forget it, and remove what is left of the directories.

        Where systemd cannot be reached any more the directories go all the same: it forgets
        a unit whose processes are gone.
        """
        if self.started:
            self._stop()
            self.started = False
        super().delete()

    def _stop(self) -> None:
        from pyruntime.cgroups import bus, units

        try:
            units.stop(self._connected(), self.name)
        except (bus.Unreachable, bus.Refused):
            pass


def of_user(facts: Facts) -> bool:
    """Whether the user's own manager is meant: for all but root.

    The root of a user namespace is its owner, unless a whole system was set up there, as
    USER=root tells (default_root in request.py goes by the same sign).
    """
    if facts.euid != 0:
        return True
    return facts.in_user_namespace and posix.environ.get(b"USER") != b"root"


def may_enter(directory: str) -> bool:
    """Whether the kernel lets this process into a cgroup of v2.

    That takes the right to write cgroup.procs of the cgroup that both are below. A user has
    it among what her own manager runs, not in a session of the system's.
    """
    from pyruntime.cgroups import layout

    _, own = layout.own_directories(layout.detect()).get("", ("", ""))
    common = ""
    for here, there in zip(own.split("/")[1:], directory.split("/")[1:], strict=False):
        if here != there:
            break
        common += "/" + here
    return posix.access(common + "/cgroup.procs", posix.W_OK)


def unit_path(unit: Unit) -> str:
    """The unit's cgroup below that of its manager."""
    if unit.name.endswith(".slice"):
        return slice_path(unit.name)
    return slice_path(unit.slice).rstrip("/") + "/" + unit.name


def seen_by(layout: Layout, user: bool) -> Layout:
    """A user's manager has only version 2 to give. Raises CgroupError without one."""
    if not user:
        return layout
    if layout.v2 is None:
        raise CgroupError("cgroup manager systemd: without privileges it needs cgroup v2")
    return type(layout)({}, layout.v2)


def _postponed(resources: Resources) -> tuple[Resources, Resources]:
    """(what to set at once, what to set later).

    The init that clones the first process is in the unit too, for a moment: a limit of
    fewer than two tasks comes when it has left.
    """
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None or not 0 <= limit < 2:
        return resources, {}
    rest = {name: value for name, value in resources.items() if name != "pids"}
    return rest, {"pids": resources["pids"]}
