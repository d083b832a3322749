"""Read `linux.seccomp` into numbers: pure, knows neither libseccomp nor the kernel.

The whole configuration has been checked before; what is checked again here is what
would otherwise become another filter than the one asked for.
"""

from __future__ import annotations

import errno

from pyruntime.errors import ConfigError
from pyruntime.seccomp import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_ROOT = "linux.seccomp"
_ARGUMENT_LIMIT = 6
_VALUE_LIMIT = 1 << 64

# The actions that refuse: a system call nobody has thought of is worth an ENOSYS there.
_REFUSING = (names.ERRNO, names.KILL_THREAD, names.KILL_PROCESS, names.TRAP)


class Condition:
    """One comparison of a system call's argument; for MASKED_EQ `value` is the mask."""

    __slots__ = ("index", "operator", "value", "value_two")

    def __init__(self, index: int, operator: int, value: int, value_two: int) -> None:
        self.index = index
        self.operator = operator
        self.value = value
        self.value_two = value_two


class Rule:
    """One entry of `syscalls`.

    `alternatives` holds lists of conditions: the action is taken if all conditions of
    one list hold. An empty list always holds.
    """

    __slots__ = ("action", "alternatives", "names", "path")

    def __init__(
        self, path: str, names: list[str], action: int, alternatives: list[list[Condition]]
    ) -> None:
        self.path = path
        self.names = names
        self.action = action
        self.alternatives = alternatives


class Profile:
    """A `linux.seccomp` object; actions carry their errno in the low 16 bits.

    `flags` is None if the profile does not say (R233: that is not the same as none).
    """

    __slots__ = ("architectures", "default_action", "flags", "listener", "rules")

    def __init__(
        self,
        default_action: int,
        architectures: list[int],
        flags: list[str] | None,
        rules: list[Rule],
    ) -> None:
        self.default_action = default_action
        self.architectures = architectures
        self.flags = flags
        self.rules = rules
        self.listener = any(rule.action == names.NOTIFY for rule in rules)

    def refuses_newer(self) -> bool:
        """Tell whether unknown newer system calls shall get ENOSYS (R240)."""
        if self.default_action == names.ERRNO | errno.ENOSYS:
            return False
        return self.default_action & ~0xFFFF in _REFUSING


def read_profile(seccomp: dict[str, Any]) -> Profile:
    """Return the profile of a `linux.seccomp` object. Raises ConfigError with a JSON path."""
    default = _action(seccomp, "defaultAction", "defaultErrnoRet", _ROOT)
    if default == names.NOTIFY:
        _refuse(f"{_ROOT}.defaultAction", "SCMP_ACT_NOTIFY cannot be the default")
    rules = [
        _rule(entry, f"{_ROOT}.syscalls[{index}]")
        for index, entry in enumerate(_list(seccomp, "syscalls", _ROOT))
    ]
    flags = None if seccomp.get("flags") is None else _list(seccomp, "flags", _ROOT)
    return Profile(default, _architectures(seccomp), flags, rules)


def _architectures(seccomp: dict[str, Any]) -> list[int]:
    return [
        _lookup(names.ARCHITECTURES, name, f"{_ROOT}.architectures[{index}]", "architecture")
        for index, name in enumerate(_list(seccomp, "architectures", _ROOT))
    ]


def _action(entry: dict[str, Any], member: str, errno_member: str, path: str) -> int:
    action = _lookup(names.ACTIONS, entry.get(member), f"{path}.{member}", "action")
    number = entry.get(errno_member)
    limit = names.ERRNO_LIMITS.get(action)
    if limit is None:
        if number is not None:
            _refuse(f"{path}.{errno_member}", f"action {entry[member]} does not take an errno")
        return action
    return action | _integer(
        errno.EPERM if number is None else number, limit + 1, f"{path}.{errno_member}"
    )


def _rule(entry: Any, path: str) -> Rule:
    if not isinstance(entry, dict):
        _refuse(path, "not an object")
    called = _list(entry, "names", path)
    if not called:
        _refuse(f"{path}.names", "at least one name is required")
    for index, name in enumerate(called):
        if not isinstance(name, str):
            _refuse(f"{path}.names[{index}]", "not a string")
    return Rule(
        path, called, _action(entry, "action", "errnoRet", path), _alternatives(entry, path)
    )


def _alternatives(entry: dict[str, Any], path: str) -> list[list[Condition]]:
    """Return the conditions of an entry: one list of all, or one list each (R239).

    libseccomp cannot combine two conditions on one argument; as in runc and crun they
    then become rules of their own, which means: any of them.
    """
    conditions = [
        _condition(argument, f"{path}.args[{index}]")
        for index, argument in enumerate(_list(entry, "args", path))
    ]
    if len({condition.index for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _condition(argument: Any, path: str) -> Condition:
    if not isinstance(argument, dict):
        _refuse(path, "not an object")
    return Condition(
        _integer(argument.get("index"), _ARGUMENT_LIMIT, f"{path}.index"),
        _lookup(names.OPERATORS, argument.get("op"), f"{path}.op", "operator"),
        _integer(argument.get("value"), _VALUE_LIMIT, f"{path}.value"),
        _integer(argument.get("valueTwo") or 0, _VALUE_LIMIT, f"{path}.valueTwo"),
    )


def _list(entry: dict[str, Any], member: str, path: str) -> list[Any]:
    value = entry.get(member)
    if value is None:
        return []
    if not isinstance(value, list):
        _refuse(f"{path}.{member}", "not an array")
    return value


def _lookup(table: dict[str, int], name: Any, path: str, kind: str) -> int:
    if not isinstance(name, str) or name not in table:
        _refuse(path, "is required" if name is None else f"unknown {kind} {name!r}")
    return table[name]


def _integer(value: Any, limit: int, path: str) -> int:
    # type() and not isinstance(): true and false are no numbers in JSON.
    if type(value) is not int or not 0 <= value < limit:
        _refuse(path, f"{value!r} is not an integer from 0 to {limit - 1}")
    return value


def _refuse(path: str, reason: str) -> NoReturn:
    raise ConfigError([f"{path}: {reason}"])
