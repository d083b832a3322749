"""The command: read the request, perform its verb, say what went wrong.

Every error is printed here and nowhere else. A verb raises PyruntimeError for what
a user can be told; anything else that escapes is told in one line too, and with
--debug the log has the traceback.
"""

from __future__ import annotations

import posix
import sys
from errno import EBADF

from pyruntime import options, parsing
from pyruntime.errors import CgroupError, HookError, OperationError, PyruntimeError
from pyruntime.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyruntime.request import Request

_PREFIXES = {
    "create": "pyruntime create failed: ",
    "run": "pyruntime run failed: ",
    "exec": "exec failed: ",
}
# runc's words for whatever stops a process on its way to its program: people look for them.
_NOT_STARTED = "unable to start container process: "
_STARTING = ("create", "run", "start", "exec")
_EXEC_FAILED = 255
_RESUMED = "pyruntime.resumed"  # loaded where this goes on from a snapshot
_STDOUT = "write /dev/stdout"  # as runc names it


def main() -> NoReturn:
    """Run the command line of this process and end the process with its exit status."""
    _fill_standard_descriptors()
    posix._exit(_run(sys.argv[1:]))


def _run(words: list[str]) -> int:
    """The exit status of the command."""
    log = Log()
    verb = ""
    try:
        request = parsing.parse(words)
        if request is None:
            answer = _explain(words)
            if isinstance(answer, int):
                _flush()
                return answer
            request = answer
        log = request.log
        if _RESUMED in sys.modules:
            sys.modules[_RESUMED].leave(request.command)
        request.prepare()
        verb = request.command
        status = _perform(request)
        _flush()
        return status
    except parsing.NotUnderstood as error:
        _report(error, error.log, verb)
        return error.status
    except BaseException as error:
        return _report(error, log, verb)


def _explain(words: list[str]) -> int | Request:
    """What the hot lane does not understand: help, the version, or a usage error."""
    if words in (["--version"], ["-v"]):
        sys.stdout.write(options.version(sys.version.partition(" ")[0]))
        return 0
    try:
        return _cli(words)
    except ModuleNotFoundError as error:
        reason = parsing.fault(words)
        raise PyruntimeError(f"{reason} (for help, install {error.name})") from error


def _cli(words: list[str]) -> int | Request:
    from pyruntime import resumed

    resumed.leave()
    try:
        from pyruntime import cli
    except ModuleNotFoundError:
        # Started without site: click is perhaps where the system's packages are.
        import site

        site.main()
        from pyruntime import cli
    return cli.resolve(words)


def _perform(request: Request) -> int:
    name = "pyruntime.commands." + request.command.replace("-", "_")
    __import__(name)
    status: int = sys.modules[name].execute(request)
    return status


def _report(error: BaseException, log: Log, verb: str) -> int:
    """Print the error that ended the verb, "" if it had not begun; the exit status."""
    try:
        _flush()
    except OSError:
        pass  # the error to be reported came first, or is this very one
    try:
        message = _prefix(error, verb) + _message(error)
        if log.debug_enabled:
            _log_traceback(error, log)
        log.fatal(message, _place(error))
        if posix.isatty(2):
            _advise(message, verb)
    except Exception:  # out of memory, most likely: nothing that can be told is left
        posix.write(2, b"pyruntime: out of memory\n")
    return _EXEC_FAILED if verb == "exec" else 1


def _advise(message: str, verb: str) -> None:
    """Tell a person at a terminal what to do next; no program reads that."""
    from pyruntime.hints import hint

    advice = hint(message, verb)
    if advice:
        posix.write(2, f"hint: {advice}\n".encode())


def _prefix(error: BaseException, verb: str) -> str:
    """What stands before the message: the verb, and whether it was the process that failed."""
    kinds = (OperationError, HookError, CgroupError)
    failed = verb in _STARTING and isinstance(error, kinds)
    return _PREFIXES.get(verb, "") + (_NOT_STARTED if failed else "")


def _message(error: BaseException) -> str:
    """What to tell a user, in one line."""
    if isinstance(error, PyruntimeError):
        return str(error) or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        return _system_message(error)
    return f"internal error: {type(error).__name__}: {error}"


def _system_message(error: OSError) -> str:
    """An error of the kernel in lower case: engines look for runc's "no such process"."""
    reason = error.strerror or str(error) or type(error).__name__
    reason = reason[:1].lower() + reason[1:]
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' '.join(names)}: {reason}" if names else reason


def _place(error: BaseException) -> tuple[str, str] | None:
    """The function and "file:line" where the error began."""
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    function = f"{trace.tb_frame.f_globals.get('__name__', '')}.{code.co_name}"
    return function, f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def _log_traceback(error: BaseException, log: Log) -> None:
    import traceback

    for entry in traceback.format_exception(error):
        for line in entry.rstrip("\n").split("\n"):
            log.debug(line)


def _fill_standard_descriptors() -> None:
    """Open /dev/null wherever descriptor 0, 1 or 2 is closed.

    Otherwise the next file to be opened would take the number, and a message, or the
    container's output, would be written into it.
    """
    for fd in range(3):
        try:
            posix.fstat(fd)
        except OSError:
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)
            if fd == 1:
                sys.stdout = _ClosedOutput()


class _ClosedOutput:
    """Standard output that the caller closed: what is written to it is not lost silently."""

    def write(self, text: str) -> int:
        raise OSError(EBADF, posix.strerror(EBADF), _STDOUT)

    def flush(self) -> None:
        pass


def _flush() -> None:
    """Write what is still in the buffer: leaving by _exit would lose it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, _STDOUT) from error


if __name__ == "__main__":
    main()
