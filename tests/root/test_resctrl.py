"""linux.intelRdt with real containers and a directory that plays resctrl; and its rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime
from pyruntime import resctrl
from tests.root import fake_resctrl
from tests.root.host import TREE


@pytest.fixture
def tree(workplace: Path) -> Path:
    return fake_resctrl.make(workplace / "resctrl")


@pytest.fixture
def runtime(runtime: Runtime, tree: Path) -> Runtime:
    runtime.program = fake_resctrl.program(TREE, tree, runtime.workplace / "with-resctrl")
    return runtime


def ask(container: Container, **rdt: Any) -> Container:
    container.bundle.args("/bin/sleep", "1000")
    container.bundle.linux["intelRdt"] = rdt
    return container


def tasks(directory: Path) -> list[str]:
    return (directory / "tasks").read_text().split()


@pytest.mark.rows("R200", "R201")
def test_a_class_of_its_own_is_made_and_removed(container: Container, tree: Path) -> None:
    ask(container).create()
    assert tasks(tree / container.id) == [str(container.pid)]
    container.start().stop().delete()
    assert not (tree / container.id).exists()


@pytest.mark.rows("R201")
def test_a_class_that_was_there_stays(container: Container, tree: Path) -> None:
    (tree / container.id / "mon_groups").mkdir(parents=True)
    for name in ("tasks", "schemata"):
        (tree / container.id / name).write_text("")
    ask(container).create().delete("--force")
    assert tasks(tree / container.id) == [str(container.pid)]


@pytest.mark.rows("R201", "R203")
def test_a_named_class_is_made_and_stays(container: Container, tree: Path) -> None:
    ask(container, closID="gold", l3CacheSchema="L3:0=f").create()
    container.delete("--force")
    assert tasks(tree / "gold") == [str(container.pid)]
    assert (tree / "gold/schemata").read_text() == "L3:0=0000f;1=fffff\nMB:0=100;1=100\n"


@pytest.mark.rows("R202")
def test_the_order_of_the_schemata(container: Container, tree: Path) -> None:
    lines = ["L3:0=3", "MB:1=20"]
    ask(container, l3CacheSchema="L3:0=f", memBwSchema="MB:0=50", schemata=lines).create()
    written = [line for line in (tree / "log").read_text().splitlines() if "schemata" in line]
    assert written == [
        f"/{container.id}/schemata: 'L3:0=f\\nMB:0=50\\n'",
        f"/{container.id}/schemata: 'L3:0=3\\nMB:1=20\\n'",
    ]


@pytest.mark.rows("R202")
def test_without_a_schema_none_is_written(container: Container, tree: Path) -> None:
    ask(container, enableMonitoring=False).create()
    assert "schemata" not in (tree / "log").read_text()


@pytest.mark.rows("R203")
@pytest.mark.parametrize(
    "asked", ["L3:1=fffff;0=fffff", "L3:00=0fffff", "L3:1=fffff"], ids=["order", "zeros", "part"]
)
def test_an_existing_class_that_matches(asked: str, container: Container, tree: Path) -> None:
    ask(container, closID="/", l3CacheSchema=asked, memBwSchema="MB:0=91").create()
    assert tasks(tree) == [str(container.pid)]
    container.delete("--force")
    assert tree.is_dir()


@pytest.mark.rows("R203")
@pytest.mark.parametrize(
    "rdt",
    [{"l3CacheSchema": "L3:0=f"}, {"memBwSchema": "MB:7=100"}, {"schemata": ["L2:0=1"]}],
    ids=["value", "domain", "resource"],
)
def test_an_existing_class_that_differs(
    rdt: dict[str, Any], container: Container, tree: Path
) -> None:
    message = ask(container, closID="/", **rdt).refused()
    assert f"linux.intelRdt.{next(iter(rdt))}" in message
    assert (tree / "schemata").read_text() == fake_resctrl.DEFAULT


@pytest.mark.rows("R204")
def test_a_named_class_without_a_schema_must_exist(container: Container, tree: Path) -> None:
    assert "linux.intelRdt.closID" in ask(container, closID="gold").refused()
    assert not (tree / "gold").exists()


@pytest.mark.rows("R204")
def test_info_is_no_class(container: Container) -> None:
    assert "is no class" in ask(container, closID="info").refused()


@pytest.mark.rows("R205")
@pytest.mark.parametrize("name", ["/", None], ids=["default class", "own class"])
def test_a_monitoring_group(name: str | None, container: Container, tree: Path) -> None:
    ask(container, **({"closID": name} if name else {}), enableMonitoring=True).create()
    directory = tree if name else tree / container.id
    group = directory / "mon_groups" / container.id
    assert tasks(directory) == tasks(group) == [str(container.pid)]
    container.delete("--force")
    assert not group.exists()
    assert tree.is_dir()


@pytest.mark.rows("R200")
def test_exec_joins_too(container: Container, tree: Path) -> None:
    ask(container, enableMonitoring=True).create().start()
    assert container.exec("/bin/true").status == 0
    group = tree / container.id / "mon_groups" / container.id
    assert len(tasks(tree / container.id)) == len(tasks(group)) == 2


def schemata(tree: Path, name: str) -> list[str]:
    return (tree / name / "schemata").read_text().split()


def snapshot(container: Container) -> dict[str, Any]:
    text = (container.runtime.root / container.id / "config.json").read_text()
    linux: dict[str, Any] = json.loads(text)["linux"]
    return linux


@pytest.mark.rows("R294", "R202")
def test_update_changes_the_lines(container: Container, tree: Path) -> None:
    ask(container, l3CacheSchema="L3:0=f", memBwSchema="MB:0=50").create()
    container.runtime.ok("update", "--l3-cache-schema", "L3:1=3", container.id)
    assert schemata(tree, container.id) == ["L3:0=0000f;1=00003", "MB:0=50;1=100"]
    both = ["--mem-bw-schema", "MB:0=20", "--l3-cache-schema", "L3:0=ff", "--pids-limit", "17"]
    container.runtime.ok("update", *both, container.id)
    assert schemata(tree, container.id) == ["L3:0=000ff;1=00003", "MB:0=20;1=100"]
    kept = snapshot(container)
    assert kept["intelRdt"] == {"l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=20"}
    assert kept["resources"]["pids"]["limit"] == 17
    container.start().stop().delete()
    assert not (tree / container.id).exists()


@pytest.mark.rows("R294")
def test_update_by_a_document_takes_the_flags_for_resctrl_too(
    container: Container, tree: Path
) -> None:
    """As runc does; a document's intelRdt is none of its members, and is passed over."""
    ask(container, l3CacheSchema="L3:0=f").create()
    document = '{"pids": {"limit": 9}, "intelRdt": {"l3CacheSchema": "L3:0=1"}}'
    arguments = ["update", "-r", "-", "--l3-cache-schema", "L3:0=3", container.id]
    container.runtime.ok(*arguments, stdin=document)
    assert schemata(tree, container.id)[0] == "L3:0=00003;1=fffff"
    assert snapshot(container)["resources"]["pids"]["limit"] == 9


