"""What engines make of an error's text: the exit statuses 126 and 127, and words people grep for.

The rules of the engines are written down here as they read a text: Docker (a lower-case
search, and the command's name must be in it), Podman (a search that ignores case, and takes
"permission denied" first), containerd (the last line of the log in JSON).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, wait_for

departs = pytest.mark.departs
CRUN = "prints the texts of the C library"
PHRASE = "unable to start container process"


def said(text: str) -> str:
    """What was written, without the quoting of the log's lines."""
    return text.replace('\\"', '"')


def docker_status(text: str, command: str) -> int:
    """The exit status of `docker run` for a failed create or start."""
    found = text.lower()
    missing = "executable file not found" in found or "no such file or directory" in found
    if command in text and missing:
        return 127
    if "permission denied" in found:
        return 126
    return 127 if "not a directory" in found else 125


def podman_status(text: str) -> int:
    """The exit status of `podman run` and `podman exec`."""
    if re.search("(?i)permission denied|operation not permitted", text):
        return 126
    if re.search("(?i)executable file not found in|no such file or directory", text):
        return 127
    return 125


# program, what both engines exit with, the words
PROGRAMS = [
    ("no-such-program", 127, 'exec: "no-such-program": executable file not found in $PATH'),
    ("/no/such/program", 127, 'exec: "/no/such/program": stat /no/such/program: no such file'),
    ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ("/etc", 126, 'exec: "/etc": '),
]


@departs("crun", CRUN)
@pytest.mark.rows("R66")
@pytest.mark.parametrize(("program", "status", "words"), PROGRAMS)
def test_create(
    container: Container, bundle: Bundle, program: str, status: int, words: str
) -> None:
    bundle.args(program)
    bundle.file("/etc/passwd", "", 0o644)
    text = said(container.refused())
    assert f"create failed: {PHRASE}: " in text and words in text, text
    if program != "/etc" or container.runtime.name == "pyruntime":  # runc says "is a directory"
        assert (docker_status(text, program), podman_status(text)) == (status, status), text


@departs("crun", CRUN)
@pytest.mark.rows("R66", "R291")
@pytest.mark.parametrize(("program", "status", "words"), PROGRAMS)
def test_exec(container: Container, bundle: Bundle, program: str, status: int, words: str) -> None:
    bundle.file("/etc/passwd", "", 0o644)
    container.create().start()
    result = container.exec(program)
    text = said(result.stderr)
    assert result.status == 255
    assert f"exec failed: {PHRASE}: " in text and words in text, text
    if program != "/etc" or container.runtime.name == "pyruntime":
        assert podman_status(text) == status, text


@pytest.mark.rows("R66")
@departs("runc", "start succeeds, the container ends with 1")
@departs("crun", CRUN)
def test_start_of_a_script_without_its_interpreter(container: Container, bundle: Bundle) -> None:
    bundle.file("/script", "#!/no/such/interpreter\n", 0o755)
    bundle.args("/script")
    container.create()
    text = container.runtime.refused("start", container.id).stderr
    assert f"{PHRASE}: exec /script: no such file or directory" in text
    assert docker_status(text, "/script") == podman_status(text) == 127
    wait_for(lambda: container.status() == "stopped", "stopped")


@pytest.mark.rows("R66")
@departs("runc", "start succeeds, the container ends with 1")
@departs("crun", CRUN)
def test_start_of_what_is_no_program(container: Container, bundle: Bundle) -> None:
    bundle.file("/text", "just text\n", 0o755)
    bundle.args("/text")
    container.create()
    text = container.runtime.refused("start", container.id).stderr
    assert "exec /text: exec format error" in text


def missing_source(bundle: Bundle) -> None:
    bundle.mount("/tmp", "bind", "/no/such/source", ["bind"])


def file_on_directory(bundle: Bundle) -> None:
    file = bundle.path / "file"
    file.write_text("")
    bundle.mount("/tmp", "bind", str(file), ["bind"])


def cwd_is_a_file(bundle: Bundle) -> None:
    bundle.file("/etc/passwd", "", 0o644)
    bundle.process["cwd"] = "/etc/passwd"


CONFIGS: list[tuple[Callable[[Bundle], None], str, int]] = [
    (missing_source, "/no/such/source", 127),
    (file_on_directory, "not a directory", 125),
    (cwd_is_a_file, "not a directory", 125),
]


@departs("crun", CRUN)
@pytest.mark.rows("R64", "R91")
@pytest.mark.parametrize(
    ("spoil", "words", "status"), CONFIGS, ids=[spoil.__name__ for spoil, _, _ in CONFIGS]
)
def test_create_of_a_config_that_cannot_be(
    container: Container,
    bundle: Bundle,
    spoil: Callable[[Bundle], None],
    words: str,
    status: int,
) -> None:
    spoil(bundle)
    text = container.refused()
    assert PHRASE in text and words in text
    assert podman_status(text) == status
    if container.runtime.name == "pyruntime":
        assert ("mounts[" in text) == (spoil is not cwd_is_a_file)
        assert (" /tmp: " in text) == (spoil is not cwd_is_a_file), "where it was to be"
    if words == "not a directory":  # Docker's "are you trying to mount a directory onto a file"
        assert docker_status(text, "sh") == 127


@departs("crun", CRUN)
@pytest.mark.rows("R66")
def test_the_log_has_the_words_in_its_last_error(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    """That line is what containerd's shim shows, and Podman if it passed --log."""
    bundle.args("no-such-program")
    log = runtime.workplace / "log.json"
    container.refused(options=("--log", str(log), "--log-format", "json"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    message = [line["msg"] for line in lines if line["level"] == "error"][-1]
    assert PHRASE in message
    assert docker_status(message, "no-such-program") == podman_status(message) == 127


@departs("crun", CRUN)
@pytest.mark.rows("R38", "R292")
def test_kill_of_a_process_that_is_gone(container: Container) -> None:
    """containerd takes one of three texts for: it has ended, all is well."""
    container.create().start().stop()
    text = container.runtime.refused("kill", container.id, "KILL").stderr
    assert any(
        words in text
        for words in ("container not running", "no such process", "process already finished")
    )
    assert "does not exist" not in text  # that would be: there never was one


@departs("crun", CRUN)
@pytest.mark.rows("R50", "R51")
def test_a_hook_that_fails(container: Container, bundle: Bundle) -> None:
    bundle.hook("createRuntime", "echo why >&2; exit 3")
    text = container.refused()
    assert PHRASE in text and "exit status 3" in text and "why" in text
