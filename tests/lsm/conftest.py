"""Real containers under AppArmor or SELinux, with the fixtures of tests/root."""

from __future__ import annotations

from tests.root.conftest import (
    bundle,
    busybox,
    container,
    host,
    make_container,
    runtime,
    subreaper,
    workplace,
)

__all__ = [
    "bundle",
    "busybox",
    "container",
    "host",
    "make_container",
    "runtime",
    "subreaper",
    "workplace",
]
