"""The directories for images and logs: who may write there, and what the log tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyruntime.criu import asked, images
from pyruntime.errors import CriuError, PyruntimeError, UsageError

LOG = """\
(00.000010) Version: 4.1.1
(00.000020) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: no
(00.010000) Warn  (criu/x.c:1): nothing
(00.020000)      1: Error (criu/files-reg.c:2175): File x has bad size
(00.020100) Error (criu/files.c:1221): Unable to open fd=1
(00.020200) Error (criu/a.c:1): third
(00.020300) Error (criu/b.c:1): fourth
(00.030000) Error (criu/cr-restore.c:2320): Restoring FAILED.
"""


def opened(path: Path) -> None:
    os.close(images.open_saved(str(path)))


@pytest.mark.rows("R296")
def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "above/images"
    os.close(images.make(str(path)))
    assert path.stat().st_mode & 0o777 == 0o700
    os.close(images.make(str(path)))


@pytest.mark.rows("R296")
@pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777])
def test_a_directory_that_others_write_to(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(CriuError, match="can be written to by others"):
        images.make(str(tmp_path))
    with pytest.raises(CriuError, match="can be written to by others"):
        opened(tmp_path)


@pytest.mark.rows("R296")
def test_a_file_that_others_write_to(tmp_path: Path) -> None:
    (tmp_path / "core-1.img").touch()
    opened(tmp_path)
    (tmp_path / "core-1.img").chmod(0o606)
    with pytest.raises(CriuError, match=rf"{tmp_path}/core-1\.img can be written to"):
        opened(tmp_path)


@pytest.mark.rows("R296")
def test_the_parents_are_looked_at_too(tmp_path: Path) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    for path in (first, last):
        path.mkdir(0o700)
    (last / "parent").symlink_to("../first")
    (first / "pages-1.img").touch()
    opened(last)
    (first / "pages-1.img").chmod(0o666)
    with pytest.raises(CriuError, match=r"last/parent/pages-1\.img"):
        opened(last)


@pytest.mark.rows("R296")
def test_parents_in_a_ring(tmp_path: Path) -> None:
    (tmp_path / "parent").symlink_to(".")
    with pytest.raises(CriuError, match="ring"):
        opened(tmp_path)


@pytest.mark.rows("R296")
def test_links_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "core-1.img").symlink_to("none")
    with pytest.raises(CriuError, match="link to nothing"):
        opened(tmp_path)


@pytest.mark.rows("R296")
def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(PyruntimeError, match="no such file or directory"):
        opened(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(PyruntimeError, match="not a directory"):
        opened(tmp_path / "file")
    with pytest.raises(PyruntimeError, match="not a directory"):
        images.make(str(tmp_path / "file/deeper"))


@pytest.mark.rows("R296")
def test_names_of_the_streams(tmp_path: Path) -> None:
    directory = images.make(str(tmp_path))
    images.write_descriptors(directory, ["/dev/null", "pipe:[7]", "file[1b:2f]"])
    assert images.read_descriptors(directory, "x") == ["/dev/null", "pipe:[7]", "file[1b:2f]"]
    for text in ("", "{}", "[1]", "nothing"):
        (tmp_path / images.DESCRIPTORS).write_text(text)
        with pytest.raises(CriuError, match=r"x/descriptors\.json"):
            images.read_descriptors(directory, "x")
    (tmp_path / images.DESCRIPTORS).unlink()
    with pytest.raises(CriuError, match="no checkpoint of a container"):
        images.read_descriptors(directory, "x")
    os.close(directory)


@pytest.mark.rows("R296")
def test_the_log_tells_what_went_wrong_first(tmp_path: Path) -> None:
    (tmp_path / "dump.log").write_text(LOG)
    directory = images.make(str(tmp_path))
    errors = images.errors_in(directory, "dump.log")
    assert errors == [
        "Error (criu/files-reg.c:2175): File x has bad size",
        "Error (criu/files.c:1221): Unable to open fd=1",
        "Error (criu/a.c:1): third",
    ]
    assert images.errors_in(directory, "none.log") == []
    os.close(directory)
    text = str(asked.failure("dump", {"cr_errno": 3}, errors, "/x/dump.log"))
    assert text.startswith("criu failed: dump: errno 3: Error (criu/files-reg.c:2175)")
    assert text.endswith("(its log is /x/dump.log)")


@pytest.mark.rows("R296")
def test_without_a_log_criu_says_it_itself() -> None:
    answer = {"cr_errmsg": "Error (criu/cr.c:1):\n\ttoo bad\n"}
    text = str(asked.failure("restore", answer, [], "/x/restore.log"))
    assert "errno 0: Error (criu/cr.c:1): too bad (its" in text


@pytest.mark.rows("R296")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("10.0.0.1:27", {"ps": {"address": "10.0.0.1", "port": 27}}),
        ("[::1]:27", {"ps": {"address": "::1", "port": 27}}),
        ("host.example:65535", {"ps": {"address": "host.example", "port": 65535}}),
    ],
)
def test_page_server(text: str, found: dict[str, object]) -> None:
    assert asked.page_server(text) == found


@pytest.mark.rows("R296")
@pytest.mark.parametrize("text", ["x", ":1", "x:", "x:y", "x:0", "x:65536", "x:-1", "x:\u0661"])
def test_page_server_that_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        asked.page_server(text)


def options_given(**values: object) -> dict[str, object]:
    names = (*asked.FLAGS, *asked.FLAGS_OF_CHECKPOINT)
    return {**dict.fromkeys(names, False), "manage_cgroups_mode": "", "empty_ns": [], **values}


@pytest.mark.rows("R296", "R252")
def test_the_configuration_file() -> None:
    def file(**annotations: str) -> object:
        named = {name.replace("_", "."): value for name, value in annotations.items()}
        return asked.options(options_given(), {"annotations": named}, "x").get("config_file")

    assert file(org_criu_config="/etc/mine") == "/etc/mine"
    assert file(org_criu_config="") is None
    there = [path for path in asked.CONFIGURATIONS if os.access(path, os.R_OK)]
    assert file() == (there[0] if there else None)


@pytest.mark.rows("R296")
def test_flags_are_passed_on() -> None:
    found = asked.options(options_given(shell_job=True, manage_cgroups_mode="full"), {}, "x.log")
    assert found["shell_job"] is True
    assert "file_locks" not in found
    assert found["manage_cgroups_mode"] == 4
    assert found["log_file"] == "x.log"
