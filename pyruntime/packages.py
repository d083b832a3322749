"""Third-party packages, for the slow lane: the runtime is started without site directories."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def import_package(name: str) -> Any:
    """Import a module of a package. Raises ModuleNotFoundError.

    Installed by pip, a package lies beside this one; installed by the distribution,
    in the interpreter's own directories.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        site = importlib.import_module("site")
        sys.path += [path for path in site.getsitepackages() if path not in sys.path]
        importlib.invalidate_caches()
        return importlib.import_module(name)