@pytest.mark.rows("R294", "R36")
@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--l3-cache-schema", "L3:0=3", "--cpuset-cpus", "4095"], "cpuset"),
        (["--l3-cache-schema", "L3:0=3\nXY:0=1"], "newline"),
        (["--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "L3:0=1"], "does not begin with MB:"),
        (["--l3-cache-schema", "XY:0=3"], "Unknown or unsupported resource"),
        (["--l3-cache-schema", "L3:0=3", "--memory", "much"], "invalid value for memory"),
    ],
    ids=["cgroup", "newline", "no bandwidth", "resource", "size"],
)
def test_an_update_that_fails_changes_no_line(
    flags: list[str], word: str, container: Container, tree: Path
) -> None:
    ask(container, l3CacheSchema="L3:0=f").create()
    before = schemata(tree, container.id), snapshot(container)
    message = container.runtime.refused("update", *flags, container.id).stderr
    assert word in message
    assert (schemata(tree, container.id), snapshot(container)) == before


@pytest.mark.rows("R294")
def test_update_needs_a_class(container: Container, tree: Path) -> None:
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    arguments = ["update", "--l3-cache-schema", "L3:0=3", container.id]
    assert "has no linux.intelRdt" in container.runtime.refused(*arguments).stderr
    assert (tree / "schemata").read_text() == fake_resctrl.DEFAULT


@pytest.mark.rows("R294")
def test_update_of_a_resource_that_the_processor_does_not_have(
    container: Container, tree: Path
) -> None:
    ask(container).create()
    (tree / "schemata").write_text("L3:0=fffff\n")
    arguments = ["update", "--mem-bw-schema", "MB:0=20", container.id]
    message = container.runtime.refused(*arguments).stderr
    assert "Intel RDT/MBA: memory bandwidth schema is not enabled" in message


