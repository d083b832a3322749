"""The systemd driver against a systemd of ours: the order of calls, and every way to fail."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyruntime.cgroups import bus as buses
from pyruntime.cgroups import units
from pyruntime.cgroups.bus import Bus, Refused, Unreachable
from pyruntime.cgroups.layout import Layout
from pyruntime.cgroups.paths import Unit
from pyruntime.cgroups.systemd import UnitCgroup, may_enter, of_user, seen_by, unit_path
from pyruntime.errors import CgroupError, ConfigError
from pyruntime.facts import Facts
from tests.cgroups.fake_systemd import UNIT_EXISTS, FakeSystemd, Properties

NAME = "pyruntime-x.scope"


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def fake(short: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    """The fake, which the driver takes for the system's bus."""
    pytest.importorskip("jeepney")
    with FakeSystemd(short / "bus") as systemd:
        address = f"unix:path={systemd.path},guid=1"
        monkeypatch.setattr("posix.environ", {b"DBUS_SYSTEM_BUS_ADDRESS": address.encode()})
        yield systemd


class Host:
    """A directory that stands for cgroup v2, where the fake makes the units' directories."""

    def __init__(self, root: Path, fake: FakeSystemd) -> None:
        self.root = root
        self.layout = Layout({}, str(root))
        (root / "system.slice").mkdir(parents=True)
        fake.on_start = self.make
        fake.on_stop = self.remove

    def make(self, name: str, properties: Properties) -> None:
        directory = self.directory(name)
        directory.mkdir()
        for file in ("memory.max", "pids.max", "cpu.max", "cgroup.controllers", "cgroup.procs"):
            (directory / file).write_text("")

    def remove(self, name: str) -> None:
        shutil.rmtree(self.directory(name), ignore_errors=True)

    def directory(self, name: str = NAME) -> Path:
        return self.root / "system.slice" / name

    def cgroup(self, state: Path, **config: Any) -> UnitCgroup:
        state.mkdir(exist_ok=True)
        found = UnitCgroup.of_config(self.layout, config, "x", Facts(), str(state))
        found.first = 7
        return found


@pytest.fixture
def host(short: Path, fake: FakeSystemd) -> Host:
    return Host(short / "cgroup", fake)


@pytest.fixture
def state(short: Path) -> Path:
    return short / "state"


def resources(**members: Any) -> dict[str, Any]:
    return members


# Starting


@pytest.mark.rows("R160", "R161")
@pytest.mark.parametrize("signal_first", [False, True])
def test_a_unit_is_made_around_the_process(
    fake: FakeSystemd, host: Host, state: Path, signal_first: bool
) -> None:
    fake.signal_first = signal_first
    cgroup = host.cgroup(state, linux={"cgroupsPath": ":pyruntime:x"})
    assert fake.members() == ["Get"]  # where it will be is known before anything is made
    assert cgroup.paths() == {"": str(host.directory())}
    cgroup.create(resources(memory={"limit": 1 << 30}))
    assert fake.members() == ["Get", "StartTransientUnit", "Get"]
    made = fake.units[NAME]
    assert made["PIDs"] == ("au", [7])
    assert made["Slice"] == ("s", "system.slice")
    assert made["MemoryMax"] == ("t", 1 << 30)
    assert made["Delegate"] == ("b", True)
    assert cgroup.made == [str(host.directory())]
    assert cgroup.values() == {"unit": NAME}


