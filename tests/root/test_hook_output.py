"""run.oci.hooks.stdout and run.oci.hooks.stderr: files for what the hooks outside write."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.runtime import Container

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


@pytest.mark.rows("R253")
def test_a_hook_inside_is_warned_of(container: Container, workplace: Path) -> None:
    annotate(container, stdout=workplace / "out")
    container.bundle.hook("createContainer", "echo inside")
    container.create()
    assert "annotations[run.oci.hooks.stdout]: not for hooks.createContainer" in container.errors()
    assert container.output() == "inside\n"
