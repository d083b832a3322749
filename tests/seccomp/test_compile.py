"""Programs and flags that profiles are compiled to, checked in an interpreter."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest

from pyruntime.errors import ConfigError, PyruntimeError
from pyruntime.seccomp import names
from tests.seccomp import bpf
from tests.seccomp.profiles import (
    AARCH64,
    ARM,
    BEYOND,
    X32,
    X86,
    X86_64,
    answer,
    argument,
    binding,
    compiled,
    kernel_flags,
    large,
    number_of,
    profile,
    rule,
)

WITHOUT_DATA = {
    "KILL": 0,
    "KILL_THREAD": 0,
    "KILL_PROCESS": 0x80000000,
    "TRAP": 0x00030000,
    "LOG": 0x7FFC0000,
    "ALLOW": 0x7FFF0000,
    "NOTIFY": 0x7FC00000,
}
ERRNO = 0x00050000
TRACE = 0x7FF00000
ALLOW = WITHOUT_DATA["ALLOW"]
DEFAULTS = [action for action in WITHOUT_DATA if action != "NOTIFY"]
NO_SUCH_CALL = ERRNO | errno.ENOSYS


def refusal(seccomp: Any) -> str:
    """Compile a profile that must be refused; return the one fault."""
    with pytest.raises(ConfigError) as caught:
        compiled(seccomp)
    assert len(caught.value.faults) == 1
    return caught.value.faults[0]


@pytest.mark.rows("R230")
@pytest.mark.parametrize("action", DEFAULTS)
def test_default_action(action: str) -> None:
    other = "LOG" if action == "ALLOW" else "ALLOW"
    filter_ = compiled(profile(rule("getpid", other), default=action))
    assert answer(filter_, "getpid") == WITHOUT_DATA[other]
    assert answer(filter_, "read") == WITHOUT_DATA[action]


@pytest.mark.rows("R230")
def test_kill_by_default_and_no_rules_kills_at_once() -> None:
    filter_ = compiled(profile(default="KILL_PROCESS"))
    calls = [*range(500), BEYOND]
    assert {answer(filter_, call) for call in calls} == {WITHOUT_DATA["KILL_PROCESS"]}


@pytest.mark.rows("R230")
@pytest.mark.parametrize("value", [None, "", "SCMP_ACT_FOO", "ALLOW", 7, ["SCMP_ACT_ALLOW"]])
def test_default_action_is_required_and_known(value: Any) -> None:
    assert refusal(profile(defaultAction=value)).startswith("linux.seccomp.defaultAction: ")


@pytest.mark.rows("R230")
def test_notify_cannot_be_the_default() -> None:
    assert "SCMP_ACT_NOTIFY" in refusal(profile(default="NOTIFY"))


@pytest.mark.rows("R231")
@pytest.mark.parametrize(("given", "expected"), [(None, errno.EPERM), (0, 0), (38, 38), (2, 2)])
def test_default_errno(given: int | None, expected: int) -> None:
    for action, base in (("ERRNO", ERRNO), ("TRACE", TRACE)):
        members = {} if given is None else {"defaultErrnoRet": given}
        filter_ = compiled(profile(default=action, **members))
        assert answer(filter_, "read") == base | expected


@pytest.mark.rows("R231", "R238")
@pytest.mark.parametrize("action", sorted(WITHOUT_DATA))
def test_errno_with_an_action_that_has_none(action: str) -> None:
    fault = refusal(profile(rule("mkdir", action, errnoRet=1), default="TRAP"))
    assert fault.startswith("linux.seccomp.syscalls[0].errnoRet: ")
    assert f"SCMP_ACT_{action} " in fault
    if action != "NOTIFY":
        fault = refusal(profile(default=action, defaultErrnoRet=0))
        assert fault.startswith("linux.seccomp.defaultErrnoRet: ")


@pytest.mark.rows("R231", "R238")
@pytest.mark.parametrize("number", [-1, 4096, 1 << 32, True, "EPERM", 1.0])
def test_errno_out_of_range(number: Any) -> None:
    fault = refusal(profile(default="ERRNO", defaultErrnoRet=number))
    assert fault.startswith("linux.seccomp.defaultErrnoRet: ")
    fault = refusal(profile(rule("mkdir", "ERRNO", errnoRet=number)))
    assert fault.startswith("linux.seccomp.syscalls[0].errnoRet: ")


@pytest.mark.rows("R237", "R238")
def test_errno_of_rules() -> None:
    filter_ = compiled(
        profile(
            rule("mkdir", "ERRNO"),
            rule("rmdir", "ERRNO", errnoRet=0),
            rule("chmod", "ERRNO", errnoRet=95),
            rule("chown", "TRACE", errnoRet=60000),
            rule("link", "TRACE"),
        )
    )
    assert answer(filter_, "mkdir") == ERRNO | errno.EPERM
    assert answer(filter_, "rmdir") == ERRNO
    assert answer(filter_, "chmod") == ERRNO | 95
    assert answer(filter_, "chown") == TRACE | 60000
    assert answer(filter_, "link") == TRACE | errno.EPERM
    assert answer(filter_, "read") == ALLOW


@pytest.mark.rows("R237")
@pytest.mark.parametrize("action", sorted(WITHOUT_DATA))
def test_action_of_a_rule(action: str) -> None:
    default = "LOG" if action == "ALLOW" else "ALLOW"
    filter_ = compiled(profile(rule("mkdir rmdir", action), default=default))
    assert answer(filter_, "mkdir") == answer(filter_, "rmdir") == WITHOUT_DATA[action]
    assert answer(filter_, "read") == WITHOUT_DATA[default]
    assert filter_.listener is (action == "NOTIFY")


@pytest.mark.rows("R237")
def test_rule_equal_to_the_default_is_skipped() -> None:
    filter_ = compiled(
        profile(
            rule("mkdir", "ERRNO", errnoRet=2),
            rule("rmdir", "ERRNO", errnoRet=3),
            rule("read", "ALLOW"),
            default="ERRNO",
            defaultErrnoRet=2,
        )
    )
    assert answer(filter_, "mkdir") == ERRNO | 2
    assert answer(filter_, "rmdir") == ERRNO | 3
    assert answer(filter_, "read") == ALLOW


@pytest.mark.rows("R237")
def test_unconditional_rule_wins() -> None:
    condition = argument(0, "EQ", 1)
    filter_ = compiled(
        profile(
            rule("mkdir", "ERRNO", condition),
            rule("mkdir", "ALLOW"),
            rule("rmdir", "ALLOW"),
            rule("rmdir", "ERRNO", condition),
            default="TRAP",
        )
    )
    assert answer(filter_, "mkdir", 1) == answer(filter_, "rmdir", 1) == ALLOW


@pytest.mark.rows("R237")
def test_contradiction_is_named() -> None:
    condition = argument(0, "EQ", 1)
    rules = rule("mkdir", "ERRNO", condition), rule("read mkdir", "ALLOW", condition)
    fault = refusal(profile(*rules, default="TRAP"))
    assert fault.startswith("linux.seccomp.syscalls[1].names[1] mkdir: ")


@pytest.mark.rows("R232")
@pytest.mark.parametrize("name", sorted(names.ARCHITECTURES))
def test_architectures(name: str) -> None:
    """Each of the 23 is compiled, or libseccomp's refusal is told with its place."""
    seccomp = profile(rule("read", "ERRNO", errnoRet=5), architectures=[name])
    try:
        filter_ = compiled(seccomp)
    except ConfigError as error:
        assert name not in (X86_64, X86, X32, ARM, AARCH64) or sys.byteorder == "big"
        assert error.faults[0].startswith("linux.seccomp.architectures[0]: refused")
        return
    assert answer(filter_, "read", architecture=name) == ERRNO | 5
    assert answer(filter_, "write", architecture=name) == ALLOW


