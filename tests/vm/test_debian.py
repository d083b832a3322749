"""Where the packages come from: the host's own mirror."""

from __future__ import annotations

import pytest

from tests.vm.debian import mirror_of, one_line_sources, source_line, stanzas
from tests.vm.host import os_release

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
"""


def test_deb822() -> None:
    """The paragraph that names the suite itself, not that of its security updates."""
    assert mirror_of(stanzas(DEB822), "bookworm") == "http://mirror.example/debian"
    assert mirror_of(stanzas(DEB822), "trixie") is None


def test_one_line_format() -> None:
    """With options in brackets, and other vendors' sources beside."""
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb https://vendor.example/apt cloud main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n"
    )
    assert mirror_of(one_line_sources(text), "bookworm") == "http://mirror.example/debian"


def test_mirror_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """VM_MIRROR is asked first; the packages are still checked by Debian's keys."""
    monkeypatch.setenv("VM_MIRROR", "http://here.example/debian/")
    line = source_line("trixie")
    assert line.endswith(" http://here.example/debian trixie main\n")
    assert "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg" in line


def test_os_release() -> None:
    """Values may be quoted."""
    found = os_release('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    assert found == {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12"}
