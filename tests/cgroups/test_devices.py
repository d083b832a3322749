"""Device rules: the order of v1, its limits, and the v2 program that means the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pyruntime.cgroups.devices import access, program, v1_writes
from pyruntime.errors import CgroupError
from tests.cgroups.machine import run

Rule = dict[str, Any]

DENY_ALL: Rule = {"allow": False, "access": "rwm"}
ALLOW_ALL: Rule = {"allow": True, "type": "a", "access": "rwm"}
READ, WRITE, MAKE = 2, 4, 1
BLOCK, CHARACTER = 1, 2

IMPLICIT = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
]


def rule(allow: bool, kind: str, major: int | None, minor: int | None, letters: str) -> Rule:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": letters}


@pytest.mark.rows("R153", "R154", "R170")
@pytest.mark.parametrize("rules", [None, [], [DENY_ALL], [ALLOW_ALL, DENY_ALL]])
def test_nothing_but_the_implicit_is_allowed_at_first(rules: list[Rule] | None) -> None:
    assert v1_writes(rules) == [
        ("devices.deny", "a"),
        *(("devices.allow", line) for line in IMPLICIT),
    ]


@pytest.mark.rows("R170")
def test_rules_of_one_device_add_up_and_take_away() -> None:
    rules = [rule(True, "b", 8, 0, "r"), rule(True, "b", 8, 0, "wm"), rule(False, "b", 8, 0, "r")]
    assert ("devices.allow", "b 8:0 wm") in v1_writes(rules)


@pytest.mark.rows("R170")
def test_a_rule_for_all_forgets_the_earlier_whatever_its_access() -> None:
    assert v1_writes([rule(True, "c", 7, 1, "r"), {"allow": True, "type": "a", "access": "r"}]) == [
        ("devices.allow", "a")
    ]


@pytest.mark.rows("R170")
def test_exceptions_from_allowing_all() -> None:
    rules = [ALLOW_ALL, rule(False, "b", 8, None, "rw"), rule(False, "c", 7, 3, "w")]
    assert v1_writes(rules) == [
        ("devices.allow", "a"),
        ("devices.deny", "b 8:* rw"),
        ("devices.deny", "c 7:3 w"),
    ]


@pytest.mark.rows("R154", "R170")
def test_the_implicit_devices_cannot_be_denied() -> None:
    assert access([ALLOW_ALL, rule(False, "c", 1, 3, "rwm")]).exceptions == {}
    assert v1_writes([rule(False, "c", 1, 3, "rwm")]) == v1_writes([])


@pytest.mark.rows("R170")
@pytest.mark.parametrize(
    "rules",
    [
        [rule(True, "c", 7, None, "rw"), rule(False, "c", 7, 3, "r")],
        [rule(True, "c", None, None, "rw"), rule(False, "c", 7, None, "w")],
        [rule(True, "c", None, 3, "rw"), rule(False, "c", 7, None, "w")],
        [ALLOW_ALL, rule(False, "b", 8, None, "w"), rule(True, "b", 8, 1, "w")],
    ],
)
def test_a_hole_in_a_wildcard_is_refused(rules: list[Rule]) -> None:
    with pytest.raises(CgroupError, match="cannot punch hole"):
        v1_writes(rules)
    with pytest.raises(CgroupError, match="cannot punch hole"):
        program(rules)


@pytest.mark.rows("R170")
def test_a_wildcard_takes_away_what_is_within_it() -> None:
    rules = [rule(True, "c", 7, 1, "rw"), rule(True, "c", 7, 2, "r"), rule(False, "c", 7, -1, "r")]
    assert v1_writes(rules)[1] == ("devices.allow", "c 7:1 w")
    assert not any(value.startswith("c 7:2") for _, value in v1_writes(rules))


@pytest.mark.rows("R170", "R4")
@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (rule(True, "p", 1, 1, "r"), "type"),
        (rule(True, "u", 1, 1, "r"), "type"),
        (rule(True, "c", 1, 1, ""), "access"),
        (rule(True, "c", 1, 1, "x"), "access"),
        ({"allow": True, "type": "c", "major": 1, "minor": 1}, "access"),
        (rule(True, "c", -2, 1, "r"), "major"),
        (rule(True, "c", 1, 1 << 32, "r"), "minor"),
    ],
)
def test_rules_that_cannot_be(bad: Rule, path: str) -> None:
    with pytest.raises(CgroupError) as caught:
        v1_writes([DENY_ALL, bad])
    assert str(caught.value).startswith(f"linux.resources.devices[1].{path}: ")


def allows(code: bytes, kind: int, asked: int, major: int, minor: int) -> bool:
    return run(code, kind, asked, major, minor) == 1


@pytest.mark.rows("R170", "R153")
def test_the_program_of_an_ordinary_container() -> None:
    code = program([DENY_ALL, rule(True, "b", 8, 0, "r")])
    assert allows(code, CHARACTER, READ | WRITE, 1, 3)
    assert allows(code, CHARACTER, READ | WRITE, 136, 77)
    assert allows(code, BLOCK, READ, 8, 0)
    assert not allows(code, BLOCK, READ | WRITE, 8, 0)
    assert not allows(code, BLOCK, READ, 8, 1)
    assert not allows(code, CHARACTER, READ, 8, 0)
    assert not allows(code, CHARACTER, READ, 1, 1)
    assert allows(code, CHARACTER, MAKE, 1, 1)
    assert allows(code, CHARACTER, 0, 1, 1), "asking for no access at all is always allowed"


@pytest.mark.rows("R170")
def test_the_program_that_allows_all_but_some() -> None:
    code = program([ALLOW_ALL, rule(False, "c", 7, 3, "w")])
    assert allows(code, CHARACTER, READ, 7, 3)
    assert not allows(code, CHARACTER, READ | WRITE, 7, 3)
    assert allows(code, BLOCK, READ | WRITE, 7, 3)


@pytest.mark.rows("R170")
def test_large_device_numbers() -> None:
    code = program([rule(True, "b", (1 << 32) - 1, 1 << 31, "r")])
    assert allows(code, BLOCK, READ, (1 << 32) - 1, 1 << 31)
    assert not allows(code, BLOCK, READ, (1 << 31) - 1, 1 << 31)


LETTERS = {MAKE: "m", READ: "r", WRITE: "w"}
NUMBERS = [None, 1, 7, 8]


def last_word(rules: list[Rule], kind: str, bit: int, major: int, minor: int) -> bool:
    """The model: of one access to one device the last rule that is about it decides."""
    result = False
    for one in rules:
        numbers = one["major"] in (None, major) and one["minor"] in (None, minor)
        about = one["type"] == kind and LETTERS[bit] in one["access"] and numbers
        if one["type"] == "a" or about:
            result = one["allow"]
    return result


def parsed(line: str) -> Rule:
    kind, numbers, letters = line.split()
    major, minor = (None if one == "*" else int(one) for one in numbers.split(":"))
    return rule(True, kind, major, minor, letters)


def random_rules(source: random.Random) -> list[Rule]:
    result = []
    for _ in range(source.randrange(1, 7)):
        letters = "".join(source.sample("rwm", source.randrange(1, 4)))
        kind = source.choice("abccbbccb")
        major, minor = source.choice(NUMBERS), source.choice(NUMBERS)
        result.append(rule(source.random() < 0.6, kind, major, minor, letters))
    return result


@pytest.mark.rows("R170")
def test_the_program_agrees_with_the_model_on_random_rules() -> None:
    source = random.Random(170)
    tried = 0
    while tried < 300:
        rules = random_rules(source)
        try:
            code = program(rules)
        except CgroupError:
            continue
        tried += 1
        model = rules + [parsed(line) for line in IMPLICIT]
        for kind, letter in ((BLOCK, "b"), (CHARACTER, "c")):
            for bit in (READ, WRITE, MAKE):
                for major, minor in ((1, 1), (1, 7), (7, 8), (8, 1), (9, 9)):
                    expected = last_word(model, letter, bit, major, minor)
                    got = allows(code, kind, bit, major, minor)
                    assert got == expected, (rules, letter, LETTERS[bit], major, minor)
