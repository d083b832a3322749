"""run.oci.hooks.stdout and run.oci.hooks.stderr: files for what hooks write."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.runtime import Container

INSIDE = ("createContainer", "startContainer")
KINDS = ("prestart", "createRuntime", "poststart", "poststop")


def annotate(container: Container, **files: object) -> None:
    container.bundle.args("/bin/true")
    container.bundle.config["annotations"] = {
        f"run.oci.hooks.{name}": str(path) for name, path in files.items()
    }


@pytest.mark.rows("R253")
def test_the_output_of_every_hook_is_appended(container: Container, workplace: Path) -> None:
    annotate(container, stdout=workplace / "out", stderr=workplace / "err")
    for kind in KINDS:
        container.bundle.hook(kind, f"cat >/dev/null; echo {kind}; echo {kind}! >&2")
    (workplace / "out").write_text("before\n")
    container.finish()
    container.delete()
    assert (workplace / "out").read_text().split() == ["before", *KINDS]
    assert (workplace / "err").read_text().split() == [f"{kind}!" for kind in KINDS]
    assert container.output() == ""


@pytest.mark.rows("R253")
def test_a_relative_path_begins_at_the_bundle(container: Container) -> None:
    annotate(container, stdout="hooks.log")
    container.bundle.hook("poststop", "echo gone")
    container.finish()
    container.delete()
    assert (container.bundle.path / "hooks.log").read_text() == "gone\n"


@pytest.mark.rows("R253")
def test_the_stream_without_a_file_is_still_in_the_error(
    container: Container, workplace: Path
) -> None:
    annotate(container, stdout=workplace / "out")
    container.bundle.hook("createRuntime", "echo to the file; echo to the error >&2; exit 3")
    message = container.refused()
    assert "to the error" in message and "to the file" not in message
    assert (workplace / "out").read_text() == "to the file\n"


@pytest.mark.rows("R253")
def test_a_file_that_cannot_be_opened_fails_the_hook(container: Container) -> None:
    annotate(container, stderr="/there/is/none")
    container.bundle.hook("createRuntime", "true")
    assert "annotations[run.oci.hooks.stderr]: open /there/is/none" in container.refused()


@pytest.mark.rows("R253", "R52", "R53")
def test_the_hooks_inside_write_there_too(container: Container, workplace: Path) -> None:
    annotate(container, stdout=workplace / "out", stderr=workplace / "err")
    container.bundle.args("/bin/sh", "-c", "echo the program; ls -l /proc/self/fd")
    for kind in INSIDE:
        container.bundle.hook(kind, f"echo {kind}; echo {kind}! >&2")
    container.finish()
    assert (workplace / "out").read_text().split() == list(INSIDE)
    assert (workplace / "err").read_text().split() == [f"{kind}!" for kind in INSIDE]
    assert "the program" in container.output()
    assert str(workplace / "err") not in container.output(), "the program has the file"
    assert "createContainer" not in container.output() + container.errors()


@pytest.mark.rows("R253", "R53")
def test_one_file_alone_leaves_the_other_stream(container: Container, workplace: Path) -> None:
    annotate(container, stderr=workplace / "err")
    container.bundle.hook("startContainer", "echo to the container; echo to the file >&2")
    container.finish()
    assert container.output() == "to the container\n"
    assert (workplace / "err").read_text() == "to the file\n"


@pytest.mark.rows("R253", "R1")
def test_a_file_for_the_hooks_inside_that_cannot_be_opened(
    container: Container, workplace: Path
) -> None:
    annotate(container, stdout=workplace / "out", stderr="/there/is/none")
    container.bundle.hook("startContainer", "true")
    assert "annotations[run.oci.hooks.stderr]: open /there/is/none" in container.refused()


@pytest.mark.rows("R253")
def test_an_annotation_without_effect_is_warned_of(container: Container) -> None:
    container.bundle.args("/bin/true")
    container.bundle.config["annotations"] = {"run.oci.handler": "krun", "org.example": "x"}
    container.create()
    assert container.errors().count("annotations[") == 1
    assert "annotations[run.oci.handler]: not supported" in container.errors()


@pytest.mark.rows("R236", "R253")
def test_an_unknown_system_call_fails_if_asked(container: Container) -> None:
    container.bundle.args("/bin/true")
    rules = [{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]
    container.bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    container.create().delete("--force")
    name = "run.oci.seccomp_fail_unknown_syscall"
    container.bundle.config["annotations"] = {name: "1"}
    message = container.refused()  # the second time from the cache, warning and all
    assert "linux.seccomp.syscalls[0].names[0]: system call 'no_such_call'" in message
