"""`list`: table, ids, JSON (R295; the forms are runc's)."""

from __future__ import annotations

import json

import pytest

from conformance.runtime import Container, Runtime

COLUMNS = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]


@pytest.mark.rows("R295")
@pytest.mark.departs("crun", "columns of its own")
def test_table(runtime: Runtime, container: Container) -> None:
    container.create()
    header, row = runtime.ok("list").stdout.splitlines()
    assert header.split() == COLUMNS
    state = container.state()
    named = [str(state[name]) for name in ("pid", "status", "bundle", "created")]
    expected = [container.id, *named, "root"]
    assert row.split() == expected
    for name, value in zip(COLUMNS, expected, strict=True):
        assert header.index(name) == row.index(value), "columns do not stand below their names"


@pytest.mark.rows("R295")
def test_json_and_quiet(runtime: Runtime, container: Container) -> None:
    container.create().start()
    (entry,) = json.loads(runtime.ok("list", "--format", "json").stdout)
    state = container.state()
    assert {key: entry[key] for key in ("id", "pid", "status", "bundle")} == {
        key: state[key] for key in ("id", "pid", "status", "bundle")
    }
    assert entry["owner"] == "root"
    assert runtime.ok("list", "--quiet").stdout == container.id + "\n"


@pytest.mark.rows("R295")
@pytest.mark.departs("crun", "prints an empty list")
def test_no_containers(runtime: Runtime) -> None:
    runtime.root.mkdir(parents=True, exist_ok=True)
    assert json.loads(runtime.ok("list", "--format", "json").stdout) is None
    assert runtime.ok("list", "--quiet").stdout == ""


@pytest.mark.rows("R295")
@pytest.mark.departs("crun", "words of its own")
def test_damaged_container_is_reported_and_passed_over(
    runtime: Runtime, container: Container
) -> None:
    container.create()
    (runtime.root / "damaged").mkdir()
    (runtime.root / "damaged" / "state.json").write_text("{")
    result = runtime.ok("list")
    assert container.id in result.stdout
    assert "load container damaged: " in result.stderr


@pytest.mark.rows("R295")
@pytest.mark.departs("crun", "words of its own")
def test_unknown_format(runtime: Runtime) -> None:
    runtime.root.mkdir(parents=True, exist_ok=True)
    result = runtime.run("list", "--format", "xml")
    assert result.status == 1
    assert "invalid format option" in result.stderr
