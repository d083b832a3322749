"""pyruntime update: change the limits of a container (R294)."""

from __future__ import annotations

import posix

from pyruntime import documents, resource_flags, state, stored
from pyruntime.errors import PyruntimeError, StateError
from pyruntime.locking import load_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.request import Request

    Section = dict[str, Any]

SIZE_LIMIT = 16 * 1024 * 1024
_STDIN = 0


def execute(request: Request) -> int:
    """Change what the flags, or the document of --resources, ask for: all of it or nothing."""
    state.load(request.root, request.arguments[0])  # that it exists is the first thing to tell
    schemata = _schemata(request.options)
    resources, ignored = resource_flags.without_kernel_memory(_asked(request))
    if ignored:
        request.log.warning(resource_flags.KERNEL_MEMORY)
    container = load_locked(request.root, request.arguments[0])
    try:
        if container.status() in (state.STOPPED, state.CREATING):
            raise StateError("container not running")
        update(container, resources, bool(request.options.get("resources")), schemata)
    finally:
        container.release()
    return 0


def _asked(request: Request) -> Section:
    """With a document all flags are ignored, as runc has it."""
    path = request.options.get("resources")
    if not path:
        return resource_flags.from_flags(request.options)
    if path == "-":
        from pyruntime import resumed

        resumed.leave()  # who explains what is wrong with it could not read it again
    text = read(path)
    try:
        document = documents.loads(text)
    except documents.DocumentError as error:
        raise PyruntimeError(f"invalid resources: {error}") from None
    return resource_flags.from_document(document)


def _schemata(options: Section) -> Section:
    """The lines for resctrl that the flags ask for, beside a document too (as in runc)."""
    if not options.get("l3_cache_schema") and not options.get("mem_bw_schema"):
        return {}
    from pyruntime import resctrl_update

    return resctrl_update.asked(options)


def update(
    container: state.Container,
    resources: Section,
    from_file: bool = False,
    schemata: Section | None = None,
) -> None:
    """Write the limits, then keep in the snapshot of the config what holds now.

    The next update needs the old values: of a pair such as quota and period one half may
    be given alone. `schemata` are lines for resctrl, by their names in linux.intelRdt.
    Raises CgroupError, OperationError or OSError after putting back what was written.
    """
    from pyruntime.cgroups.conversions import as_of

    config = container.config()
    if from_file:  # an engine writes it as it writes its configs
        resources = as_of(resources, config["ociVersion"])
    if not schemata:
        _update_cgroup(container, config, resources)
        return
    from pyruntime import resctrl_update

    change = resctrl_update.Change(container, config, schemata)
    change.write()
    try:
        if resources:
            _update_cgroup(container, config, resources)
        else:
            _keep(container, config)
    except BaseException:
        change.put_back()
        raise


def _update_cgroup(container: state.Container, config: Section, resources: Section) -> None:
    linux = config.setdefault("linux", {})

    def keep(held: Section) -> None:
        linux["resources"] = held
        _keep(container, config)

    container.cgroup().update(linux.get("resources"), resources, keep)


def _keep(container: state.Container, config: Section) -> None:
    """Write the snapshot of the config, and what was compiled from it."""
    text = documents.dumps(config).encode()
    container.forget_verbs()
    state.write_atomically(container.path("config.json"), text, 0o600)
    stored.write(container, config)


def read(path: str) -> bytes:
    """The whole of a file, a pipe, or standard input for "-". Raises PyruntimeError."""
    if path == "-":
        return _read_all(_STDIN, "standard input")
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        reason = posix.strerror(error.errno or 0).lower()
        raise PyruntimeError(f"open {path}: {reason}") from None
    try:
        return _read_all(descriptor, path)
    finally:
        posix.close(descriptor)


def _read_all(descriptor: int, name: str) -> bytes:
    content = b""
    try:
        while len(content) <= SIZE_LIMIT:
            piece = posix.read(descriptor, 1 << 16)
            if not piece:
                return content
            content += piece
    except OSError as error:
        reason = posix.strerror(error.errno or 0).lower()
        raise PyruntimeError(f"read {name}: {reason}") from None
    raise PyruntimeError(f"{name}: is larger than {SIZE_LIMIT} bytes")
