"""What the options of checkpoint and restore mean to CRIU."""

from __future__ import annotations

import posix

from pyruntime.criu import messages
from pyruntime.errors import CriuError, PyruntimeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Options = dict[str, Any]

CLONE_NEWNET = 0x40000000
LOG_LEVEL = 4
DEFAULT_IMAGES = "checkpoint"
CONFIGURATION = "org.criu.config"
CONFIGURATIONS = ("/etc/criu/pyruntime.conf", "/etc/criu/runc.conf")
FLAGS = ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "lazy_pages", "auto_dedup")
FLAGS_OF_CHECKPOINT = ("leave_running", "tcp_skip_in_flight", "link_remap")


def check_user() -> None:
    """Raises PyruntimeError: to save and to restore processes takes root's rights."""
    if posix.geteuid() != 0:
        raise PyruntimeError("checkpoint and restore need root, as CRIU does")


def options(given: Options, config: Options, log: str) -> Options:
    """The fields that both verbs ask for in the same way. Raises UsageError."""
    mode = given["manage_cgroups_mode"]
    if mode not in messages.CGROUP_MODES:
        raise UsageError("Invalid manage-cgroups-mode value")
    for name in given["empty_ns"]:
        if name != "network":
            raise UsageError(f'namespace "{name}" is not supported')
    return {
        "log_level": LOG_LEVEL,
        "log_file": log,
        "notify_scripts": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": messages.CGROUP_MODES[mode],
        # Interfaces are the engine's to make: its hooks do that, or it gives a namespace.
        "empty_ns": CLONE_NEWNET,
        "orphan_pts_master": True,
        **{name: True for name in FLAGS if given[name]},
        **_configuration(config),
    }


def _configuration(config: Options) -> Options:
    """A file with more options of CRIU's, which count most: that of the annotation, or a default.

    An empty annotation means none.
    """
    annotations = config.get("annotations") or {}
    path = annotations.get(CONFIGURATION)
    if path is None:
        path = next((one for one in CONFIGURATIONS if posix.access(one, posix.R_OK)), "")
    return {"config_file": path} if path else {}


def page_server(text: str) -> Options:
    """The address and port of --page-server. Raises UsageError."""
    if not text:
        return {}
    address, _, port = text.rpartition(":")
    if not address or not port:
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UsageError("Invalid port number")
    return {"ps": {"address": address.strip("[]"), "port": int(port)}}


def failure(what: str, answer: Options, errors: list[str], log: str) -> CriuError:
    """The error for an answer without success: what CRIU's log says, and where that is."""
    said = errors or [answer["cr_errmsg"].strip()] if answer.get("cr_errmsg") else errors
    number = answer.get("cr_errno", 0)
    text = f"criu failed: {what}: errno {number}"
    if said:
        text += ": " + "; ".join(" ".join(line.split()) for line in said)
    return CriuError(f"{text} (its log is {log})")
