"""validate: every fault of the configuration of a bundle, without creating anything."""

from __future__ import annotations

from pyruntime import config
from pyruntime.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request


def execute(request: Request) -> int:
    """Print each fault on a line of its own, or that there is none.

    The bundle is the argument, the option bundle or the working directory. The exit
    status is 1 if there are faults. Raises PyruntimeError if the file cannot be read.
    """
    given = request.arguments[0] if request.arguments else request.options.get("bundle")
    bundle = given or "."
    path = request.options.get("config") or bundle.rstrip("/") + "/config.json"
    try:
        config.load(bundle, path)
    except ConfigError as error:
        print("\n".join(error.faults))
        return 1
    print(f"{path} is valid")
    return 0
