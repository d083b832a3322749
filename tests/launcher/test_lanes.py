"""Every command line by both lanes: the same to the byte, on standard output and on disk.

`performed` are those that the launcher does without Python, `left` those that it must leave
to Python, and before it has changed anything.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container
from tests.launcher.lanes import (
    BOTH_LANES,
    LAUNCHER_LANE,
    LEFT_TO_PYTHON,
    PYTHON_LANE,
    Outcome,
    clear,
    found_cgroups,
    outcome,
)

Arrange = Callable[[Container], object]
pytestmark = pytest.mark.rows("R35", "R37", "R38", "R39")


def created(container: Container) -> None:
    container.create()


def running(container: Container) -> None:
    container.create().start()


def stopped(container: Container) -> None:
    container.create().start().stop()


def never_started(container: Container) -> None:
    container.create().stop()


def paused(container: Container) -> None:
    container.create().start().runtime.ok("pause", container.id)


def resumed(container: Container) -> None:
    paused(container)
    container.runtime.ok("resume", container.id)


def updated(container: Container) -> None:
    running(container)
    container.runtime.ok("update", "--cpu-share", "300", container.id)


def created_and_paused(container: Container) -> None:
    container.create().runtime.ok("pause", container.id)


def paused_and_updated(container: Container) -> None:
    paused(container)
    container.runtime.ok("update", "--cpu-share", "300", container.id)


def with_annotations(container: Container) -> None:
    container.bundle.config["annotations"] = {"a": 'quo"te', "b": "<&>", "c": ""}
    running(container)


def by_lane(
    lane: Sequence[str], make: MakeContainer, arrange: Arrange, words: Sequence[str]
) -> Outcome:
    """The command's outcome on a container of its own, of which nothing stays."""
    container = make()
    arrange(container)
    try:
        return outcome(lane, container, words)
    finally:
        clear(container)


def with_something_hidden(container: Container) -> None:
    """A command for this id was killed beside a rename."""
    stopped(container)
    (container.runtime.root / f"~{container.id}.{2**22}.gone").mkdir()


def name_of(value: Arrange | str) -> str:
    """A short name for a case."""
    return value[:40] if isinstance(value, str) else getattr(value, "__name__", "")


PERFORMED: list[tuple[Arrange, str]] = [
    (created, "state ID"),
    (running, "state ID"),
    (stopped, "state ID"),
    (never_started, "state ID"),
    (resumed, "state ID"),
    (updated, "state ID"),
    (with_annotations, "state ID"),
    (running, "--log a.log --log-format json state ID"),
    (running, "--log=b.log -log-format=text state ID"),
    (running, "--systemd-cgroup state ID"),
    (created, "start ID"),
    (created, "--log c.log start ID"),
    (created, "kill ID 0"),
    (created, "kill ID KILL"),
    (running, "kill ID"),
    (running, "kill ID TERM"),
    (running, "kill ID SIGUSR1"),
    (running, "kill ID sigkill"),
    (running, "kill ID 09"),
    (running, "kill ID iot"),
    (running, "kill ID 34"),
    (updated, "kill ID 9"),
    (stopped, "delete ID"),
    (never_started, "delete ID"),
    (stopped, "delete --force ID"),
    (with_something_hidden, "delete ID"),
    (running, "delete --force ID"),
    (running, "delete ID -f"),
    (created, "delete -force ID"),
    (resumed, "delete --force ID"),
    (created, "pause ID"),
    (running, "pause ID"),
    (resumed, "pause ID"),
    (updated, "pause ID"),
    (running, "--log h.log --log-format json pause ID"),
    (paused, "resume ID"),
    (created_and_paused, "resume ID"),
    (paused_and_updated, "resume ID"),
    (paused, "--systemd-cgroup --log i.log resume ID"),
]


@pytest.mark.parametrize(("arrange", "words"), PERFORMED, ids=name_of)
def test_performed(make_container: MakeContainer, arrange: Arrange, words: str) -> None:
    python, alone = (
        by_lane(lane, make_container, arrange, words.split())
        for lane in (PYTHON_LANE, LAUNCHER_LANE)
    )
    assert alone == python
    assert python.status == 0


def with_poststart(container: Container) -> None:
    container.bundle.hook("poststart", "true")
    created(container)


def with_poststop(container: Container) -> None:
    container.bundle.hook("poststop", "true")
    stopped(container)


def without_pid_namespace(container: Container) -> None:
    container.bundle.without_namespace("pid")
    running(container)


def with_a_letter_beyond_ascii(container: Container) -> None:
    container.bundle.config["annotations"] = {"name": "Grüße"}
    running(container)


def without_a_freezer(container: Container) -> None:
    container.create(options=["--cgroup-manager", "disabled"]).start()


def torn(container: Container) -> None:
    running(container)
    path = container.runtime.root / container.id / "state.json"
    path.write_bytes(path.read_bytes()[:40])


def without_state(container: Container) -> None:
    running(container)
    (container.runtime.root / container.id / "state.json").unlink()


def verbs_of(container: Container) -> str:
    return str(container.runtime.root / container.id / "verbs")


def readable(container: Container) -> None:
    running(container)
    os.chmod(verbs_of(container), 0o640)


def foreign(container: Container) -> None:
    running(container)
    os.chown(verbs_of(container), 1, -1)


def foreign_directory(container: Container) -> None:
    running(container)
    os.chown(container.runtime.root / container.id, 1, -1)


def open_directory(container: Container) -> None:
    running(container)
    os.chmod(container.runtime.root / container.id, 0o733)


