"""The plans of the small verbs, as data: which verbs are plain, and what is written."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pyruntime import state, stored
from pyruntime import stored_operations as op
from pyruntime.stored import HAND_OVER

PROCESS = {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
FREEZER, MEMORY, UNIFIED = "/cg/freezer/x", "/cg/memory/x", "/cg/unified/x"
ALL = list(stored.VERBS)


def container(**values: Any) -> state.Container:
    given: dict[str, Any] = {
        "ociVersion": "1.3.0",
        "id": "x",
        "pid": 77,
        "pid_start": 4242,
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "created": "2026-01-02T03:04:05Z",
        "annotations": {},
        "owner": 0,
        "own_pids": True,
        "cgroup_paths": {"memory": MEMORY, "freezer": FREEZER},
        "cgroup_made": [MEMORY, FREEZER],
        "status": "created",
    }
    return state.Container("/run/nowhere", "x", {**given, **values})


def plans(config: dict[str, Any] | None = None, **values: Any) -> dict[str, stored.Plan]:
    document = {"process": PROCESS, **(config or {})}
    return dict(zip(ALL, stored.compile_verbs(container(**values), document), strict=True))


def plain(found: dict[str, stored.Plan]) -> list[str]:
    return [verb for verb, plan in found.items() if plan]


def numbers(plan: stored.Plan) -> list[int]:
    return [operation[0] for operation in plan]


@pytest.mark.parametrize(
    ("config", "values", "left"),
    [
        ({}, {}, []),
        ({"hooks": {"poststart": [{"path": "/h"}]}}, {}, ["start"]),
        ({"hooks": {"startContainer": [{"path": "/h"}]}}, {}, ["start"]),
        ({"hooks": {"poststop": [{"path": "/h"}]}}, {}, ["delete", "delete --force"]),
        ({"hooks": {"poststop": []}}, {}, []),
        ({"hooks": {"prestart": [{"path": "/h"}]}}, {}, []),
        ({"process": None}, {}, ["start"]),
        ({"linux": {"seccomp": {"listenerPath": "/s"}}}, {}, ["start"]),
        ({}, {"annotations": {"a": "ü"}}, ["state"]),
        ({}, {"cgroup_made": [MEMORY]}, ["delete", "delete --force"]),
        ({}, {"cgroup_paths": {}, "cgroup_made": []}, ["pause", "resume"]),
        ({}, {"cgroup_paths": {"memory": MEMORY}, "cgroup_made": [MEMORY]}, ["pause", "resume"]),
        ({}, {"unit": "a.scope"}, ["delete", "delete --force"]),
        ({}, {"something": "new"}, ALL),
    ],
)
def test_what_is_left_to_python(
    config: dict[str, Any], values: dict[str, Any], left: list[str]
) -> None:
    assert plain(plans(config, **values)) == [verb for verb in ALL if verb not in left]


def test_nobody_is_left_in_the_cgroup_when_the_first_directory_is_gone() -> None:
    """The one whose processes count goes first: while it is busy nothing has been removed."""
    removed = [o[2][0] for o in plans()["delete"] if o[0] == op.RMDIR]
    assert removed == [FREEZER, MEMORY]


def test_a_freezer_must_say_thawed() -> None:
    says = [o for o in plans()["state"] if o[0] == op.FILE_SAYS]
    assert says == [(op.FILE_SAYS, HAND_OVER, (FREEZER + "/freezer.state", "THAWED\n"))]
    paths = {"": UNIFIED}
    found = plans(cgroup_paths=paths, cgroup_made=[UNIFIED])["start"]
    assert (op.FILE_SAYS, HAND_OVER, (UNIFIED + "/cgroup.freeze", "0\n")) in found


def test_without_a_pid_namespace_nobody_is_killed() -> None:
    found = plans(own_pids=False)
    assert op.SEND not in numbers(found["delete --force"])
    first, second = found["kill"][:2]
    assert first == (op.SIGNAL_IS, 1, (9,))
    assert second == (op.EXISTS, HAND_OVER, ("",))


@pytest.mark.parametrize(
    ("paths", "told", "words", "waited"),
    [
        ({"freezer": FREEZER, "": UNIFIED}, FREEZER + "/freezer.state", ("FROZEN", "THAWED"),
         (FREEZER + "/freezer.state", "FROZEN")),
        ({"": UNIFIED}, UNIFIED + "/cgroup.freeze", ("1", "0"),
         (UNIFIED + "/cgroup.events", "frozen 1")),
    ],
)  # fmt: skip
def test_which_freezer_is_told(
    paths: dict[str, str], told: str, words: tuple[str, str], waited: tuple[str, str]
) -> None:
    """v1's if there is one, also beside v2; who does not stop is thawed and left to Python."""
    found = plans(cgroup_paths=paths)
    frozen, thawed = ((op.WRITE_FILE, HAND_OVER, (told, word)) for word in words)
    done = walk(found["pause"], set())
    assert numbers(done) == [op.ALIVE, op.FILE_SAYS, op.WRITE_FILE, op.AWAIT_TEXT, op.END]
    assert done[2:4] == [frozen, (op.AWAIT_TEXT, 1, (*waited, stored.FREEZING))]
    assert numbers(walk(found["resume"], set())) == [op.ALIVE, op.FILE_SAYS, op.WRITE_FILE, op.END]
    assert found["resume"][1:3] == [(op.FILE_SAYS, HAND_OVER, (told, words[0] + "\n")), thawed]
    after = found["pause"][5:7]
    assert after == [thawed, (op.EXISTS, HAND_OVER, ("",))]
    for verb in ("pause", "resume"):
        for refused in (op.ALIVE, op.FILE_SAYS, op.WRITE_FILE):
            assert walk(found[verb], {refused}) == []


