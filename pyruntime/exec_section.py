"""The process section of an exec: a file of its own, or the container's with options merged in.

The container's section is that of the config as it was at create (R6), not what
the bundle's file says by now.
"""

from __future__ import annotations

from pyruntime.errors import PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Section = dict[str, Any]

# The greatest id; one more is (uid_t) -1, which setresuid(2) takes for "leave as it is".
GREATEST_ID = (1 << 32) - 2
# What a process file that says nothing of it has from the container: no file is
# to take a label or a limit off by leaving it out.
INHERITED = (
    "apparmorProfile",
    "selinuxLabel",
    "capabilities",
    "rlimits",
    "oomScoreAdj",
    "scheduler",
    "ioPriority",
    "execCPUAffinity",
)


def load(options: dict[str, Any], args: list[str], config: Section) -> Section:
    """The process to execute. Raises ConfigError for a bad file, PyruntimeError for bad options."""
    own: Section = config.get("process") or {}
    if options.get("process"):
        process = _from_file(options["process"], own)
    else:
        process = merged(options, args, own)
    if options.get("tty"):
        process["terminal"] = True
    mask = (own.get("user") or {}).get("umask")
    if mask is not None:  # R68: runc gives every process the container's
        process["user"] = {"umask": mask, **(process.get("user") or {})}
    return process


def _from_file(path: str, own: Section) -> Section:
    from pyruntime import config as configs
    from pyruntime import documents

    process = configs.check_process(documents.loads(configs.read(path, pipes=True)))
    if not process.get("args"):
        raise PyruntimeError("process args cannot be empty")
    inherited = {name: own[name] for name in INHERITED if name in own}
    return {**inherited, **process}


def merged(options: dict[str, Any], args: list[str], own: Section) -> Section:
    """The container's own process, changed by the options of exec (runc's meanings)."""
    if not args:
        raise PyruntimeError("process args cannot be empty")
    process: Section = {**own, "args": args, "terminal": False}
    process["cwd"] = _directory(options.get("cwd") or own.get("cwd") or "/")
    process["env"] = [*(own.get("env") or ()), *map(_variable, options.get("env") or ())]
    process["user"] = _user(options, own.get("user") or {})
    for option, member in (("apparmor", "apparmorProfile"), ("process_label", "selinuxLabel")):
        if options.get(option):
            process[member] = options[option]
    if options.get("no_new_privs"):
        process["noNewPrivileges"] = True
    if options.get("cap"):
        process["capabilities"] = _capabilities(options["cap"], own.get("capabilities") or {})
    return process


def _directory(path: str) -> str:
    if not path.startswith("/"):
        raise PyruntimeError(f"Cwd must be an absolute path: {path}")
    return path


def _variable(entry: str) -> str:
    if entry.find("=") < 1:
        raise PyruntimeError(f"--env {entry}: not of the form NAME=VALUE")
    return entry


def _user(options: dict[str, Any], own: Section) -> Section:
    user = dict(own)
    if options.get("user"):
        uid, colon, gid = options["user"].partition(":")
        user["uid"] = identifier("--user", uid)
        if colon:
            user["gid"] = identifier("--user", gid)
    added = options.get("additional_gids") or ()
    groups = [identifier("--additional-gids", text) for text in added]
    if groups:
        user["additionalGids"] = [*(own.get("additionalGids") or ()), *groups]
    return user


def identifier(option: str, text: str) -> int:
    """A user or group id: decimal digits and nothing else (CVE-2026-30892)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > GREATEST_ID:
        raise PyruntimeError(f"{option}: {text!r} is not a number from 0 to {GREATEST_ID}")
    return int(text)


def _capabilities(names: list[str], own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Add to the sets, and never to the inheritable one (CVE-2022-29162).

    Ambient is what the container has as inheritable: the kernel grants no other.
    """
    sets = {name: list(values) for name, values in own.items()}
    for name in names:
        for kind in ("bounding", "effective", "permitted"):
            sets.setdefault(kind, []).append(name)
        if name in sets.get("inheritable", ()):
            sets.setdefault("ambient", []).append(name)
    return sets