def linked_verbs(container: Container) -> None:
    running(container)
    os.rename(verbs_of(container), verbs_of(container) + ".there")
    os.symlink("verbs.there", verbs_of(container))


def linked_twice(container: Container) -> None:
    running(container)
    os.link(verbs_of(container), verbs_of(container) + ".again")


def linked_directory(container: Container) -> None:
    running(container)
    os.rename(container.runtime.root / container.id, container.runtime.root / "elsewhere")
    os.symlink("elsewhere", container.runtime.root / container.id)


def other_interface(container: Container) -> None:
    running(container)
    with open(verbs_of(container), "r+b") as file:
        content = file.read()
        number = struct.unpack_from("<I", content, 8)[0]
        file.seek(8)
        file.write(struct.pack("<I", number ^ 1))


def fifo_in_place_of_verbs(container: Container) -> None:
    running(container)
    os.unlink(verbs_of(container))
    os.mkfifo(verbs_of(container), 0o600)


def rewritten_state(container: Container) -> None:
    """The same content in another file: whoever wrote it did not store new plans."""
    running(container)
    path = container.runtime.root / container.id / "state.json"
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    os.rename(copy, path)


def damaged_config(container: Container) -> None:
    stopped(container)
    (container.runtime.root / container.id / "config.json").write_text("{")


def log_is_a_directory(container: Container) -> None:
    running(container)
    (container.runtime.workplace / "d.log").mkdir(exist_ok=True)


def occupied(container: Container) -> None:
    """Somebody made a cgroup below the container's."""
    stopped(container)
    for directory in found_cgroups(container):
        (directory / "below").mkdir()


LEFT: list[tuple[Arrange, str]] = [
    (paused, "state ID"),
    (paused, "start ID"),
    (paused, "kill ID KILL"),
    (paused, "delete --force ID"),
    (running, "start ID"),
    (stopped, "start ID"),
    (never_started, "start ID"),
    (with_poststart, "start ID"),
    (stopped, "kill ID"),
    (stopped, "kill ID 0"),
    (running, "kill ID NONSENSE"),
    (running, "kill ID 65"),
    (running, "kill ID -1"),
    (running, "kill ID RTMIN+1"),
    (running, "kill ID 10 more"),
    (running, "kill --all ID 9"),
    (running, "kill --all=false ID 10"),
    (running, "kill --regex ID 10"),
    (without_pid_namespace, "kill ID KILL"),
    (without_pid_namespace, "delete --force ID"),
    (created, "delete ID"),
    (running, "delete ID"),
    (running, "delete --force=false ID"),
    (with_poststop, "delete ID"),
    (damaged_config, "delete ID"),
    (running, "state"),
    (running, "state ID ID"),
    (running, "state --nonsense ID"),
    (running, "state -- ID"),
    (running, "--debug --log e.log state nothing"),
    (running, "--log-format yaml state ID"),
    (log_is_a_directory, "--log d.log state ID"),
    (running, "--log f.log --log-format json state nothing"),
    (running, "--log g.log kill nothing KILL"),
    (running, "--systemd-cgroup=false state ID"),
    (running, "--cgroup-manager disabled state ID"),
    (running, "--root / state ID"),
    (running, "state nothing"),
    (running, "start nothing"),
    (running, "delete nothing"),
    (running, "delete --force nothing"),
    (running, "state .."),
    (running, "state ."),
    (running, "state a/b"),
    (running, "state ID/"),
    (running, "delete .hidden"),
    (running, "state " + "x" * 256),
    (with_a_letter_beyond_ascii, "state ID"),
    (torn, "state ID"),
    (torn, "delete ID"),
    (torn, "delete --force ID"),
    (without_state, "state ID"),
    (readable, "state ID"),
    (foreign, "state ID"),
    (foreign_directory, "state ID"),
    (open_directory, "state ID"),
    (linked_verbs, "state ID"),
    (linked_twice, "state ID"),
    (linked_directory, "state ID"),
    (other_interface, "state ID"),
    (fifo_in_place_of_verbs, "state ID"),
    (rewritten_state, "state ID"),
    (rewritten_state, "kill ID KILL"),
    (occupied, "delete ID"),
    (with_something_hidden, "delete --force ID"),
    (paused, "pause ID"),
    (stopped, "pause ID"),
    (never_started, "pause ID"),
    (created, "resume ID"),
    (running, "resume ID"),
    (resumed, "resume ID"),
    (stopped, "resume ID"),
    (running, "--log j.log --log-format json resume ID"),
    (running, "pause"),
    (running, "pause ID ID"),
    (running, "pause --help"),
    (running, "pause --nonsense ID"),
    (paused, "resume --force ID"),
    (running, "pause nothing"),
    (paused, "resume nothing"),
    (torn, "pause ID"),
    (rewritten_state, "pause ID"),
    (without_a_freezer, "pause ID"),
    (without_a_freezer, "resume ID"),
]


@pytest.mark.parametrize(("arrange", "words"), LEFT, ids=name_of)
def test_left_to_python(make_container: MakeContainer, arrange: Arrange, words: str) -> None:
    python, both = (
        by_lane(lane, make_container, arrange, words.split()) for lane in (PYTHON_LANE, BOTH_LANES)
    )
    assert both == python
    left = by_lane(LAUNCHER_LANE, make_container, arrange, words.split())
    untouched = by_lane(["/bin/false"], make_container, arrange, words.split())
    assert left.status == LEFT_TO_PYTHON
    assert (left.alive, left.cgroups, left.frozen) == (
        untouched.alive,
        untouched.cgroups,
        untouched.frozen,
    )
    assert [row for row in left.files if row[0] in {name for name, _, _ in untouched.files}] == (
        list(untouched.files)
    )
