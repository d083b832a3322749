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
# struct termios of the kernel, termios(3). The module of that name is a shared object.
TCGETS = 0x5401
TCSETSW = 0x5403
TERMIOS = struct.Struct("=4I20s")
BRKINT, INPCK, ISTRIP, ICRNL, IXON = 0x2, 0x10, 0x20, 0x100, 0x400
OPOST = 0x1
CSIZE, CS8, PARENB = 0x30, 0x30, 0x100
ISIG, ICANON, ECHO, IEXTEN = 0x1, 0x2, 0x8, 0x8000
CHUNK = 1 << 16
STDIN, STDOUT = 0, 1
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
        self.saved = b""
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
        self.saved = fcntl.ioctl(self.descriptor, TCGETS, bytes(TERMIOS.size))
        iflag, oflag, cflag, lflag, rest = TERMIOS.unpack(self.saved)
        raw = TERMIOS.pack(
            iflag & ~(BRKINT | INPCK | ISTRIP | ICRNL | IXON),
            oflag & ~OPOST,
            cflag & ~(CSIZE | PARENB) | CS8,
            lflag & ~(ISIG | ICANON | ECHO | IEXTEN),
            rest,
        )
        fcntl.ioctl(self.descriptor, TCSETSW, raw)

    def restore(self) -> None:
        """Give the terminal back as it was."""
        if self.saved:
            fcntl.ioctl(self.descriptor, TCSETSW, self.saved)

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


class Carrier:
    """Carries what is typed to the container's terminal, and what that shows to our stdout.

    Nothing waits for the container to read, and no error ends anything but the
    direction in which it occurs: the process is to be waited for in any case.
    """

    def __init__(self, terminal: Terminal | None, poll: Any) -> None:
        self.poll = poll
        self.master = -1 if terminal is None else terminal.master
        self.pending = b""
        self.reading = terminal is not None
        self.showing = True
        if terminal is not None:
            posix.set_blocking(self.master, False)
            poll.register(self.master, select.POLLIN)
            poll.register(STDIN, select.POLLIN)

    def serve(self, descriptor: int, events: int) -> None:
        """Act on what poll(2) has said of one descriptor."""
        if self.master == -1:
            return
        if descriptor == STDIN:
            self._take()
        elif descriptor == self.master:
            if events & select.POLLOUT:
                self._give()
            if events & ~select.POLLOUT:
                self.show()

    def show(self) -> bool:
        """Carry output; False when there is no more now, or ever."""
        try:
            data = posix.read(self.master, CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the other end open any more
            data = b""
        if not data:
            self._stop(self.master)
            return False
        while data and self.showing:
            data = data[self._write(data) :]
        return True

    def _write(self, data: bytes) -> int:
        try:
            return posix.write(STDOUT, data)
        except BlockingIOError:
            ready = select.poll()
            ready.register(STDOUT, select.POLLOUT)
            ready.poll()
            return 0
        except OSError:  # closed or full: go on reading, so that the program can go on too
            self.showing = False
            return 0

    def _take(self) -> None:
        try:
            self.pending = posix.read(STDIN, CHUNK)
        except OSError:
            self.pending = b""
        self._stop(STDIN)
        if self.pending:
            self._give()

    def _give(self) -> None:
        """Write what was typed as far as the terminal takes it, then listen for more."""
        try:
            self.pending = self.pending[posix.write(self.master, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            return
        if not self.reading:
            return
        if self.pending:
            self.poll.register(self.master, select.POLLIN | select.POLLOUT)
        else:
            self.poll.register(self.master, select.POLLIN)
            self.poll.register(STDIN, select.POLLIN)

    def _stop(self, descriptor: int) -> None:
        try:
            self.poll.unregister(descriptor)
        except KeyError:
            return
        if descriptor == self.master:
            self.reading = False


def serve(
    pid: int, signals: Signals, terminal: Terminal | None, proxy: Proxy | None = None
) -> int:
    """Stay until the process has exited; its exit status, 128 + signal if one killed it.

    When it says through `proxy` that it is ready, our own service manager is told so.
    """
    poll = select.poll()
    poll.register(signals.receiver, select.POLLIN)
    carrier = Carrier(terminal, poll)
    if proxy is not None:
        poll.register(proxy.descriptor, select.POLLIN)
    if terminal is not None:
        terminal.make_raw()
    try:
        while True:
            status = _reap(pid)
            if status is not None:
                break
            for descriptor, events in poll.poll():
                carrier.serve(descriptor, events)
                if proxy is not None and descriptor == proxy.descriptor:
                    _pass_on(proxy, poll)
            _forward(pid, signals, terminal)
        while carrier.reading and carrier.show():
            continue  # what the process wrote last may still be in the terminal
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
