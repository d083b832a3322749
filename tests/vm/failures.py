"""What can go wrong with a guest, for the one place that prints it (__main__.py)."""

from __future__ import annotations


class Failure(Exception):
    """The guest cannot be built or started; the text is for the user."""


class GuestDied(Failure):
    """QEMU or the guest ended before the command did."""


class TimedOut(Failure):
    """The command did not end in time."""
