"""sysctl (requirement R213)."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings


def set_parameters(plan: Plan, settings: Settings) -> None:
    """Write each parameter below sys/ of the private procfs."""
    for key, value in (settings.linux.get("sysctl") or {}).items():
        plan.at = f".linux.sysctl[{key}]"
        path = "sys/" + parameter_path(key)
        plan.add(op.write_file(plan.slot("proc"), path, value.encode(), c.IN_PROC))


def parameter_path(key: str) -> str:
    """The file of a parameter. The first separator decides which of `.` and `/` separates;

    with `/` a name may have dots (an interface such as eno2.100).
    """
    dot, slash = key.find("."), key.find("/")
    if slash != -1 and (dot == -1 or slash < dot):
        return key
    return key.replace("/", "\0").replace(".", "/").replace("\0", ".")
