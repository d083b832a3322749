"""struct mount_attr of mount_setattr(2), and the operations that carry it."""

from __future__ import annotations

import struct

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.operation import Operation

NOTHING = -1


def mount_attr(set_: int = 0, clear: int = 0, propagation: int = 0) -> bytes:
    """attr_set, attr_clr, propagation, userns_fd, each of 64 bits."""
    return struct.pack("<4Q", set_, clear, propagation, 0)


def change(slot: int, set_: int, clear: int, recursive: bool = False) -> Operation:
    """Set and clear attributes of the mount in a slot."""
    flags = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0)
    return op.mount_setattr(slot, "", flags, mount_attr(set_, clear), NOTHING)


def propagate(slot: int, kind: int, recursive: bool) -> Operation:
    """Change the propagation type of the mount in a slot: MS_SHARED, MS_SLAVE, ..."""
    flags = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0)
    return op.mount_setattr(slot, "", flags, mount_attr(propagation=kind), NOTHING)


def attach(mount: int, target: int) -> Operation:
    """Put the detached mount of one slot onto the place that another holds."""
    return op.move_mount(mount, target, "", c.MOVE_MOUNT_T_EMPTY_PATH)
