"""Entering and making namespaces: what happens up to the clone, and around it (section 6)."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import AT_FDCWD, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings

SYNC_MAPS = 2
SYNC_CGROUP = 3
SYNC_HOOKS = 4
SYNC_READY = 5
SYNC_LISTENER = 6
SYNC_DIRECTORIES = 7
EPERM = 1
EACCES = 13
ENOENT = 2
EINVAL = 22
ENODEV = 19
EOPNOTSUPP = 95
ENOSYS = 38
EAFNOSUPPORT = 97

# Types that clone3 makes in one go. user comes before (it must own the others,
# R133), cgroup after the process has joined its cgroup, time takes offsets first.
IN_CLONE = ("pid", "network", "mount", "ipc", "uts")
# Those of them that change nothing for a process which opens files of the host.
EARLY = ("network", "ipc", "uts")


def open_given(plan: Plan, settings: Settings) -> None:
    """Open every namespace that is given by path, before any is joined (R131, R132)."""
    for index, each in enumerate(settings.linux.get("namespaces") or ()):
        if each.get("path"):
            plan.at = f".linux.namespaces[{index}].path"
            slot = plan.slot("namespace " + each["type"])
            plan.add(op.openat2(slot, AT_FDCWD, each["path"], c.O_RDONLY, 0, 0))


def join_given(plan: Plan, settings: Settings) -> None:
    """setns into each namespace given by path; the type is checked by the kernel.

    The host's root has every right on them now and may lose it by entering a
    user namespace, so that comes last; anybody else first needs its rights.
    """
    given = [kind for kind, path in settings.namespaces().items() if path]
    if "cgroup" in given and not _enters_late(settings):
        given.remove("cgroup")  # make_cgroup_namespace joins it
    given.sort(key=lambda kind: (kind == "user") == settings.facts.privileged)
    for kind in given:
        plan.at = _path_of(settings, kind)
        plan.add(op.setns(plan.slot("namespace " + kind), c.NAMESPACES[kind]))
        plan.close("namespace " + kind)


def make_early(plan: Plan, settings: Settings) -> None:
    """Make what takes longest, a network namespace, while the runtime makes the cgroups.

    Not with a user namespace, which must own them.
    """
    flags = sum(c.NAMESPACES[kind] for kind in _early(settings))
    if flags:
        plan.at = ".linux.namespaces"
        plan.add(op.unshare(flags))


def _early(settings: Settings) -> list[str]:
    if not settings.cgroups or "user" in settings.namespaces():
        return []
    return [kind for kind in EARLY if settings.is_new(kind)]


def make(plan: Plan, settings: Settings) -> None:
    """Make the new namespaces and become the container's first process."""
    plan.at = ".linux.namespaces"
    if settings.is_new("user"):
        _make_user_namespace(plan, settings)
    elif settings.namespaces().get("user"):
        become_root(plan, settings)
    if settings.is_new("time"):
        _make_time_namespace(plan, settings)
    plan.at = ".linux.namespaces"
    made = _early(settings)
    wanted = [kind for kind in IN_CLONE if settings.is_new(kind) and kind not in made]
    flags = sum(c.NAMESPACES[kind] for kind in wanted)
    plan.add(op.clone(flags | c.CLONE_PARENT, plan.slots.get("unified", -1)))
    plan.add(op.setsid())


def after_clone(plan: Plan, settings: Settings) -> None:
    """Loopback, session keyring and names: what needs only the namespaces."""
    if settings.is_new("network"):
        plan.at = ".linux.namespaces"
        plan.add(op.interface_up("lo"), (ENODEV, 0), (EAFNOSUPPORT, 0))
    join_keyring(plan, settings)
    for name, call in (("hostname", op.sethostname), ("domainname", op.setdomainname)):
        if settings.config.get(name):
            plan.at = "." + name
            plan.add(call(settings.config[name].encode()))


def join_keyring(plan: Plan, settings: Settings) -> None:
    """A session keyring of the container's own, with the label of its process (R73, R220).

    A kernel without keys, or a policy against them, is no fault.
    """
    if settings.no_new_keyring:
        return
    label = settings.process.get("selinuxLabel")
    if label and settings.facts.selinux:
        plan.at = ".process.selinuxLabel"
        _label_keys(plan, label.encode())
    plan.at = ".linux"
    plan.add(op.join_session_keyring("_ses." + settings.identifier), (ENOSYS, 0), (EPERM, 0))
    if label and settings.facts.selinux:
        plan.at = ".process.selinuxLabel"
        _label_keys(plan, b"\n")


def _label_keys(plan: Plan, label: bytes) -> None:
    """The label of keys to be made; what the policy has against it is told of the process."""
    path = "thread-self/attr/keycreate"
    new = op.write_file(plan.slot("proc"), path, label, c.IN_PROC)
    plan.add(new, (EINVAL, 0), (EACCES, 0))


def await_cgroups(plan: Plan, settings: Settings) -> None:
    """The runtime makes the directories while this process opens other things of the host."""
    if settings.cgroups:
        plan.at = ".linux.cgroupsPath"
        plan.add(op.sync(SYNC_DIRECTORIES, 0))