@pytest.mark.rows("R252")
def test_annotations_reach_the_unit_and_resources_come_before_them(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    annotations = {
        "org.systemd.property.TimeoutStopSec": "5",
        "org.systemd.property.MemoryMax": "uint64 1",
        "org.systemd.property.CollectMode": "'inactive'",
    }
    cgroup = host.cgroup(state, annotations=annotations)
    cgroup.create(resources(memory={"limit": 1 << 30}))
    made = fake.units[NAME]
    assert made["TimeoutStopUSec"] == ("t", 5000000)
    assert made["MemoryMax"] == ("t", 1 << 30)  # the file has that, too
    assert made["CollectMode"] == ("s", "inactive")


@pytest.mark.rows("R160")
@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency"])
def test_a_job_that_fails(fake: FakeSystemd, host: Host, state: Path, result: str) -> None:
    fake.result = result
    cgroup = host.cgroup(state)
    with pytest.raises(CgroupError, match=rf"start of unit {NAME}: {result} \(`systemctl"):
        cgroup.create()
    assert fake.members()[-2:] == ["StopUnit", "ResetFailedUnit"]
    assert fake.units == {}


@pytest.mark.rows("R160")
def test_a_job_that_never_ends(
    fake: FakeSystemd, host: Host, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "PATIENCE", 0.2)
    fake.result = None
    cgroup = host.cgroup(state)
    with pytest.raises(Unreachable, match=r"systemd did not finish the job in 0\.2 seconds"):
        cgroup.create()
    assert "StopUnit" in fake.members()


@pytest.mark.rows("R160")
def test_no_answer(
    fake: FakeSystemd, host: Host, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "PATIENCE", 0.2)
    fake.silent.add("StartTransientUnit")
    with pytest.raises(Unreachable, match="systemd did not answer StartTransientUnit"):
        host.cgroup(state).create()


@pytest.mark.rows("R160", "R163")
def test_a_unit_that_somebody_has_is_left_alone(fake: FakeSystemd, host: Host, state: Path) -> None:
    fake.units[NAME] = {}
    cgroup = host.cgroup(state)
    with pytest.raises(CgroupError, match=f"unit {NAME} exists already: another container"):
        cgroup.create()
    cgroup.undo()
    assert "StopUnit" not in fake.members()
    assert NAME in fake.units


@pytest.mark.rows("R160")
def test_a_unit_that_failed_is_forgotten_first(fake: FakeSystemd, host: Host, state: Path) -> None:
    fake.refuse["StartTransientUnit"] = [(UNIT_EXISTS, "exists")]
    host.cgroup(state).create()
    assert fake.members() == [
        "Get", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit", "Get",
    ]  # fmt: skip


@pytest.mark.rows("R163")
def test_a_cgroup_with_processes_is_refused_before_systemd_is_asked(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    host.directory().mkdir()
    (host.directory() / "cgroup.procs").write_text("12\n13\n")
    with pytest.raises(CgroupError, match="is not empty: processes 12 13"):
        host.cgroup(state).create()
    assert "StartTransientUnit" not in fake.members()


@pytest.mark.rows("R160")
def test_a_cgroup_elsewhere_is_refused(fake: FakeSystemd, host: Host, state: Path) -> None:
    cgroup = host.cgroup(state)
    fake.control_group = "/elsewhere"
    with pytest.raises(CgroupError, match=r"has its cgroup at /elsewhere/system\.slice"):
        cgroup.create()
    assert fake.units == {}


# Properties that this systemd does not know


@pytest.mark.rows("R252")
def test_unknown_properties_are_left_out_and_remembered(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    fake.unknown = {"CollectMode", "AllowedCPUs"}
    limits = resources(cpu={"cpus": "0"}, memory={"limit": 4096})
    cgroup = host.cgroup(state)
    cgroup.create(limits)
    assert fake.members().count("StartTransientUnit") == 3
    assert fake.units[NAME]["MemoryMax"] == ("t", 4096)
    cgroup.delete()
    fake.calls.clear()
    host.cgroup(state).create(limits)
    assert fake.members().count("StartTransientUnit") == 1
    assert not fake.unknown & set(fake.units[NAME])


def test_another_systemd_is_asked_anew(fake: FakeSystemd, host: Host, state: Path) -> None:
    fake.unknown = {"CollectMode"}
    cgroup = host.cgroup(state)
    cgroup.create()
    cgroup.delete()
    fake.unknown, fake.version = set(), "258"
    host.cgroup(state).create()
    assert "CollectMode" in fake.units[NAME]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"257", b"257\n\0 ../x"])
def test_a_damaged_memory_does_no_harm(
    fake: FakeSystemd, host: Host, state: Path, content: bytes
) -> None:
    state.mkdir()
    (state / units.CACHE).write_bytes(content)
    host.cgroup(state).create()
    assert "CollectMode" in fake.units[NAME]


@pytest.mark.rows("R252")
def test_an_unknown_property_of_an_annotation_is_an_error(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    fake.unknown = {"NoSuchThing"}
    cgroup = host.cgroup(state, annotations={"org.systemd.property.NoSuchThing": "1"})
    wanted = r"annotations\[org\.systemd\.property\.NoSuchThing\]: Cannot set property"
    with pytest.raises(Refused, match=wanted):
        cgroup.create()
    assert not (state / units.CACHE).exists()


@pytest.mark.rows("R252")
def test_annotations_are_named_where_systemd_names_nothing(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    name = "org.freedesktop.DBus.Error.InconsistentMessage"
    fake.refuse["StartTransientUnit"] = [(name, "Unexpected message contents")]
    cgroup = host.cgroup(state, annotations={"org.systemd.property.KillSignal": "'x'"})
    wanted = r"annotations\[org\.systemd\.property\.KillSignal\]: Unexpected message contents"
    with pytest.raises(Refused, match=wanted):
        cgroup.create()


def test_a_scope_without_its_process_is_not_made(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    fake.unknown = {"PIDs"}
    with pytest.raises(Refused, match="Cannot set property PIDs"):
        host.cgroup(state).create()
    assert fake.units == {}


@pytest.mark.rows("R161", "R291")
def test_a_process_is_attached_by_systemd(fake: FakeSystemd, host: Host, state: Path) -> None:
    cgroup = host.cgroup(state)
    cgroup.create()
    cgroup.attach(99)
    assert fake.calls[-1] == ("AttachProcessesToUnit", (NAME, "/", [99]))


@pytest.mark.rows("R161")
def test_who_may_enter_goes_by_the_common_cgroup(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, common = str(short / "u/a/own"), short / "u/a"
    monkeypatch.setattr("pyruntime.cgroups.layout.own_directories", lambda _: {"": ("", own)})
    common.mkdir(parents=True)
    assert not may_enter(f"{common}/other/x.scope")
    (common / "cgroup.procs").touch()
    assert may_enter(f"{common}/other/x.scope")
    assert may_enter(f"{common}/own-other.scope")
    assert not may_enter(f"{short}/b/x.scope")


# Changing


@pytest.mark.rows("R294")
def test_update_sets_the_unit_and_the_files(fake: FakeSystemd, host: Host, state: Path) -> None:
    cgroup = host.cgroup(state)
    cgroup.create(resources(memory={"limit": 4096}))
    again = UnitCgroup.of_values({"cgroup_paths": cgroup.paths(), **cgroup.values()}, str(state))
    merged = again.update(resources(memory={"limit": 4096}), resources(memory={"limit": 8192}))
    assert merged == {"memory": {"limit": 8192}}
    assert (host.directory() / "memory.max").read_text() == "8192"
    assert fake.units[NAME]["MemoryMax"] == ("t", 8192)
    sent = [body for member, body in fake.calls if member == "SetUnitProperties"]
    assert sent == [(NAME, True, [("MemoryMax", ("t", 8192))])]


@pytest.mark.rows("R294")
def test_update_that_systemd_refuses_puts_the_files_back(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    cgroup = host.cgroup(state)
    cgroup.create()
    (host.directory() / "memory.max").write_text("4096")
    fake.refuse["SetUnitProperties"] = [("org.freedesktop.DBus.Error.InvalidArgs", "too much")]
    with pytest.raises(CgroupError, match="SetUnitProperties: too much"):
        cgroup.update({}, resources(memory={"limit": 8192}))
    assert (host.directory() / "memory.max").read_text() == "4096"


@pytest.mark.rows("R294")
def test_update_that_the_kernel_refuses_does_not_reach_systemd(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    cgroup = host.cgroup(state)
    cgroup.create()
    (host.directory() / "memory.max").write_text("4096")
    changed = resources(memory={"limit": 8192}, rdma={"mlx5_1": {"hcaHandles": 1}})
    with pytest.raises(CgroupError, match=r"rdma\.max"):
        cgroup.update({}, changed)
    assert "SetUnitProperties" not in fake.members()
    assert (host.directory() / "memory.max").read_text() == "4096"


@pytest.mark.rows("R187")
@pytest.mark.parametrize(("limit", "told"), [(1, {"TasksMax": ("t", 1)}), (0, {})])
def test_a_limit_of_one_task_comes_when_the_init_is_alone(
    fake: FakeSystemd, host: Host, state: Path, limit: int, told: Properties
) -> None:
    asked = resources(pids={"limit": limit})
    cgroup = host.cgroup(state)
    cgroup.create(asked)
    cgroup.apply(asked)
    assert "TasksMax" not in fake.units[NAME]
    assert (host.directory() / "pids.max").read_text() == ""
    cgroup.settle()
    assert cgroup.bus is None
    assert (host.directory() / "pids.max").read_text() == str(limit)
    assert {name: fake.units[NAME][name] for name in told} == told


# Removing


@pytest.mark.rows("R39")
def test_delete_stops_the_unit(fake: FakeSystemd, host: Host, state: Path) -> None:
    host.cgroup(state).create()
    values = {"cgroup_paths": {"": str(host.directory())}, "unit": NAME}
    values["cgroup_made"] = [str(host.directory())]
    again = UnitCgroup.of_values(values, str(state))
    again.delete()
    assert fake.units == {}
    assert not host.directory().exists()
    assert fake.members()[-2:] == ["StopUnit", "ResetFailedUnit"]


@pytest.mark.rows("R39")
def test_delete_of_a_unit_that_is_gone(fake: FakeSystemd, host: Host, state: Path) -> None:
    values = {"cgroup_paths": {"": str(host.directory())}, "unit": NAME}
    values["cgroup_made"] = [str(host.directory())]
    UnitCgroup.of_values(values, str(state)).delete()
    assert fake.members() == ["StopUnit", "ResetFailedUnit"]


@pytest.mark.rows("R39")
def test_delete_without_systemd_removes_the_directory(short: Path, state: Path) -> None:
    directory = short / "cgroup/pyruntime-x.scope"
    directory.mkdir(parents=True)
    values = {"cgroup_paths": {"": str(directory)}, "unit": NAME, "unit_user": True}
    values["cgroup_made"] = [str(directory)]
    UnitCgroup.of_values(values, str(state)).delete()
    assert not directory.exists()


@pytest.mark.rows("R39")
def test_a_unit_that_was_there_before_is_not_stopped(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    fake.units[NAME] = {}
    values: dict[str, Any] = {"cgroup_paths": {"": str(host.directory())}, "unit": NAME}
    UnitCgroup.of_values({**values, "cgroup_made": []}, str(state)).delete()
    assert fake.calls == []


def test_stopping_what_systemd_does_not_know(fake: FakeSystemd) -> None:
    connection = Bus(fake.path)
    units.stop(connection, NAME)
    fake.refuse["StopUnit"] = [("org.freedesktop.DBus.Error.AccessDenied", "no")]
    with pytest.raises(Refused, match="StopUnit: no"):
        units.stop(connection, NAME)
    connection.close()


# The connection


def test_no_bus_says_what_to_do(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"unix:path={short}/none"
    monkeypatch.setattr("posix.environ", {b"DBUS_SYSTEM_BUS_ADDRESS": address.encode()})
    wanted = (
        f"no D-Bus here: connect to D-Bus socket {short}/none: no such file or directory;"
        " use the cgroupfs manager"
    )
    with pytest.raises(Unreachable, match=wanted):
        buses.connect(user=False)


def test_no_address_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.environ", {})
    with pytest.raises(Unreachable, match="set DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR"):
        buses.connect(user=True)


@pytest.mark.parametrize(
    ("greeting", "wanted"),
    [
        (b"REJECTED EXTERNAL\r\n", "does not let this user in"),
        (b"DATA\r\nREJECTED\r\n", "does not let this user in"),
        (b"x" * 5000, "does not speak D-Bus"),
        (b"DATA\r\nOK 1\r\n" + b"\0" * 64, "not understood"),
    ],
)
def test_who_is_not_systemd(fake: FakeSystemd, greeting: bytes, wanted: str) -> None:
    fake.greeting = greeting
    with pytest.raises(Unreachable, match=wanted):
        Bus(fake.path)


def test_the_other_end_leaves(fake: FakeSystemd) -> None:
    connection = Bus(fake.path)
    fake.units["a"] = {}
    connection.socket.shutdown(2)
    with pytest.raises(Unreachable, match=r"broken pipe|closed by the other end"):
        connection.get("Version")
    connection.close()


def test_without_a_daemon_nobody_is_greeted(fake: FakeSystemd) -> None:
    connection = Bus(fake.path, through_daemon=False)
    assert connection.get("Version") == "257"
    connection.close()
    assert [name for name, _ in fake.calls] == ["Subscribe", "Get"]


def test_sockets_of_an_address_list() -> None:
    text = "tcp:host=a;unix:path=/run/a%20b,guid=1;unix:abstract=/x,guid=2;unix:tmpdir=/t;"
    assert buses.sockets(text) == ["/run/a b", b"\0/x"]
    assert buses.sockets("") == []


def test_the_users_addresses(
    short: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeSystemd
) -> None:
    monkeypatch.setattr("posix.environ", {b"XDG_RUNTIME_DIR": str(short).encode()})
    assert buses.user_addresses() == [(fake.path, True)]


@pytest.mark.rows("R160")
@pytest.mark.parametrize(
    ("euid", "nested", "user", "wanted"),
    [
        (0, False, b"", False),
        (1000, False, b"", True),
        (0, True, b"x", True),
        (0, True, b"root", False),
    ],
)
def test_whose_manager(
    euid: int, nested: bool, user: bytes, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posix.environ", {b"USER": user})
    assert of_user(Facts(euid, nested)) is wanted


@pytest.mark.rows("R160")
def test_without_privileges_only_version_2_counts() -> None:
    with pytest.raises(CgroupError, match="needs cgroup v2"):
        seen_by(Layout({"cpu": "/sys/fs/cgroup/cpu"}, None), user=True)


@pytest.mark.rows("R160")
@pytest.mark.parametrize(
    ("slice", "name", "path"),
    [
        ("system.slice", "a.scope", "/system.slice/a.scope"),
        ("-.slice", "a.scope", "/a.scope"),
        (
            "kubepods-burstable-podX.slice",
            "cri-containerd-1.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice"
            "/cri-containerd-1.scope",
        ),
        ("a.slice", "a-b.slice", "/a.slice/a-b.slice"),
    ],
)
def test_where_units_are(slice: str, name: str, path: str) -> None:
    assert unit_path(Unit(slice, name)) == path


def test_object_paths() -> None:
    assert units.object_path("a-b.scope") == "/org/freedesktop/systemd1/unit/a_2db_2escope"
    assert units.object_path("1é.scope").endswith("/_31_c3_a9_2escope")


@pytest.mark.rows("R252")
def test_annotations_are_read_before_anything_is_made(
    fake: FakeSystemd, host: Host, state: Path
) -> None:
    with pytest.raises(ConfigError, match="KillSignal"):
        host.cgroup(state, annotations={"org.systemd.property.KillSignal": "["})
    assert fake.calls == []
