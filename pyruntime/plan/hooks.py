"""The hooks that run inside of the container's namespaces (R52, R53); the others are Python's."""

from __future__ import annotations

from pyruntime.hooks import OUTPUTS
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings

MILLISECONDS = 1000
INSIDE = ("createContainer", "startContainer")


def run(plan: Plan, settings: Settings, kind: str, env: list[str]) -> None:
    """One operation for each hook of a kind. Their stdin is a file that holds the state.

    The state names the pid as the container sees it, which is not known when
    this is compiled, so the host side fills the file later (R34, R58).
    """
    for index, hook in enumerate(settings.hooks(kind)):
        plan.at = f".hooks.{kind}[{index}]"
        args = hook.get("args") or [hook["path"]]
        own = hook.get("env")
        timeout = (hook.get("timeout") or 0) * MILLISECONDS
        stdin = plan.slot("state " + kind)
        plan.add(op.run_hook(hook["path"], args, env if own is None else own, stdin, timeout))


def load(plan: Plan, settings: Settings) -> None:
    """Take the files with the state, one for each kind that is used, and those for output."""
    for kind in INSIDE:
        if settings.hooks(kind):
            plan.at = f".hooks.{kind}"
            number = settings.number("state " + kind)
            plan.add(op.load_fd(plan.slot("state " + kind), number))
    given = [name for name in OUTPUTS if name in settings.descriptors]
    for name in given:
        plan.at = f".annotations[{name}]"
        plan.add(op.load_fd(plan.slot(name), settings.number(name)))
    if given:
        plan.add(op.hook_output(*[plan.slots.get(name, -1) for name in OUTPUTS]))
