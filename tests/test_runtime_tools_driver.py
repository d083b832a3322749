"""The driver for opencontainers/runtime-tools: reading TAP, and comparing two runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.runtime_tools import (
    ENDED_WELL,
    KNOWN_FILE,
    NO_STRAY_ERROR,
    Outcome,
    built_tests,
    compare,
    count,
    explanations,
    load_known,
    mounts_below,
    outcome,
    parse,
    row,
)

TAP = """TAP version 13
ok 1 - has expected hostname
  ---
  {
    "actual": "ok then",
    "expected": "ok then"
  }
  ...
not ok 2 - memory kernel is set correctly
# expect: 50593792, actual: 9223372036854771712
ok 3 # SKIP hostname not set
not ok 4 # TODO not written yet
not ok 5 - pids limit is set correctly
  ---
  {
    "error": "exit status 1",
    "reference": "https://example.org/#pids",
    "stderr": "no such file"
  }
  ...
1..5
"""


def block(**values: str) -> str:
    return f"  ---\n  {json.dumps(values)}\n  ...\n"


def result(*lines: str, status: int | None = 0) -> Outcome:
    return outcome("\n".join(["TAP version 13", *lines]), "", status)


def kinds(ours: Outcome, theirs: Outcome, **known: str) -> list[tuple[str, str]]:
    listed = {("test", name): reason for name, reason in known.items()}
    return [(found.kind, found.key) for found in compare("test", ours, theirs, listed)]


def test_assertions_are_read_in_order() -> None:
    assert [(item.name, item.passed, item.skipped) for item in parse(TAP)] == [
        ("has expected hostname", True, False),
        ("memory kernel is set correctly", False, False),
        ("hostname not set", False, True),
        ("not written yet", True, False),
        ("pids limit is set correctly", False, False),
    ]


def test_comments_and_blocks_explain_the_assertion_before_them() -> None:
    items = parse(TAP)
    assert items[1].detail == "expect: 50593792, actual: 9223372036854771712"
    assert items[4].detail == "error: exit status 1\nstderr: no such file"


def test_a_block_is_not_searched_for_assertions() -> None:
    items = parse("ok 1 - first\n  ---\nok 2 - inside\n  ...\nok 2 - second\n")
    assert [item.name for item in items] == ["first", "second"]


def test_output_from_inside_the_container_explains_the_assertion_after_it() -> None:
    inner = "TAP version 13\nok 1 - cwd\nnot ok 2 - mounts[3] found\n# it is not there\n"
    items = parse("ok 1 - before\n" + block(stdout=inner, stderr="") + "not ok 2 - hostname\n")
    assert [(item.name, item.detail) for item in items] == [
        ("before", ""),
        ("hostname", "mounts[3] found: it is not there"),
    ]


def test_assertions_of_one_name_are_told_apart() -> None:
    items = parse("ok 1 - limit\nnot ok 2 - limit\nok 3 - other\nok 4 - limit\n")
    assert [item.key for item in items] == ["limit", "limit [2]", "other", "limit [3]"]
    assert [item.name for item in items] == ["limit", "limit", "other", "limit"]


@pytest.mark.parametrize(
    "before", ["", "ok 1 - first\n" + block(reference="x")], ids=["at the start", "further on"]
)
def test_an_error_outside_the_assertions_is_a_failure(before: str) -> None:
    items = parse(before + block(error="hooks MUST be called in order") + "1..0\n")
    assert (items[-1].name, items[-1].passed) == (NO_STRAY_ERROR, False)
    assert items[-1].detail == "error: hooks MUST be called in order"


def test_an_error_expected_of_the_runtime_is_none() -> None:
    items = parse("ok 1 - state without id MUST fail\n" + block(error="exit status 1"))
    assert [item.name for item in items] == ["state without id MUST fail"]


@pytest.mark.parametrize(("status", "passed"), [(0, True), (1, False), (-9, False), (None, False)])
def test_how_the_program_ends_is_an_assertion(status: int | None, passed: bool) -> None:
    assert result("ok 1 - first", status=status)[ENDED_WELL].passed is passed


def test_a_program_that_was_killed_says_so() -> None:
    found = outcome("", "starting\n", None)[ENDED_WELL]
    assert found.detail == "killed: took too long\nstarting"


def test_equal_outcomes_do_not_differ() -> None:
    lines = ("ok 1 - first", "not ok 2 - second", "ok 3 # SKIP third")
    assert kinds(result(*lines), result(*lines)) == []


def test_an_assertion_that_the_oracle_passes_and_ours_fails_is_worse() -> None:
    assert kinds(result("not ok 1 - a"), result("ok 1 - a")) == [("worse", "a")]


def test_an_assertion_that_only_ours_passes_is_better() -> None:
    assert kinds(result("ok 1 - a"), result("not ok 1 - a")) == [("better", "a")]
    assert kinds(result("ok 1 - a"), result()) == [("better", "a")]


def test_an_assertion_that_ours_fails_and_the_oracle_never_reaches_is_no_difference() -> None:
    assert kinds(result("not ok 1 - a"), result()) == []


@pytest.mark.parametrize(
    ("line", "detail"), [("", "not reached"), ("ok 1 # SKIP a", "skipped")], ids=["gone", "skip"]
)
def test_what_ours_does_not_show_is_worse(line: str, detail: str) -> None:
    (found,) = compare("test", result(line), result("ok 1 - a"), {})
    assert (found.kind, found.key, found.detail) == ("worse", "a", detail)


def test_numbers_of_assertions_play_no_part() -> None:
    assert kinds(result("ok 2 - b", "ok 3 - a"), result("ok 1 - a", "ok 2 - b")) == []


def test_the_second_assertion_of_a_name_is_compared_with_the_second() -> None:
    theirs = result("ok 1 - limit", "ok 2 - limit")
    assert kinds(result("ok 1 - limit", "not ok 2 - limit"), theirs) == [("worse", "limit [2]")]


def test_a_test_that_hangs_with_ours_only_is_worse() -> None:
    assert kinds(result(status=None), result()) == [("worse", ENDED_WELL)]


@pytest.mark.rows("R287")
def test_a_listed_assertion_is_known_every_time_it_comes() -> None:
    ours = result("not ok 1 - limit", "not ok 2 - limit", "not ok 3 - other")
    theirs = result("ok 1 - limit", "ok 2 - limit", "ok 3 - other")
    assert kinds(ours, theirs, limit="the test compares addresses") == [
        ("known", "limit"),
        ("known", "limit [2]"),
        ("worse", "other"),
    ]


@pytest.mark.rows("R287")
def test_a_listed_assertion_of_another_test_excuses_nothing() -> None:
    listed = {("another", "a"): "reason"}
    (found,) = compare("test", result("not ok 1 - a"), result("ok 1 - a"), listed)
    assert found.kind == "worse"


@pytest.mark.rows("R287")
def test_the_list_in_the_tree_is_complete() -> None:
    known = load_known(KNOWN_FILE)
    assert known
    assert all(len(reason) > 20 for reason in known.values())


@pytest.mark.parametrize("missing", ["test", "assertion", "reason"])
def test_an_incomplete_entry_is_refused(tmp_path: Path, missing: str) -> None:
    values = {"test": "state", "assertion": "a", "reason": "because"}
    lines = [f'{key} = "{value}"' for key, value in values.items() if key != missing]
    path = tmp_path / "known.toml"
    path.write_text("\n".join(["[[known]]", *lines]), encoding="utf-8")
    with pytest.raises(ValueError, match="needs test, assertion and reason"):
        load_known(path)


def test_skipped_assertions_are_not_counted() -> None:
    found = result("ok 1 - a", "not ok 2 - b", "ok 3 # SKIP c")
    assert count(found) == "3/4"  # with how it ended, and no stray error


def test_a_row_sums_up_the_differences() -> None:
    ours, theirs = result("not ok 1 - a", "ok 2 - b"), result("ok 1 - a", "not ok 2 - b")
    line = row("state", ours, theirs, compare("state", ours, theirs, {}))
    assert line.split() == ["state", "3/4", "3/4", "1", "worse,", "1", "better"]


def test_assertions_that_are_not_reached_are_summed_up() -> None:
    theirs = result("ok 1 - a", "ok 2 - b", "ok 3 - c", "ok 4 - d", "not ok 5 - e")
    ours = result("not ok 1 - a", "# no such file", "ok 2 - e")
    lines = explanations("state", compare("state", ours, theirs, {}))
    assert [line for line in lines if line] == [
        "worse: state: a",
        "    no such file",
        "worse: state: 3 assertions not reached, from this one on:",
        "    b",
    ]


def test_only_built_tests_are_found(tmp_path: Path) -> None:
    for name in ("state/state.t", "kill/kill.t", "util/test.go", "start/start.go"):
        (tmp_path / "validation" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "validation" / name).touch()
    assert built_tests(tmp_path) == ["kill", "state"]


def test_mounts_are_unmounted_innermost_first_and_only_those_of_the_test() -> None:
    names = ["/", "/tmp/t", "/tmp/t/proc", "/tmp/t/a\\040b", "/tmp/t/a\\040b/c", "/tmp/tt/proc"]
    lines = [f"{30 + n} 1 0:4{n} / {name} rw - proc proc rw" for n, name in enumerate(names)]
    found = mounts_below(Path("/tmp/t"), "\n".join(lines))
    assert [str(path) for path in found] == ["/tmp/t/a b/c", "/tmp/t/a b", "/tmp/t/proc", "/tmp/t"]
