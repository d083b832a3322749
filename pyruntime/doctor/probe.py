"""Trying a system call: a plan that the init performs in a process of its own and leaves."""

from __future__ import annotations

import errno
import posix

from pyruntime import failures
from pyruntime.doctor.finding import NO, UNKNOWN, YES, Finding
from pyruntime.errors import PyruntimeError
from pyruntime.init_process import InitProcess
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan
from pyruntime.plan.encode import RESULTS_HEADER
from pyruntime.plan.operations import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.facts import Facts
    from pyruntime.plan.operation import Operation


def begin(facts: Facts, namespaces: int = 0) -> Plan:
    """A plan that begins in new namespaces; whoever is not root becomes root in one of users."""
    plan = Plan()
    if not facts.privileged:
        namespaces |= c.CLONE_NEWUSER
    if namespaces:
        plan.add(op.unshare(namespaces))
    return plan


def perform(plan: Plan, inherited: list[int]) -> tuple[int, int]:
    """Perform a plan and leave: (index of the operation that failed or -1, its errno).

    Raises PyruntimeError if the init cannot be started or dies of something else.
    """
    plan.add(op.exit(0))
    init = InitProcess(plan)
    try:
        init.spawn(inherited)
        while init.receive():
            pass
        status = init.reap()
        header = posix.pread(init.results, RESULTS_HEADER.size, 0)
        _, index, number, _ = RESULTS_HEADER.unpack(header)
        if index < 0 and status:
            raise PyruntimeError(failures.wait_status(status))
        return index, number
    finally:
        init.kill()
        init.close()


def attempt(
    name: str,
    plan: Plan,
    subjects: list[Operation],
    cost: str,
    needed: bool = False,
    inherited: list[int] | None = None,
) -> Finding:
    """Whether the operations `subjects` work when `plan` has prepared them.

    If the preparation fails, nothing is known of them.
    """
    first = len(plan.operations)
    for operation in subjects:
        plan.add(operation)
    try:
        index, number = perform(plan, inherited or [])
    except (PyruntimeError, OSError) as error:
        return Finding(name, UNKNOWN, f"not tried: {error}", cost, needed)
    if index < 0:
        return Finding(name, YES, "", cost, needed)
    call = NAMES[plan.operations[index].number]
    detail = f"{call}: {errno.errorcode.get(number, str(number))} ({failures.reason(number)})"
    state = NO if index >= first else UNKNOWN
    return Finding(name, state, detail, cost, needed)
