"""Staying with a container's process: signals passed on, the terminal carried, the status kept.

A process without a terminal has the runtime's own stdin, stdout and stderr, so
there is nothing to copy; with one, the runtime sits between its own terminal
and the container's.
"""

from __future__ import annotations

import _signal
import _socket
import fcntl
import posix
import select
import struct

from pyruntime.errors import PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.notify import Proxy

TIOCGWINSZ = 0x5413
TIOCSWINSZ = 0x5414
CHUNK = 1 << 16
NOT_FORWARDED = ("SIGCHLD", "SIGWINCH", "SIGURG", "SIGKILL", "SIGSTOP", "SIGPIPE", "SIGTTOU")


class Signals:
    """While in use, signals arrive as bytes on a descriptor instead of ending the runtime."""

    def __init__(self) -> None:
        self.receiver, self.sender = _socket.socketpair()
        self.receiver.setblocking(False)
        self.sender.setblocking(False)
        self.before: dict[int, Any] = {}

    def catch(self) -> None:
        """Take over every signal that is forwarded, and SIGCHLD and SIGWINCH."""
        _signal.set_wakeup_fd(self.sender.fileno(), warn_on_full_buffer=False)
        fixed = {_signal.SIGKILL, _signal.SIGSTOP, 32, 33}
        for number in range(1, 65):
            if number not in fixed:
                self.before[number] = _signal.signal(number, _note)

    def release(self) -> None:
        """Give every signal back."""
        _signal.set_wakeup_fd(-1)
        for number, handler in self.before.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        self.receiver.close()
        self.sender.close()

    def arrived(self) -> list[int]:
        """The signals since the last call."""
        try:
            return list(self.receiver.recv(4096))
        except BlockingIOError:
            return []


def _note(number: int, frame: object) -> None:
    """The byte on the descriptor is all that is needed."""


class Terminal:
    """The runtime's own terminal, raw while the container has it (R62)."""

    def __init__(self) -> None:
        self.descriptor = _own_terminal()
        self.saved: list[Any] = []
        self.ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.theirs = theirs.detach()
        self.master = -1

    def receive(self) -> None:
        """Take the master of the container's terminal, which its init has sent."""
        posix.close(self.theirs)
        space = _socket.CMSG_SPACE(4)
        _, rights, _, _ = self.ours.recvmsg(4096, space)
        if not rights:
            raise PyruntimeError("the container's init did not send its terminal")
        self.master = struct.unpack("i", rights[0][2][:4])[0]
        self.resize()

    def make_raw(self) -> None:
        """Every key goes to the container as it is, the interrupt key too."""
        import termios

        self.saved = termios.tcgetattr(self.descriptor)
        raw = termios.tcgetattr(self.descriptor)
        raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
        raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
        raw[1] &= ~termios.OPOST
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, raw)

    def restore(self) -> None:
        """Give the terminal back as it was."""
        import termios

        if self.saved:
            termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self.saved)

    def resize(self) -> None:
        """The container's terminal gets the size of ours."""
        size = fcntl.ioctl(self.descriptor, TIOCGWINSZ, bytes(8))
        if size[:4] != bytes(4):
            fcntl.ioctl(self.master, TIOCSWINSZ, size)


def _own_terminal() -> int:
    for descriptor in (2, 1, 0):
        if posix.isatty(descriptor):
            return descriptor
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_CLOEXEC)
    except OSError:
        raise PyruntimeError(
            "open /dev/tty: no such device or address (process.terminal needs a terminal; "
            "without one, use --detach with --console-socket)"
        ) from None


def serve(
    pid: int, signals: Signals, terminal: Terminal | None, proxy: Proxy | None = None
) -> int:
    """Stay until the process has exited; its exit status, 128 + signal if one killed it.

    When it says through `proxy` that it is ready, our own service manager is told so.
    """
    poll = select.poll()
    poll.register(signals.receiver, select.POLLIN)
    copies = _copies(terminal, poll)
    if proxy is not None:
        poll.register(proxy.descriptor, select.POLLIN)
    if terminal is not None:
        terminal.make_raw()
    try:
        while True:
            status = _reap(pid)
            if status is not None:
                break
            for descriptor, _ in poll.poll():
                if descriptor in copies:
                    _copy(descriptor, copies, poll)
                elif proxy is not None and descriptor == proxy.descriptor:
                    _pass_on(proxy, poll)
            _forward(pid, signals, terminal)
        _drain(terminal, copies)
        return status
    finally:
        if terminal is not None:
            terminal.restore()


def _pass_on(proxy: Proxy, poll: Any) -> None:
    """The manager goes on to watch this process, which stays as long as the container."""
    from pyruntime import notify

    line = proxy.receive()
    if line:
        notify.forward(line, posix.getpid())
        poll.unregister(proxy.descriptor)


def _copies(terminal: Terminal | None, poll: Any) -> dict[int, int]:
    """From which descriptor to which bytes are carried."""
    copies = {} if terminal is None else {terminal.master: 1, 0: terminal.master}
    for descriptor in copies:
        poll.register(descriptor, select.POLLIN)
    return copies


def _copy(source: int, copies: dict[int, int], poll: Any) -> None:
    """Carry what is there. At the end of input, or of the terminal, stop listening."""
    try:
        data = posix.read(source, CHUNK)
    except OSError:  # EIO: nobody has the other end open any more
        data = b""
    if not data:
        poll.unregister(source)
        del copies[source]
        return
    while data:
        data = data[posix.write(copies[source], data) :]


def _drain(terminal: Terminal | None, copies: dict[int, int]) -> None:
    """What the process wrote last may still be in the terminal."""
    if terminal is None:
        return
    poll = select.poll()
    poll.register(terminal.master, select.POLLIN)
    while terminal.master in copies and poll.poll(0):
        _copy(terminal.master, copies, poll)


def _reap(pid: int) -> int | None:
    done, status = posix.waitpid(pid, posix.WNOHANG)
    if done == 0:
        return None
    return 128 + (status & 0x7F) if status & 0x7F else status >> 8


def _forward(pid: int, signals: Signals, terminal: Terminal | None) -> None:
    """Pass signals on. The process is our child and not yet reaped, so the pid is its own."""
    kept = {int(getattr(_signal, name)) for name in NOT_FORWARDED}
    for number in signals.arrived():
        if number == _signal.SIGWINCH and terminal is not None:
            terminal.resize()
        elif number not in kept:
            posix.kill(pid, number)
