"""pyruntime state: print a container's state as JSON (R30, R35)."""

from __future__ import annotations

import sys

from pyruntime import documents, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Print the state, in runc's order and indentation, without a newline at the end."""
    container = state.load(request.root, request.arguments[0], to_act=False)
    sys.stdout.write(documents.dumps_indented(summary(container)))
    return 0


def summary(container: state.Container, status: str | None = None) -> dict[str, Any]:
    """The state that state and list print; pid is 0 once the container has stopped.

    `status` is found out if it is not given.
    """
    status = status or container.status()
    values = container.values
    result = {
        "ociVersion": values["ociVersion"],
        "id": container.identifier,
        "pid": 0 if status == state.STOPPED else container.pid,
        "status": status,
        "bundle": values["bundle"],
        "rootfs": values["rootfs"],
        "created": values["created"],
    }
    if values.get("annotations"):
        result["annotations"] = values["annotations"]
    result["owner"] = ""
    return result