@pytest.mark.rows("R232")
def test_there_are_23_architectures() -> None:
    tokens = names.ARCHITECTURES.values()
    assert len(names.ARCHITECTURES) == len(set(tokens)) == 23


@pytest.mark.rows("R232")
def test_tokens_are_those_of_libseccomp() -> None:
    # The four that the binding lacks are from <linux/audit.h>.
    known = {"LOONGARCH64": 0xC0000102, "M68K": 4, "SH": 0x4000002A, "SHEB": 42}
    known.update({name: token for name, token in vars(binding().Arch).items() if name.isupper()})
    del known["NATIVE"]
    assert {f"SCMP_ARCH_{name}": known[name] for name in known} == names.ARCHITECTURES


@pytest.mark.rows("R232")
@pytest.mark.parametrize("architectures", [None, []])
def test_native_architecture_is_always_there(architectures: list[str] | None) -> None:
    filter_ = compiled(profile(rule("read", "ERRNO"), architectures=architectures))
    native = binding().system_arch()
    (name,) = [name for name, token in names.ARCHITECTURES.items() if token == native]
    assert answer(filter_, "read", architecture=name) == ERRNO | errno.EPERM
    other = ARM if name != ARM else X86
    assert answer(filter_, "read", architecture=other) == WITHOUT_DATA["KILL"]


