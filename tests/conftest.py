"""What every test below tests/ shares: the count of requirement rows.

conformance/ counts with the same plugin when make runs it; see rows_plugin.
"""

from __future__ import annotations

pytest_plugins = ["tests.rows_plugin"]
