"""mounts[] (requirements R90 to R122): by descriptor, attributes set before a mount is visible."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import mount_options, rootfs
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, change, mount_attr, propagate
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.cgroup_mounts import mount_cgroup
from pyruntime.plan.mount_options import MountOptions
from pyruntime.plan.namespaces import make_cgroup_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.operation import Operation
    from pyruntime.plan.settings import Settings

ENOENT = 2
EPERM = 1
EBUSY = 16
EINVAL = 22
DIRECTORY_MODE = 0o755
NO_LABEL = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts")
# Their mount points must be what they seem: an image may not send them elsewhere (CVE-2019-19921).
STRICT_TYPES = ("proc", "sysfs")


def destination(mount: dict[str, Any]) -> str:
    """The path below the root, without '/' at either end and without '.' or '..' (R91)."""
    parts: list[str] = []
    for part in mount["destination"].split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def options_of(settings: Settings, index: int, mount: dict[str, Any]) -> MountOptions:
    """The options of a mount, which three steps ask for, sorted out once."""
    found = settings.mount_options.get(index)
    if found is None:
        found = mount_options.parse(mount.get("options") or [])
        settings.mount_options[index] = found
    return found


def open_sources(plan: Plan, settings: Settings, all_of_them: bool = False) -> None:
    """Clone the sources of bind mounts that cannot be had later as they are now (R92).

    Most wait for their turn: the kernel lists mounts in the order in which they are
    made, and a source may lie on an earlier mount (R90). For a container that runs
    already `all_of_them` are opened: nothing of the host can be reached from inside.
    """
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        options = options_of(settings, index, mount)
        if options.remount or not options.bind:
            continue
        if all_of_them or not _is_late(settings, mount):
            plan.at = f".mounts[{index}]"
            open_source(plan, settings, mount, options, f"mount {index}")


def mount_all(plan: Plan, settings: Settings) -> None:
    """Every mount in the order of the config."""
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        plan.at = f".mounts[{index}]"
        options = options_of(settings, index, mount)
        if options.tmpcopyup:  # what an image holds is for the container's memory limit to bear
            make_cgroup_namespace(plan, settings)
            plan.at = f".mounts[{index}]"
        if options.remount:
            _remount(plan, mount, options)
        elif options.bind:
            _bind(plan, settings, index, mount, options)
        elif mount.get("type") in ("cgroup", "cgroup2"):
            make_cgroup_namespace(plan, settings)
            plan.at = f".mounts[{index}]"
            mount_cgroup(plan, settings, destination(mount), options)
        else:
            _new(plan, settings, index, mount, options)
    plan.at = ".mounts"


def finish(plan: Plan, settings: Settings) -> None:
    """Make read-only what had to stay writable while it was being filled (R105)."""
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        options = options_of(settings, index, mount)
        if _is_deferred(mount, options):
            plan.at = f".mounts[{index}]"
            target = plan.slot("target")
            path = destination(mount)
            plan.add(op.openat2(target, plan.slot("root"), path, c.O_PATH, 0, c.IN_ROOT))
            plan.add(change(target, c.MOUNT_ATTR_RDONLY, 0))


def idmapped(mount: dict[str, Any]) -> bool:
    """Is the mount to show other owners than its file system has (R95, R116)?"""
    options = mount.get("options") or ()
    return bool(mount.get("uidMappings")) or "idmap" in options or "ridmap" in options


def _map_owners(plan: Plan, slot: int, at: str, options: MountOptions) -> None:
    """Only a mount that nobody has seen yet takes another mapping (mount_setattr(2))."""
    namespace = plan.slots.get(at.replace("mount", "idmap"))
    if namespace is not None:
        flags = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if options.idmap == "ridmap" else 0)
        plan.add(op.mount_setattr(slot, "", flags, mount_attr(c.MOUNT_ATTR_IDMAP), namespace))


def source_path(settings: Settings, mount: dict[str, Any]) -> str:
    """The source of a bind mount as an absolute path; relative ones count from the bundle."""
    source: str = mount.get("source") or ""
    return source if source.startswith("/") else settings.bundle + "/" + source


def _is_late(settings: Settings, mount: dict[str, Any]) -> bool:
    inside = (source_path(settings, mount) + "/").startswith(settings.rootfs + "/")
    return inside or not settings.facts.privileged or not _needs_the_host(settings)


def _needs_the_host(settings: Settings) -> bool:
    """Are the caller's view, rights or propagation lost in the container's namespaces?"""
    namespaces = settings.namespaces()
    shared = (settings.linux.get("rootfsPropagation") or "").endswith("shared")
    return "user" in namespaces or bool(namespaces.get("mount")) or shared


def _is_deferred(mount: dict[str, Any], options: MountOptions) -> bool:
    if not options.set & c.MOUNT_ATTR_RDONLY or options.remount:
        return False
    return destination(mount) == "dev" or (mount.get("type") == "tmpfs" and not options.bind)


def open_source(
    plan: Plan, settings: Settings, mount: dict[str, Any], options: MountOptions, name: str
) -> None:
    flags = c.OPEN_TREE_CLONE | (c.AT_RECURSIVE if options.recursive_bind else 0)
    slot = plan.slot(name)
    plan.add(op.open_tree(slot, AT_FDCWD, source_path(settings, mount), flags))
    base = {"shared": 0, "private": c.MS_PRIVATE}.get(
        (settings.linux.get("rootfsPropagation") or "").removeprefix("r"), c.MS_SLAVE
    )
    if base and rootfs.has_mount_namespace(settings):  # shared: stay a peer of the host's (R214)
        plan.add(propagate(slot, base, True))
    _map_owners(plan, slot, name, options)
    _set_attributes(plan, slot, mount, options)


def _set_attributes(plan: Plan, slot: int, mount: dict[str, Any], options: MountOptions) -> None:
    add = options.set
    if _is_deferred(mount, options):
        add &= ~c.MOUNT_ATTR_RDONLY
    if add or options.clear:
        plan.add(change(slot, add, options.clear))
    _set_recursive(plan, slot, options)


def _set_recursive(plan: Plan, slot: int, options: MountOptions) -> None:
    if options.recursive_set or options.recursive_clear:
        plan.add(change(slot, options.recursive_set, options.recursive_clear, True))


def _bind(
    plan: Plan, settings: Settings, index: int, mount: dict[str, Any], options: MountOptions
) -> None:
    name = f"mount {index}"
    if name not in plan.slots:
        open_source(plan, settings, mount, options, name)
    slot, path = plan.slot(name), destination(mount)
    if path == "proc":  # a directory that only looks like procfs would take our writes (2019-16884)
        plan.add(op.expect_filesystem(slot, c.PROC_SUPER_MAGIC))
    _attach(plan, slot, path, options, slot)
    plan.close(name)


def _attach(plan: Plan, slot: int, path: str, options: MountOptions, like: int) -> None:
    target = plan.slot("target")
    plan.add(op.make_path(target, plan.slot("root"), path, DIRECTORY_MODE, like))
    plan.add(attach(slot, target))
    propagate_as(plan, slot, options)


def propagate_as(plan: Plan, slot: int, options: MountOptions) -> None:
    for kind, recursive in options.propagation:
        plan.add(propagate(slot, kind, recursive))


def _remount(plan: Plan, mount: dict[str, Any], options: MountOptions) -> None:
    """Change the attributes that are named, leave the others (R108)."""
    target = plan.slot("target")
    plan.add(op.openat2(target, plan.slot("root"), destination(mount), c.O_PATH, 0, c.IN_ROOT))
    if options.set or options.clear:
        plan.add(change(target, options.set, options.clear))
    _set_recursive(plan, target, options)
    propagate_as(plan, target, options)


def _new(
    plan: Plan, settings: Settings, index: int, mount: dict[str, Any], options: MountOptions
) -> None:
    """A new instance of a file system."""
    type_: str = mount.get("type") or ""
    context, slot = plan.slot("context"), plan.slot("new mount")
    _open_point(plan, type_, destination(mount))
    make = [op.fsopen(context, type_), *_configure(context, settings, mount, options)]
    if type_ == "tmpfs" and not any(key == "mode" for key, _ in options.data):
        make.append(op.copy_mode(context, plan.slot("point")))
    make.append(op.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0))
    attributes = options.set & ~(c.MOUNT_ATTR_RDONLY if _is_deferred(mount, options) else 0)
    make.append(op.fsmount(slot, context, attributes))
    if type_ in STRICT_TYPES and "user" in settings.namespaces():
        plan.either((EPERM, EBUSY), make, _host_instance(plan, slot, type_, attributes))
    else:
        for operation in make:
            plan.add(operation)
    _map_owners(plan, slot, f"mount {index}", options)
    _set_recursive(plan, slot, options)
    plan.add(attach(slot, plan.slot("point")))
    if options.tmpcopyup:
        _copy_up(plan, slot)
    propagate_as(plan, slot, options)
    plan.close("new mount")


def _copy_up(plan: Plan, slot: int) -> None:
    """Copy what the mount covers, through a view of it in which no device can be opened.

    Whoever shares the directory might exchange a file for a device meanwhile.
    """
    source = plan.slot("copy")
    flags = c.OPEN_TREE_CLONE | c.AT_EMPTY_PATH
    plan.add(op.open_tree(source, plan.slot("point"), "", flags))
    plan.add(change(source, c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_RDONLY, 0))
    plan.add(op.copy_tree(source, slot))
    plan.close("copy")


def _open_point(plan: Plan, type_: str, path: str) -> None:
    """Open or make the mount point."""
    point, root = plan.slot("point"), plan.slot("root")
    make = op.make_path(point, root, path, DIRECTORY_MODE, -1)
    if type_ in STRICT_TYPES:
        strict = c.IN_ROOT | c.RESOLVE_NO_SYMLINKS
        plan.either(
            (ENOENT,), [op.openat2(point, root, path, c.O_PATH | c.O_DIRECTORY, 0, strict)], [make]
        )
    else:
        plan.add(make)


def _configure(
    context: int, settings: Settings, mount: dict[str, Any], options: MountOptions
) -> list[Operation]:
    """fsconfig calls: source, flags of the superblock, data, SELinux context (R217)."""
    source = mount.get("source") or mount["type"]
    calls = [op.fsconfig(context, c.FSCONFIG_SET_STRING, "source", source, 0)]
    for flag in options.superblock.values():
        if flag not in ("iversion", "noiversion"):  # no file system takes them by this name (R109)
            calls.append(op.fsconfig(context, c.FSCONFIG_SET_FLAG, flag, None, 0))
    for key, value in options.data:
        if not _unmappable(settings, key, value):
            command = c.FSCONFIG_SET_FLAG if value is None else c.FSCONFIG_SET_STRING
            calls.append(op.fsconfig(context, command, key, value, 0))
    label = settings.linux.get("mountLabel")
    if label and mount["type"] not in NO_LABEL and settings.facts.selinux:
        from pyruntime import annotation_rules

        kind = annotation_rules.context_type(settings.config)
        calls.append(op.fsconfig(context, c.FSCONFIG_SET_STRING, kind, label, 0))
    return calls


def _unmappable(settings: Settings, key: str, value: str | None) -> bool:
    """devpts asks for gid=5 as a matter of course; a user namespace may not have it."""
    if key != "gid" or not (value or "").isdigit() or not settings.is_new("user"):
        return False
    return not settings.maps("gidMappings", int(value or 0))


def _host_instance(plan: Plan, slot: int, type_: str, attributes: int) -> list[Operation]:
    """In a user namespace that does not own the network: the host's /sys, as crun does (R121)."""
    path = {"sysfs": "/sys", "proc": "/proc"}[type_]
    return [
        op.open_tree(slot, AT_FDCWD, path, c.OPEN_TREE_CLONE | c.AT_RECURSIVE),
        change(slot, attributes, 0),
    ]