@pytest.mark.rows("R232")
def test_sub_architectures_are_not_added() -> None:
    filter_ = compiled(profile())
    assert answer(filter_, "read") == ALLOW
    if binding().system_arch() != names.ARCHITECTURES[X86]:
        assert answer(filter_, "read", architecture=X86) == WITHOUT_DATA["KILL"]
    assert answer(filter_, "read", architecture=X32) == WITHOUT_DATA["KILL"]


@pytest.mark.rows("R232")
def test_each_architecture_has_its_own_numbers() -> None:
    listed = [X86_64, X86, X32, ARM, AARCH64, X86_64]
    filter_ = compiled(profile(rule("openat", "ERRNO"), architectures=listed))
    for name in listed:
        assert answer(filter_, "openat", architecture=name) == ERRNO | errno.EPERM
        assert answer(filter_, "close", architecture=name) == ALLOW


@pytest.mark.rows("R232")
@pytest.mark.parametrize("value", ["SCMP_ARCH_Z80", "X86_64", "", 62, None])
def test_unknown_architecture(value: Any) -> None:
    fault = refusal(profile(architectures=[X86_64, value]))
    assert fault.startswith("linux.seccomp.architectures[1]: ")


@pytest.mark.rows("R233")
def test_flags_absent_is_not_empty() -> None:
    spec_allow = 4 if "SECCOMP_FILTER_FLAG_SPEC_ALLOW" in kernel_flags() else 0
    assert compiled(profile()).flags == spec_allow
    assert compiled(profile(flags=None)).flags == spec_allow
    assert compiled(profile(flags=[])).flags == 0


@pytest.mark.rows("R233")
@pytest.mark.parametrize("name", sorted(names.FLAGS))
def test_each_flag(name: str) -> None:
    seccomp = profile(rule("mkdir", "NOTIFY"), flags=[name])
    if name not in kernel_flags():
        assert "not supported by this kernel" in refusal(seccomp)
        return
    extra = 16 if name == "SECCOMP_FILTER_FLAG_TSYNC" else 0
    assert compiled(seccomp).flags == names.FLAGS[name] | 8 | extra


@pytest.mark.rows("R233")
def test_flags_add_up() -> None:
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]
    assert compiled(profile(flags=flags)).flags == 3


@pytest.mark.rows("R233")
def test_flag_that_the_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    binding()
    monkeypatch.setattr("pyruntime.seccomp.compile._kernel_takes", lambda binding, flag: False)
    fault = refusal(profile(flags=["SECCOMP_FILTER_FLAG_LOG"]))
    assert fault.startswith("linux.seccomp.flags[0]: ") and "not supported" in fault
    assert compiled(profile()).flags == 0


