"""Skip where the init is not built."""

from __future__ import annotations

import pytest

from tests.init.machine import PROGRAM


@pytest.fixture(autouse=True)
def program() -> None:
    """These tests start the compiled init."""
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built: make build")
