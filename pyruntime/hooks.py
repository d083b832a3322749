"""Hooks that run in the runtime's namespaces (R50, R51, R54 to R60)."""

from __future__ import annotations

import posix

from pyruntime import documents, failures, processes
from pyruntime.errors import HookError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_SIGNALS = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]
FOR_EVER = -1
OUTPUT_LIMIT = 4096
OUTPUT_MODE = 0o600
# Annotations that name files for what the hooks write; here, for start imports this module.
OUTPUTS = ("run.oci.hooks.stdout", "run.oci.hooks.stderr")


def run(kind: str, hooks: list[dict[str, Any]], state: dict[str, Any]) -> None:
    """Run the hooks of a kind in order; the first failure ends it. Raises HookError."""
    for index, hook in enumerate(hooks):
        run_one(f"hooks.{kind}[{index}]", hook, state)


def run_all(kind: str, hooks: list[dict[str, Any]], state: dict[str, Any]) -> list[str]:
    """Run every hook whatever happens (poststop, R55); what failed, as texts."""
    failed = []
    for index, hook in enumerate(hooks):
        try:
            run_one(f"hooks.{kind}[{index}]", hook, state)
        except HookError as error:
            failed.append(str(error))
    return failed


def run_one(at: str, hook: dict[str, Any], state: dict[str, Any]) -> None:
    """Run one hook with the state on its stdin, and wait for it, at most its timeout (R59).

    Its output goes to a file in memory: the runtime's own stdout and stderr are
    the container's, and a grandchild that keeps a pipe open must not hold us up.
    What an annotation sends to another file is appended there.
    """
    stdin, output = state_file(state), posix.memfd_create("output", 1)
    streams = [output, output]
    try:
        for number, annotation in enumerate(OUTPUTS):
            if (state.get("annotations") or {}).get(annotation):
                streams[number] = _open_output(annotation, state)
        status = _execute(hook, stdin, streams)
    except OSError as error:
        raise HookError(f"{at}: hook {hook['path']}: {failures.reason(error.errno or 0)}") from None
    finally:
        tail = _tail(output)
        for descriptor in {stdin, output, *streams}:
            posix.close(descriptor)
    if status is None:
        raise HookError(f"{at}: hook {hook['path']}: timed out after {hook['timeout']} s, killed")
    if status:
        said = f": {tail}" if tail else ""
        raise HookError(f"{at}: hook {hook['path']}: {failures.wait_status(status)}{said}")


def state_file(state: dict[str, Any] | None) -> int:
    """A file in memory with a state, read from its beginning. None: filled later."""
    descriptor = posix.memfd_create("state", 1)
    if state is not None:
        fill(descriptor, state)
    return descriptor


def fill(descriptor: int, state: dict[str, Any]) -> None:
    """Write a state into its file."""
    posix.write(descriptor, documents.dumps(state).encode())
    posix.lseek(descriptor, 0, 0)


def open_outputs(state: dict[str, Any]) -> dict[str, int]:
    """The files that the annotations name, open, for the hooks that the init runs.

    By the annotation's name. Raises HookError with none of them left open.
    """
    annotations = state.get("annotations") or {}
    opened: dict[str, int] = {}
    try:
        for annotation in OUTPUTS:
            if annotations.get(annotation):
                opened[annotation] = _open_output(annotation, state)
    except HookError:
        for descriptor in opened.values():
            posix.close(descriptor)
        raise
    return opened


def _open_output(annotation: str, state: dict[str, Any]) -> int:
    """The file that an annotation names, from the bundle if the path is relative."""
    name = state["annotations"][annotation]
    path = name if name.startswith("/") else f"{state['bundle']}/{name}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
    try:
        return posix.open(path, flags, OUTPUT_MODE)
    except OSError as error:
        why = failures.reason(error.errno or 0)
        raise HookError(f"annotations[{annotation}]: open {path}: {why}") from None


def _execute(hook: dict[str, Any], stdin: int, streams: list[int]) -> int | None:
    """The hook's wait status, None after a timeout."""
    arguments = hook.get("args") or [hook["path"]]
    env = hook.get("env")
    environment = posix.environ if env is None else dict(e.partition("=")[::2] for e in env)
    pid = posix.posix_spawn(
        hook["path"],
        arguments,
        environment,
        file_actions=[
            (posix.POSIX_SPAWN_DUP2, stdin, 0),
            (posix.POSIX_SPAWN_DUP2, streams[0], 1),
            (posix.POSIX_SPAWN_DUP2, streams[1], 2),
        ],
        setsigmask=[],
        setsigdef=DEFAULT_SIGNALS,
    )
    descriptor = processes.pidfd(pid)
    timeout = hook["timeout"] * 1000 if hook.get("timeout") else FOR_EVER
    finished = processes.await_exit(descriptor, timeout)
    if not finished:
        processes.send(descriptor, 9)
    posix.close(descriptor)
    status = posix.waitpid(pid, 0)[1]
    return status if finished else None


def _tail(output: int) -> str:
    """The end of what the hook wrote, in one line."""
    size = posix.fstat(output).st_size
    text = posix.pread(output, OUTPUT_LIMIT, max(0, size - OUTPUT_LIMIT))
    return " ".join(text.decode("utf-8", "replace").split())
