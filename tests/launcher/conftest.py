"""Real containers, and one command line by each of the two lanes."""

from __future__ import annotations

from tests.root.conftest import (
    bundle,
    busybox,
    container,
    make_container,
    runtime,
    subreaper,
    workplace,
)

__all__ = [
    "bundle",
    "busybox",
    "container",
    "make_container",
    "runtime",
    "subreaper",
    "workplace",
]