@pytest.mark.rows("R233")
@pytest.mark.parametrize("name", ["SECCOMP_FILTER_FLAG_NEW_LISTENER", "TSYNC", "", 1, None])
def test_unknown_flag(name: Any) -> None:
    assert refusal(profile(flags=[name])).startswith("linux.seccomp.flags[0]: unknown flag ")


@pytest.mark.rows("R233")
def test_killable_wait_needs_something_to_wait_for() -> None:
    fault = refusal(profile(flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]))
    assert "SCMP_ACT_NOTIFY" in fault


@pytest.mark.rows("R234")
def test_notify_asks_for_a_listener() -> None:
    with_listener = compiled(profile(rule("mkdir", "NOTIFY"), flags=[]))
    assert with_listener.listener and with_listener.flags == 8
    without = compiled(profile(rule("mkdir", "ERRNO"), flags=[]))
    assert not without.listener and without.flags == 0


@pytest.mark.rows("R236")
@pytest.mark.parametrize("name", ["no_such_call", "", "read\0", "réad", "\udc80"])
def test_unknown_name_is_skipped_with_a_warning(name: str) -> None:
    entry = {"names": ["mkdir", name, "rmdir"], "action": "SCMP_ACT_ERRNO"}
    filter_ = compiled(profile(entry))
    assert answer(filter_, "mkdir") == answer(filter_, "rmdir") == ERRNO | errno.EPERM
    assert answer(filter_, "read") == ALLOW
    (warning,) = filter_.warnings
    assert warning.startswith(f"linux.seccomp.syscalls[0].names[1]: system call {name!r} ")


@pytest.mark.rows("R236")
def test_names_of_other_architectures() -> None:
    """socketcall has no number on x86-64, mmap2 neither: both count on x86."""
    seccomp = profile(rule("socketcall mmap2", "ERRNO"), architectures=[X86_64, X86])
    filter_ = compiled(seccomp)
    assert answer(filter_, "socketcall", architecture=X86) == ERRNO | errno.EPERM
    assert answer(filter_, "mmap2", architecture=X86) == ERRNO | errno.EPERM
    assert answer(filter_, "mmap", architecture=X86_64) == ALLOW
    assert not filter_.warnings


@pytest.mark.rows("R236", "R237", "R239")
@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"names": [], "action": "SCMP_ACT_ERRNO"}, "names"),
        ({"action": "SCMP_ACT_ERRNO"}, "names"),
        ({"names": "read", "action": "SCMP_ACT_ERRNO"}, "names"),
        ({"names": ["read", 3], "action": "SCMP_ACT_ERRNO"}, "names[1]"),
        ({"names": ["read"]}, "action"),
        ({"names": ["read"], "action": "SCMP_ACT_DENY"}, "action"),
        (rule("read", "ERRNO", argument(6, "EQ", 1)), "args[0].index"),
        (rule("read", "ERRNO", argument(-1, "EQ", 1)), "args[0].index"),
        (rule("read", "ERRNO", argument(0, "EQ", 1), argument(1, "EQ", 1 << 64)), "args[1].value"),
        (rule("read", "ERRNO", argument(0, "EQ", 1, -1)), "args[0].valueTwo"),
        (rule("read", "ERRNO", argument(0, "ABOUT", 1)), "args[0].op"),
        (rule("read", "ERRNO", {"index": 0, "op": "SCMP_CMP_EQ"}), "args[0].value"),
        ({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": {}}, "args"),
        ({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [1]}, "args[0]"),
    ],
)
def test_fault_has_its_place(entry: dict[str, Any], path: str) -> None:
    fault = refusal(profile(rule("mkdir", "ERRNO"), entry))
    assert fault.startswith(f"linux.seccomp.syscalls[1].{path}: ")


