"""What every test below tests/ shares: the count of requirement rows, and that ^C is heeded.

conformance/ counts with the same plugin when make runs it; see rows_plugin.
"""

from __future__ import annotations

from conformance.runtime import heed_interrupts

pytest_plugins = ["tests.rows_plugin"]


def pytest_configure() -> None:
    """Whatever started the tests."""
    heed_interrupts()
