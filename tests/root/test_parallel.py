"""Many commands at once: each does all of its work or none, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, Result, Runtime, alive, wait_for
from tests.root.host import Host

MANY = 50
AT_ONCE = 10


def together(*calls: Callable[[], object]) -> list[object]:
    """Call them all in threads of their own, as close together as can be; their results."""
    results: list[object] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def call(place: int) -> None:
        barrier.wait()
        try:
            results[place] = calls[place]()
        except BaseException as error:
            results[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.mark.slow
@pytest.mark.rows("R1", "R36", "R39")
def test_many_containers_at_once(make_container: MakeContainer, host: Host) -> None:
    containers = [make_container() for _ in range(MANY)]
    for number, each in enumerate(containers):
        each.bundle.sh(f"echo {number}; exit {number}")

    def life(each: Container) -> Callable[[], object]:
        return lambda: each.create().start()

    for first in range(0, MANY, AT_ONCE):
        together(*map(life, containers[first : first + AT_ONCE]))
    for number, each in enumerate(containers):
        assert each.exit_status() == number
        assert each.output() == f"{number}\n"
        assert each.status() == "stopped"
    listed = host.runtime.ok("list", "--format", "json").json()
    assert len(listed) == MANY
    for first in range(0, MANY, AT_ONCE):
        part = containers[first : first + AT_ONCE]
        together(*[each.delete for each in part])
    for each in containers:
        host.clean(each)
    assert host.names() == []


@pytest.mark.rows("R36")
@pytest.mark.parametrize("competitors", [2, 6])
def test_of_several_creates_with_one_id_exactly_one_wins(
    competitors: int, make_container: MakeContainer, host: Host, runtime: Runtime, workplace: Path
) -> None:
    containers = [make_container() for _ in range(competitors)]
    for each in containers:  # the same id; bundles and cgroups of their own
        each.bundle.save()

    def create(each: Container) -> Callable[[], object]:
        files = ["--bundle", str(each.bundle.path), "--pid-file", str(each.pid_file)]
        return lambda: runtime.run("create", *files, "the-same-id")

    results = together(*map(create, containers))
    statuses = [result.status for result in results if isinstance(result, Result)]
    assert sorted(statuses) == [0] + [1] * (competitors - 1), results
    for each, result in zip(containers, results, strict=True):
        assert isinstance(result, Result)
        if result.status:
            assert "already exists" in result.stderr, str(result)
            host.clean(each)
    winner = containers[statuses.index(0)]
    winner.pid = int(winner.pid_file.read_text())
    state = runtime.ok("state", "the-same-id").json()
    assert state["status"] == "created"
    assert state["bundle"] == str(winner.bundle.path)
    assert state["pid"] == winner.pid
    runtime.ok("delete", "--force", "the-same-id")
    host.clean(winner)
    assert host.names() == []


@pytest.mark.rows("R37", "R39")
@pytest.mark.parametrize("round_", range(10))
def test_delete_and_start_at_once(round_: int, container: Container, host: Host) -> None:
    """Either the start comes first, or it finds no container; the delete always succeeds."""
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    runtime = container.runtime
    started, deleted = together(
        lambda: runtime.run("start", container.id),
        lambda: runtime.run("delete", "--force", container.id),
    )
    assert isinstance(started, Result)
    assert isinstance(deleted, Result)
    assert deleted.status == 0, str(deleted)
    assert started.status in (0, 1), str(started)
    if started.status:
        assert "Traceback" not in started.stderr
        assert "internal error" not in started.stderr, str(started)
    assert runtime.run("state", container.id).status == 1
    wait_for(lambda: not alive(container.pid), "the end of the container")
    host.clean(container)


@pytest.mark.rows("R37")
@pytest.mark.parametrize("round_", range(5))
def test_of_two_starts_exactly_one_wins(round_: int, container: Container, host: Host) -> None:
    container.bundle.sh("echo once; exec sleep 1000")
    container.create()
    runtime = container.runtime
    start = lambda: runtime.run("start", container.id)  # noqa: E731  # passed twice
    results = [each for each in together(start, start) if isinstance(each, Result)]
    assert sorted(each.status for each in results) == [0, 1], results
    container.wait_output("once")
    assert container.output() == "once\n"
    container.delete("--force")
    host.clean(container)


@pytest.mark.rows("R39")
@pytest.mark.parametrize("round_", range(5))
def test_several_forced_deletes_all_succeed(round_: int, container: Container, host: Host) -> None:
    container.create().start()
    runtime = container.runtime
    delete = lambda: runtime.run("delete", "--force", container.id)  # noqa: E731  # as above
    results = together(delete, delete, delete)
    assert [each.status for each in results if isinstance(each, Result)] == [0] * 3, results
    host.clean(container)


@pytest.mark.rows("R35", "R39")
@pytest.mark.parametrize("round_", range(5))
def test_state_during_delete_is_whole_or_there_is_none(
    round_: int, container: Container, host: Host
) -> None:
    container.create().start().stop()
    runtime = container.runtime
    results = together(
        lambda: runtime.run("delete", container.id),
        *[lambda: runtime.run("state", container.id)] * 4,
    )
    for result in results[1:]:
        assert isinstance(result, Result)
        if result.status == 0:
            assert result.json()["status"] == "stopped"
        else:
            assert result.status == 1
            assert "does not exist" in result.stderr, str(result)
    host.clean(container)