def test_entry_that_is_no_object() -> None:
    assert refusal(profile(syscalls=["read"])).startswith("linux.seccomp.syscalls[0]: ")


OVER_32 = 0x1_0000_0005


@pytest.mark.rows("R239")
@pytest.mark.parametrize(
    ("op", "value", "yes", "no"),
    [
        ("NE", 5, [4, 6, OVER_32], [5]),
        ("LT", 5, [0, 4], [5, 6, OVER_32]),
        ("LE", 5, [0, 5], [6, OVER_32]),
        ("EQ", 5, [5], [4, OVER_32]),
        ("GE", 5, [5, 6, OVER_32], [4]),
        ("GT", 5, [6, OVER_32], [4, 5]),
        ("EQ", OVER_32, [OVER_32], [5, 0x2_0000_0005]),
        ("GT", OVER_32, [OVER_32 + 1, 2**64 - 1], [OVER_32, 6]),
        ("LT", OVER_32, [5, 0xFFFFFFFF, OVER_32 - 1], [OVER_32, 2**64 - 1]),
    ],
)
def test_operators(op: str, value: int, yes: list[int], no: list[int]) -> None:
    for index in range(6):
        filter_ = compiled(profile(rule("mkdir", "ERRNO", argument(index, op, value))))
        before = [0] * index
        assert {answer(filter_, "mkdir", *before, given) for given in yes} == {ERRNO | 1}
        assert {answer(filter_, "mkdir", *before, given) for given in no} == {ALLOW}


@pytest.mark.rows("R239")
def test_masked_equal_takes_the_mask_first() -> None:
    condition = argument(0, "MASKED_EQ", 0xF0_0000_00F0, 0x10_0000_0020)
    filter_ = compiled(profile(rule("mkdir", "ERRNO", condition)))
    for given in (0x10_0000_0020, 0x1F_0000_0F2F):
        assert answer(filter_, "mkdir", given) == ERRNO | 1
    for given in (0, 0x20, 0x10_0000_0000, 0x10_0000_0030):
        assert answer(filter_, "mkdir", given) == ALLOW


@pytest.mark.rows("R239")
def test_conditions_are_all_required() -> None:
    conditions = argument(0, "EQ", 1), argument(1, "GT", 2), argument(5, "NE", 3)
    filter_ = compiled(profile(rule("mkdir", "ERRNO", *conditions)))
    assert answer(filter_, "mkdir", 1, 3) == ERRNO | 1
    for given in ((0, 3), (1, 2), (1, 3, 0, 0, 0, 3)):
        assert answer(filter_, "mkdir", *given) == ALLOW


@pytest.mark.rows("R239")
def test_repeated_index_means_any_condition() -> None:
    conditions = argument(0, "EQ", 1), argument(0, "EQ", 2), argument(1, "EQ", 9)
    filter_ = compiled(profile(rule("mkdir", "ERRNO", *conditions)))
    for given in ((1,), (2,), (7, 9)):
        assert answer(filter_, "mkdir", *given) == ERRNO | 1
    assert answer(filter_, "mkdir", 7, 8) == ALLOW


@pytest.mark.rows("R240")
@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "TRAP"])
def test_newer_call_does_not_exist(default: str) -> None:
    listed = [X86_64, X86, X32, ARM, AARCH64]
    allowed = rule("read openat statx", "ALLOW")
    filter_ = compiled(profile(allowed, default=default, architectures=listed))
    for name in listed:
        newest = number_of("statx", name)
        if name == X86_64:
            assert newest == 332
        assert answer(filter_, newest, architecture=name) == ALLOW
        assert answer(filter_, newest + 1, architecture=name) == NO_SUCH_CALL
        assert answer(filter_, newest + 9000, architecture=name) == NO_SUCH_CALL
        assert answer(filter_, newest - 1, architecture=name) != NO_SUCH_CALL


