"""The host's end of the conversation with the init."""

from __future__ import annotations

import os
import socket

import pytest

from pyruntime.init_process import CLONED, MESSAGE, InitProcess
from pyruntime.plan.builder import Plan
from pyruntime.plan.namespaces import SYNC_LISTENER, SYNC_READY


@pytest.mark.rows("R241", "R300")
def test_a_message_that_overtakes_the_clones_keeps_its_value() -> None:
    """The value is the descriptor of a seccomp listener: another one's would be somebody's file."""
    init = InitProcess(Plan())
    init.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outer = os.fork()
    if outer == 0:
        os._exit(0)
    init.outer = outer
    for kind, value in ((SYNC_LISTENER, 9), (SYNC_READY, 0), (CLONED, 4711)):
        theirs.send(MESSAGE.pack(kind, 0, value))
    found = [(init.receive(), init.value) for _ in range(3)]
    theirs.close()
    init.socket.close()
    assert found == [(CLONED, 4711), (SYNC_LISTENER, 9), (SYNC_READY, 0)]
    assert (init.pid, init.outer) == (4711, 0)