def walk(plan: stored.Plan, refused: set[int]) -> list[stored.Operation]:
    """What is performed if the operations of these numbers answer no."""
    performed: list[stored.Operation] = []
    at = 0
    while at < len(plan):
        number, otherwise, _ = plan[at]
        performed.append(plan[at])
        if number == op.END:
            return performed
        if number in refused:
            if otherwise == HAND_OVER:
                return []
            at += otherwise
        at += 1
    return []


@pytest.mark.rows("R30", "R32", "R33", "R35")
@pytest.mark.parametrize(
    ("refused", "status", "pid"),
    [
        (set(), "created", 77),
        ({op.EXISTS}, "running", 77),
        ({op.EXECUTES}, "running", 77),
        ({op.ALIVE}, "stopped", 0),
        ({op.ALIVE, op.FILE_SAYS}, "stopped", 0),
        ({op.FILE_SAYS}, None, 0),
    ],
)
def test_which_state_is_printed(refused: set[int], status: str | None, pid: int) -> None:
    done = walk(plans()["state"], refused)
    texts = [arguments[0] for number, _, arguments in done if number == op.PRINT]
    if status is None:
        assert done == []
        return
    assert len(texts) == 1
    assert isinstance(texts[0], bytes)
    assert f'"status": "{status}"'.encode() in texts[0]
    assert f'"pid": {pid},'.encode() in texts[0]


def test_every_jump_of_every_plan_ends_inside_it() -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"own_pids": False},
        {"cgroup_paths": {}, "cgroup_made": []},
    ]
    for values in kinds:
        for plan in filter(None, plans(**values).values()):
            assert plan[-1][0] == op.END
            for at, (number, otherwise, _) in enumerate(plan):
                inside = at + 1 + otherwise < len(plan)
                assert otherwise == HAND_OVER or number == op.END or inside


def test_texts_stand_where_the_operations_say() -> None:
    plan: stored.Plan = [(op.FILE_SAYS, 1, ("/a", "b\n")), (op.PRINT, 2, (b"text",))]
    content = stored.encode([plan, []], [stored.IDENTITY.pack(1, 2, 3)])
    size = struct.unpack_from("<I", content, 12)[0]
    at, count = stored.VERB.unpack_from(content, stored.HEADER.size + stored.IDENTITY.size)
    first = stored.OPERATION.unpack_from(content, at)
    second = stored.OPERATION.unpack_from(content, at + stored.OPERATION.size)
    assert (size, count) == (len(content), 2)
    assert at % 8 == 0
    assert first[:2] == (op.FILE_SAYS, 1)
    assert content[first[2] :].startswith(b"/a\0")
    assert content[first[3] :].startswith(b"b\n\0")
    assert content[second[2] : second[2] + second[3]] == b"text"
    assert content.endswith(b"\0")