@pytest.mark.rows("R240")
@pytest.mark.parametrize(
    ("default", "members"),
    [("ALLOW", {}), ("LOG", {}), ("TRACE", {}), ("ERRNO", {"defaultErrnoRet": 38})],
)
def test_no_answer_for_newer_calls(default: str, members: dict[str, int]) -> None:
    filter_ = compiled(profile(rule("read", "ERRNO", errnoRet=5), default=default, **members))
    bases = {"TRACE": TRACE | 1, "ERRNO": NO_SUCH_CALL, **WITHOUT_DATA}
    assert answer(filter_, BEYOND) == bases[default]


@pytest.mark.rows("R240", "R232")
def test_foreign_architectures_are_killed_all_the_same() -> None:
    filter_ = compiled(profile(rule("read", "ALLOW"), default="ERRNO"))
    assert answer(filter_, BEYOND) == NO_SUCH_CALL
    assert answer(filter_, "read", architecture=X32) == WITHOUT_DATA["KILL"]
    assert answer(filter_, BEYOND | 0x40000000) == WITHOUT_DATA["KILL"]


@pytest.mark.rows("R240")
def test_private_calls_of_arm_are_not_new() -> None:
    seccomp = profile(rule("read set_tls", "ALLOW"), default="ERRNO", architectures=[ARM])
    filter_ = compiled(seccomp)
    assert answer(filter_, "set_tls", architecture=ARM) == ALLOW
    assert answer(filter_, "cacheflush", architecture=ARM) == ERRNO | 1
    assert answer(filter_, "write", architecture=ARM) == NO_SUCH_CALL


@pytest.mark.rows("R240")
def test_tree_answers_as_the_list_does(monkeypatch: pytest.MonkeyPatch) -> None:
    binding()
    tree = compiled(large())
    monkeypatch.setattr("pyruntime.seccomp.compile._TREE_THRESHOLD", 1 << 20)
    plain = compiled(large())
    longest = {tree.program: 0, plain.program: 0}
    for token in (names.ARCHITECTURES[X86_64], names.ARCHITECTURES[X86]):
        for number in [*range(0, 480, 3), 0x40000000, 0x40000208, BEYOND, 0xFFFFFFFF]:
            for first in (0, 40, 0x10000000):
                data = bpf.seccomp_data(token, number, (first, 0x5412))
                answers = [bpf.run(filter_.program, data) for filter_ in (tree, plain)]
                assert answers[0].value == answers[1].value, (token, number, first)
                for filter_, found in zip((tree, plain), answers, strict=True):
                    longest[filter_.program] = max(longest[filter_.program], found.steps)
    assert longest[tree.program] * 4 < longest[plain.program]


@pytest.mark.rows("R236", "R237", "R238", "R239", "R240")
def test_large_profile() -> None:
    filter_ = compiled(large())
    for name in (X86_64, X86, X32):
        assert answer(filter_, "execve", architecture=name) == ALLOW
        assert answer(filter_, "mount", architecture=name) == ERRNO | errno.EPERM
        assert answer(filter_, "clone3", architecture=name) == NO_SUCH_CALL
        assert answer(filter_, "kexec_load", architecture=name) == WITHOUT_DATA["KILL_PROCESS"]
    assert answer(filter_, "personality", 8) == ALLOW
    assert answer(filter_, "personality", 9) == ERRNO | errno.EPERM
    assert answer(filter_, "clone", 0x11) == ALLOW
    assert answer(filter_, "clone", 0x10000011) == ERRNO | errno.EPERM
    assert answer(filter_, "ioctl", 0, 0x5412) == ERRNO | errno.EPERM
    assert answer(filter_, "read", architecture=ARM) == WITHOUT_DATA["KILL"]
    assert answer(filter_, BEYOND) == NO_SUCH_CALL


def test_missing_binding_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyruntime.seccomp import compile as compiler

    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(PyruntimeError, match="pyseccomp is not installed"):
        compiler.load_binding()
