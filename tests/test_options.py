"""The table of verbs and options: sound in itself, and complete beside runc's."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from pyruntime import options
from pyruntime.options import Option, Verb

VERBS = [Verb(name, entry) for name, entry in options.VERBS.items()]
NAMES = [verb.name for verb in VERBS]
KINDS = {options.FLAG, options.STRING, options.INT, options.REPEAT}
# Options of runc that this runtime has no use for.
LEFT_OUT = {"criu"}


@pytest.mark.parametrize("verb", VERBS, ids=NAMES)
def test_no_name_is_given_twice(verb: Verb) -> None:
    names = [name for option in verb.options for name in option.names]
    assert len(names) == len(set(names))
    assert not {"help", "h"} & set(names)


@pytest.mark.parametrize(
    "option",
    [*options.global_options(), *(option for verb in VERBS for option in verb.options)],
    ids=lambda option: option.names[0],
)
def test_an_option_is_complete(option: Option) -> None:
    assert option.kind in KINDS
    assert option.help[0].islower() or option.help.startswith("AF_UNIX")
    assert not option.help.endswith(".")
    assert (option.kind == options.FLAG) == (option.metavar == "")
    kinds = {options.FLAG: bool, options.STRING: str, options.INT: int, options.REPEAT: list}
    assert type(option.initial()) is kinds[option.kind]
    assert all(len(name) == 1 for name in option.names[1:])


@pytest.mark.parametrize("verb", VERBS, ids=NAMES)
def test_a_verb_is_complete(verb: Verb) -> None:
    assert verb.summary
    assert verb.description.endswith(".")
    assert verb.fewest <= verb.most or verb.most == options.UNLIMITED
    assert bool(verb.synopsis) == (verb.most != 0)
    assert verb.synopsis.startswith("<") == (verb.fewest > 0)


def test_initial_lists_are_not_shared() -> None:
    entry = (("env", "e"), options.REPEAT, None, "NAME=VALUE", "set a variable", False)
    first, second = Option(entry).initial(), Option(entry).initial()
    assert first == second == []
    assert first is not second


@pytest.mark.parametrize(
    ("fewest", "most", "expected"),
    [
        (1, 1, 'pyruntime: "try" requires exactly 1 argument(s)'),
        (1, options.UNLIMITED, 'pyruntime: "try" requires a minimum of 1 argument(s)'),
        (0, 1, 'pyruntime: "try" requires from 0 to 1 argument(s)'),
    ],
)
def test_the_number_of_arguments_is_told(fewest: int, most: int, expected: str) -> None:
    verb = Verb("try", ("a", "b", "c.", fewest, most, False, False, ()))
    assert verb.requirement() == expected


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        pytest.param(
            "create",
            "bundle b config console-socket pid-file no-pivot no-new-keyring preserve-fds "
            "pidfd-socket",
            marks=pytest.mark.rows("R290"),
        ),
        pytest.param(
            "run",
            "bundle b config console-socket pid-file no-pivot no-new-keyring preserve-fds "
            "pidfd-socket detach d no-subreaper keep",
            marks=pytest.mark.rows("R290"),
        ),
        pytest.param("kill", "all a regex", marks=pytest.mark.rows("R292")),
        pytest.param("delete", "force f regex", marks=pytest.mark.rows("R293")),
        pytest.param("list", "format f quiet q"),
    ],
)
def test_callers_find_their_options(verb: str, expected: str) -> None:
    found = options.verb(verb)
    assert found is not None
    assert set(expected.split()) <= {name for option in found.options for name in option.names}


def help_options(*words: str) -> list[tuple[list[str], bool]]:
    """The options in runc's help: the names, and whether a value follows."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is not installed")
    text = subprocess.run([runc, *words, "--help"], capture_output=True, text=True).stdout
    section = text.partition("OPTIONS:\n")[2]
    found = []
    for line in section.splitlines():
        if match := re.match(r"\s+(--[a-z-]+(?: value)?(?:, --?[a-z-]+(?: value)?)*)  ", line):
            names = re.findall(r"-([a-z][a-z-]*)", match[1])
            found.append((names, " value" in match[1]))
    return found


@pytest.mark.parametrize("verb", VERBS, ids=NAMES)
def test_every_option_of_runc_is_there(verb: Verb) -> None:
    known = {name: option for option in verb.options for name in option.names}
    for names, has_value in help_options(verb.name):
        for name in names:
            assert name in known or name in {"help", "h"}
            assert (known[name].kind != options.FLAG) == has_value


def test_every_global_option_of_runc_is_there() -> None:
    known = {name: option for option in options.global_options() for name in option.names}
    found = help_options()
    assert len(found) > 5
    for names, has_value in found:
        for name in set(names) - LEFT_OUT:
            assert (known[name].kind != options.FLAG) == has_value
