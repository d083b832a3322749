"""The errors of pyruntime, as a tree.

    PyruntimeError              anything a user is told in one line, exit status 1
      UsageError                the command line is wrong
      ConfigError               config.json is wrong: `.faults` lists every fault
      StateError                a container is not in the state that a verb needs
        UnknownContainer        no such container
        CorruptState            the files of a container cannot be read
      OperationError            the kernel refused an operation: errno, path in config, hint
      HookError                 a hook failed, or took too long
      CgroupError               a cgroup could not be made, filled, changed or removed
      CriuError                 CRIU is not there, or could not save or restore a container

A message is a sentence fragment in lower case, as runc's are: engines look for
runc's words in it ("container does not exist", "executable file not found in $PATH").
"""


class PyruntimeError(Exception):
    """Something that ends a command with one line and exit status 1."""


class UsageError(PyruntimeError):
    """The command line cannot be understood."""


class ConfigError(PyruntimeError):
    """config.json is refused.

    `faults` holds one line a fault, each beginning with its JSON path.
    """

    def __init__(self, faults: "list[str]") -> None:
        self.faults = faults
        super().__init__("invalid config.json: " + "; ".join(faults))


class StateError(PyruntimeError):
    """The container is not in the state that the verb needs."""


class UnknownContainer(StateError):
    """There is no container of that id under the root."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"container {identifier!r}: container does not exist")


class CorruptState(StateError):
    """The container's directory exists but what is in it cannot be read."""


class OperationError(PyruntimeError):
    """An operation of the kernel failed.

    `path` is the JSON path that asked for it, `errno` the kernel's number.
    """

    def __init__(self, message: str, path: str = "", errno: int = 0) -> None:
        self.path = path
        self.errno = errno
        super().__init__(message)


class HookError(PyruntimeError):
    """A hook exited with a status other than 0, was killed, or ran out of time."""


class CgroupError(PyruntimeError):
    """A cgroup could not be made, joined, written or removed."""


class CriuError(PyruntimeError):
    """CRIU is missing or too old, or could not do what it was asked."""
