"""The annotations that crun acts on: which of them count here too, and how (R253).

docs/annotations.md says why the others do not.
"""

from __future__ import annotations

from pyruntime.errors import ConfigError
from pyruntime.hooks import OUTPUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEEP_GROUPS = "run.oci.keep_original_groups"  # acted on in plan/process.py
CONTEXT_TYPE = "run.oci.mount_context_type"
UNKNOWN_SYSCALLS = "run.oci.seccomp_fail_unknown_syscall"
CONTEXT_TYPES = ("context", "fscontext", "defcontext", "rootcontext")
SUPPORTED = frozenset((*OUTPUTS, KEEP_GROUPS, CONTEXT_TYPE, UNKNOWN_SYSCALLS))
PREFIX = "run.oci."


def warnings(config: dict[str, Any]) -> list[str]:
    """A line for each annotation that crun acts on and this runtime does not."""
    return [
        f"annotations[{name}]: not supported, it has no effect (docs/annotations.md says why)"
        for name in config.get("annotations") or {}
        if name.startswith(PREFIX) and name not in SUPPORTED
    ]


def context_type(config: dict[str, Any]) -> str:
    """Which SELinux mount option mountLabel becomes (R217). Raises ConfigError."""
    kind: str = (config.get("annotations") or {}).get(CONTEXT_TYPE) or CONTEXT_TYPES[0]
    if kind not in CONTEXT_TYPES:
        choice = ", ".join(CONTEXT_TYPES)
        raise ConfigError([f".annotations[{CONTEXT_TYPE}]: {kind!r} is none of {choice}"])
    return kind


def refuse_unknown_calls(config: dict[str, Any], unknown: list[str]) -> None:
    """A misspelt system call fails the create instead of being passed over, if asked for.

    `unknown` are the lines that would be warnings. Raises ConfigError.
    """
    wanted = (config.get("annotations") or {}).get(UNKNOWN_SYSCALLS, "0")
    faults = ["." + line.removesuffix(": skipped") for line in unknown]
    if wanted not in ("", "0", "false") and faults:
        raise ConfigError(faults)