@pytest.mark.rows("R295")
@pytest.mark.parametrize("monitored", [True, False])
def test_events_tell_of_the_class(monitored: bool, container: Container) -> None:
    ask(container, l3CacheSchema="L3:0=f", enableMonitoring=monitored).create()
    event = container.runtime.ok("events", "--stats", container.id).json()
    assert event["data"]["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 8},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=0000f;1=fffff",
        "mem_bw_info": {"bandwidth_gran": fake_resctrl.STEP},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=100;1=100",
        "schemata": ["L3:0=0000f;1=fffff", "MB:0=100;1=100"],
        "mbm_stats": [{"mbm_total_bytes": 4096, "mbm_local_bytes": 0}],
        "cmt_stats": [{"llc_occupancy": 4096}],
    }


@pytest.mark.rows("R295")
def test_events_of_a_container_without_a_class(container: Container) -> None:
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    event = container.runtime.ok("events", "--stats", container.id).json()
    assert event["data"]["intel_rdt"] == {}


def missing_program(bundle: Bundle) -> None:
    bundle.args("/there/is/none")


def bad_line(bundle: Bundle) -> None:
    bundle.linux["intelRdt"]["schemata"] = ["XY:0=1"]


@pytest.mark.rows("R205", "R36")
@pytest.mark.parametrize("spoil", [missing_program, bad_line], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("rdt", [{}, {"closID": "gold", "l3CacheSchema": "L3:0=f"}], ids=str)
def test_a_failed_create_leaves_no_class(
    rdt: dict[str, Any], spoil: Callable[[Bundle], None], container: Container, tree: Path
) -> None:
    before = sorted(path.name for path in tree.iterdir())
    spoil(ask(container, **rdt, enableMonitoring=True).bundle)
    message = container.refused()
    if spoil is bad_line:
        assert "linux.intelRdt.schemata" in message and "Unknown or unsupported" in message
    left = {path.name for path in tree.iterdir()} - {"log"}
    # The fake never takes a task out again: a class in which one has been counts as in use.
    assert left - {"gold"} == set(before)
    if "gold" in left:
        assert spoil is missing_program and not list((tree / "gold/mon_groups").iterdir())


@pytest.mark.rows("R205")
def test_no_class_is_left(container: Container, tree: Path) -> None:
    for number in range(fake_resctrl.GROUPS + 1):
        (tree / f"class{number}").mkdir()
    message = ask(container).refused()
    assert "linux.intelRdt.closID" in message and "Out of CLOSIDs" in message


@pytest.mark.rows("R200")
def test_unset_touches_nothing(container: Container, tree: Path) -> None:
    container.bundle.args("/bin/true")
    container.finish()
    assert not (tree / "log").exists()


@pytest.mark.rows("R200")
def test_without_resctrl_it_is_refused(make_container: Callable[..., Container]) -> None:
    if resctrl.find_mount(Path("/proc/self/mountinfo").read_text()):
        pytest.skip("resctrl is mounted here")
    container = ask(make_container())
    container.runtime.program = str(TREE / "bin/pyruntime")
    assert "linux.intelRdt: resctrl is not mounted" in container.refused()


@pytest.mark.rows("R200")
def test_the_mount_is_found() -> None:
    lines = [
        "22 1 0:20 / /proc rw - proc proc rw",
        "30 1 0:30 /gold /data rw - resctrl resctrl rw",
        r"31 1 0:30 / /a\040place rw,relatime shared:3 - resctrl resctrl rw,cdp",
    ]
    assert resctrl.find_mount("\n".join(lines)) == "/a place"
    assert resctrl.find_mount("\n".join(lines[:2])) == ""


@pytest.mark.rows("R203")
def test_bandwidths_are_rounded_up_as_the_kernel_does() -> None:
    current = resctrl.parse("    MB:0= 30;1=100\n    L3:0=0ff\n")
    assert resctrl.matches(resctrl.parse("MB:0=25"), current, 10)
    assert not resctrl.matches(resctrl.parse("MB:0=25"), current, 1)
    assert not resctrl.matches(resctrl.parse("MB:0=31"), current, 10)
    assert resctrl.matches(resctrl.parse("L3:0=ff"), current, 10)
    assert not resctrl.matches(resctrl.parse("L3:0=f7"), current, 10)
