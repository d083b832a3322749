"""The terminal (requirements R62, R63, R154; CVE-2025-52565): everything by descriptor."""

from __future__ import annotations

import struct

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings

MASTER_NAME = b"/dev/ptmx"
DIRECTORY_MODE = 0o755
ENOENT = 2
ELOOP = 40


def open_terminal(plan: Plan, settings: Settings) -> None:
    """Open a pseudoterminal of the container's own devpts, send the master, take the peer.

    The multiplexer is opened below the root without following any link, and must
    lie on a devpts; the peer comes from the master, never from a path.
    """
    if not settings.process.get("terminal"):
        return
    _open_pair(plan, settings)
    _bind_console(plan, plan.slot("peer"))
    _hand_over(plan)


def open_another(plan: Plan, settings: Settings) -> None:
    """The same for exec, whose terminal is not the container's console."""
    if settings.process.get("terminal"):
        _open_pair(plan, settings)
        _hand_over(plan)


def _open_pair(plan: Plan, settings: Settings) -> None:
    plan.at = ".process.terminal"
    master, peer, root = plan.slot("master"), plan.slot("peer"), plan.slot("root")
    strict = c.IN_ROOT | c.RESOLVE_NO_SYMLINKS
    plan.add(op.openat2(master, root, "dev/pts/ptmx", c.O_RDWR | c.O_NOCTTY, 0, strict))
    plan.add(op.expect_filesystem(master, c.DEVPTS_SUPER_MAGIC))
    plan.add(op.tiocgptpeer(peer, master, c.O_RDWR | c.O_NOCTTY))
    _resize(plan, settings, master)


def _hand_over(plan: Plan) -> None:
    """Send the master away; the peer becomes the standard streams and controls the session."""
    plan.at = ".process.terminal"
    master, peer = plan.slot("master"), plan.slot("peer")
    plan.add(op.send_fd(plan.slot("console"), master, MASTER_NAME))
    plan.close("master")
    plan.close("console")
    for number in range(3):
        plan.add(op.dup3(peer, number))
    plan.add(op.ioctl_value(peer, c.TIOCSCTTY, 0))


def _resize(plan: Plan, settings: Settings, master: int) -> None:
    size = settings.process.get("consoleSize")
    if size and size["height"] and size["width"]:
        plan.at = ".process.consoleSize"
        rows, columns = min(size["height"], 0xFFFF), min(size["width"], 0xFFFF)
        plan.add(op.ioctl(master, c.TIOCSWINSZ, struct.pack("<4H", rows, columns, 0, 0)))


def _bind_console(plan: Plan, peer: int) -> None:
    """Bind the peer onto /dev/console. An image's link there is not followed but replaced."""
    dev, root, copy = plan.slot("dev"), plan.slot("root"), plan.slot("copy")
    target = plan.slot("target")
    strict = c.IN_ROOT | c.RESOLVE_NO_SYMLINKS
    plan.add(op.make_path(dev, root, "dev", DIRECTORY_MODE, -1))
    look = op.openat2(target, dev, "console", c.O_PATH, 0, strict)
    plan.add(look, (ELOOP, 1), (ENOENT, 2))
    plan.add(op.skip(1))
    plan.add(op.unlinkat(dev, "console", 0))
    plan.add(op.make_path(target, dev, "console", DIRECTORY_MODE, peer))
    flags = c.OPEN_TREE_CLONE | c.AT_EMPTY_PATH
    plan.add(op.open_tree(copy, peer, "", flags))
    plan.add(attach(copy, target))
