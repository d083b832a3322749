"""What a person can do next after an error: the one place where that stands.

Loaded only when a command failed on a terminal; engines never see it. A hint belongs to
words of the error's text, most particular first. Where the error itself already names the
way out it has an empty hint.
"""

from __future__ import annotations

GENERAL = (
    "`pyruntime doctor` tells what this host cannot do, `pyruntime {verb} --help` what {verb} "
    "takes, and --debug where the error began"
)

HINTS = (
    ("criu: executable file not found", "install the package criu, or put it into the PATH"),
    (
        "criu failed",
        "`criu check` tells what the kernel lacks; the log that is named has every step",
    ),
    (
        "container does not exist",
        "`pyruntime list` shows the containers; one that was made with another --root is found "
        "with that --root only",
    ),
    (
        "JSON specification file",
        "go into a bundle or name one with --bundle; `pyruntime spec` writes a config.json "
        "to begin with",
    ),
    ("invalid rootfs", "root.path is relative to the bundle: put the container's files there"),
    (
        "invalid config.json",
        "correct what is named; `pyruntime validate BUNDLE` checks again without creating anything",
    ),
    ("invalid container ID format", "letters, digits and the characters _ + - . can be used"),
    (
        "container with given ID already exists",
        "take another id, or remove that container: `pyruntime delete ID`, --force if it runs",
    ),
    ("that is not stopped", "`pyruntime kill ID KILL` first, or `pyruntime delete --force ID`"),
    ("container not paused", "`pyruntime state ID` tells the status; only a paused one can resume"),
    (
        "cannot start an already running container",
        "`pyruntime exec ID COMMAND` runs one more process in it",
    ),
    (
        "not running",
        "`pyruntime state ID` tells the status; `pyruntime start ID` starts one that is created",
    ),
    (
        "setting console socket",
        "use `run` without --detach, or give --console-socket, or set process.terminal to false",
    ),
    ("will not detach", "give --detach too, or leave out --console-socket"),
    (
        "process.terminal needs a terminal",
        "on a terminal, leave it as it is; elsewhere set process.terminal to false",
    ),
    (
        "executable file not found",
        "the program is looked for in the container's files, in the PATH of process.env",
    ),
    (
        "another command still works on container",
        "wait for that command to end; `pyruntime state ID` tells the status meanwhile",
    ),
    ("state.json", "`pyruntime delete --force ID` removes what is left of the container"),
    ("No help topic", "`pyruntime --help` lists the commands"),
    ("unknown signal", ""),
    ("no such file or directory", "look whether the path that is named is there, as root sees it"),
    (
        "operation not permitted",
        "`pyruntime doctor` tells what this user and this host may do; root may more",
    ),
    ("permission denied", "`pyruntime doctor` tells what this user may do; root may more"),
)


def hint(message: str, verb: str) -> str:
    """What to do next after `message`, an error of `verb`; "" if the error tells it itself."""
    for words, advice in HINTS:
        if words in message:
            return advice
    return GENERAL.format(verb=verb) if verb else "`pyruntime --help` lists the commands"