def open_cgroups(plan: Plan, settings: Settings) -> None:
    """Open what will be needed to enter the cgroup, with the caller's rights and view.

    A process that writes "0" to `tasks` moves itself, a single thread, which the
    kernel does in 0.02 ms; a pid written to `cgroup.procs` waits for a grace
    period of 5 to 15 ms. In v2 the child is born in its cgroup (CLONE_INTO_CGROUP),
    if that can be.
    """
    plan.at = ".linux.cgroupsPath"
    seen = set()
    for controller, (_, directory) in settings.cgroups.items():
        if controller and directory not in seen:
            seen.add(directory)
            slot = plan.slot("tasks " + controller)
            plan.add(op.openat2(slot, AT_FDCWD, directory + "/tasks", c.O_WRONLY, 0, 0))
        elif not controller and _enters_late(settings):
            slot = plan.slot("tasks unified")
            plan.add(op.openat2(slot, AT_FDCWD, directory + "/cgroup.procs", c.O_WRONLY, 0, 0))
        elif not controller:
            flags = c.O_PATH | c.O_DIRECTORY
            plan.add(op.openat2(plan.slot("unified"), AT_FDCWD, directory, flags, 0, 0))


def _enters_late(settings: Settings) -> bool:
    """A pids.limit of 0 lets nobody be born in a cgroup, but to move in is no birth (R187)."""
    pids = (settings.linux.get("resources") or {}).get("pids") or {}
    return "user" in settings.namespaces() or pids.get("limit") == 0


def limit_devices(plan: Plan, settings: Settings) -> None:
    """In v2 a program decides over devices (R170); it is in force before anybody enters.

    Without privileges there is no bpf(2), and then no mknod either.
    """
    if not settings.device_program:
        return
    plan.at = ".linux.resources.devices"
    slot, directory = plan.slot("device cgroup"), settings.cgroups[""][1]
    pardons = [] if settings.facts.privileged else [(EPERM, 0), (EACCES, 0)]
    flags = c.O_RDONLY | c.O_DIRECTORY
    plan.add(op.openat2(slot, AT_FDCWD, directory, flags, 0, 0))
    plan.add(op.bpf_attach_device(slot, settings.device_program), *pardons)
    plan.close("device cgroup")


def make_cgroup_namespace(plan: Plan, settings: Settings) -> None:
    """Wait until the limits are written, enter the cgroup, then make the namespace (R161, R301).

    The namespace shows where its maker is (R133) and a cgroup mount shows the
    namespace, so this comes before the first such mount, and not earlier: what
    the mounts take of the kernel's memory is not to be charged to the container.
    One given by path comes here as well: from inside it CLONE_INTO_CGROUP finds nothing
    that is outside of it (nsdelegate). The second call does nothing.
    """
    if plan.joined:
        return
    plan.joined = True
    plan.at = ".linux.cgroupsPath"
    plan.add(op.sync(SYNC_CGROUP, 0))
    enter_cgroups(plan)
    if settings.is_new("cgroup"):
        plan.at = _path_of(settings, "cgroup")
        plan.add(op.unshare(c.CLONE_NEWCGROUP))
    elif "namespace cgroup" in plan.slots:
        plan.at = _path_of(settings, "cgroup")
        plan.add(op.setns(plan.slot("namespace cgroup"), c.CLONE_NEWCGROUP))
        plan.close("namespace cgroup")


def enter_cgroups(plan: Plan) -> None:
    """Move this process into each v1 cgroup that `open_cgroups` has opened."""
    for name in [name for name in plan.slots if name.startswith("tasks ")]:
        plan.add(op.write_fd(plan.slot(name), b"0"))
        plan.close(name)


def become_root(plan: Plan, settings: Settings) -> None:
    """Be id 0 of the user namespace that was just entered; its maps exist by now.

    Where 0 is not mapped, be the first id that is: who has none cannot make files.
    """
    plan.add(op.setresgid(_least(settings, "gidMappings")))
    plan.add(op.setresuid(_least(settings, "uidMappings")))
    plan.add(op.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0))


def _least(settings: Settings, kind: str) -> int:
    return min((each["containerID"] for each in settings.linux.get(kind) or ()), default=0)


def _make_user_namespace(plan: Plan, settings: Settings) -> None:
    plan.at = ".linux.uidMappings"
    plan.add(op.unshare(c.CLONE_NEWUSER))
    if not settings.facts.privileged:  # only a dumpable process's maps are its owner's to write
        plan.add(op.prctl(c.PR_SET_DUMPABLE, 1, 0, 0, 0))
    plan.add(op.sync(SYNC_MAPS, 0))
    become_root(plan, settings)


def _make_time_namespace(plan: Plan, settings: Settings) -> None:
    """Offsets must be written before anybody enters, in one write (R137, time_namespaces(7))."""
    plan.at = _path_of(settings, "time")
    plan.add(op.unshare(c.CLONE_NEWTIME))
    offsets = settings.linux.get("timeOffsets")
    if offsets:
        plan.at = ".linux.timeOffsets"
        content = "".join(
            f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
            for clock, offset in offsets.items()
        )
        proc = plan.slot("proc")
        # A process that is not dumpable does not own its /proc; nobody is in here yet.
        plan.add(op.prctl(c.PR_SET_DUMPABLE, 1, 0, 0, 0))
        plan.add(op.write_file(proc, "self/timens_offsets", content.encode(), c.IN_PROC))
        plan.add(op.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0))


def _path_of(settings: Settings, kind: str) -> str:
    for index, each in enumerate(settings.linux.get("namespaces") or ()):
        if each["type"] == kind:
            return f".linux.namespaces[{index}]"
    return ".linux.namespaces"
