"""Packages of Debian, without touching the host's own apt: downloads in a directory aside."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tests.vm.failures import Failure
from tests.vm.host import codename, run

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def stanzas(text: str) -> list[dict[str, str]]:
    """The paragraphs of a deb822 file as fields; comments and continued lines are left out."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", paragraph, re.MULTILINE)
        found.append({name.lower(): value.strip() for name, value in fields})
    return [fields for fields in found if fields]


def one_line_sources(text: str) -> list[dict[str, str]]:
    """The same from the older format, one source a line."""
    pattern = re.compile(r"^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", re.MULTILINE)
    return [{"uris": uri, "suites": suite} for uri, suite in pattern.findall(text)]


def mirror_of(sources: Sequence[dict[str, str]], suite: str) -> str | None:
    """The first address that the sources name for a suite."""
    for source in sources:
        if suite in source.get("suites", "").split() and source.get("uris"):
            return source["uris"].split()[0].rstrip("/")
    return None


def mirror() -> str:
    """The archive: VM_MIRROR, or else the one that this host is set up with."""
    if os.environ.get("VM_MIRROR"):
        return os.environ["VM_MIRROR"].rstrip("/")
    apt = Path("/etc/apt")
    sources = [
        source
        for path in sorted(apt.glob("sources.list.d/*.sources"))
        for source in stanzas(path.read_text())
    ]
    for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        sources += one_line_sources(path.read_text()) if path.exists() else []
    return mirror_of(sources, codename()) or DEFAULT_MIRROR


def source_line(suite: str) -> str:
    """The line of sources.list for a suite, checked against Debian's own keys."""
    return f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n"


class Archive:
    """One suite's packages, by a private apt below the directory `place`."""

    def __init__(self, suite: str, place: Path) -> None:
        self.suite = suite
        self.place = place

    def _command(self, *arguments: str) -> list[str]:
        settings = {
            "Dir::Etc::sourcelist": f"{self.place}/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": f"{self.place}/lists",
            "Dir::Cache": f"{self.place}/cache",
            "Acquire::Retries": "3",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
            # Without it an update that could not reach the mirror ends with status 0.
            "APT::Update::Error-Mode": "any",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return [arguments[0], "-qq", *options, *arguments[1:]]

    def update(self) -> None:
        """Fetch the list of packages. Raises Failure, as without a network."""
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        (self.place / "sources.list").write_text(source_line(self.suite))
        self._fetch("update", what=f"the list of packages of {self.suite}")

    def newest_dependency(self, package: str) -> str:
        """What a metapackage stands for: the first package that it depends on."""
        command = self._command("apt-cache", "depends", package)
        text = run(command, f"looking up {package}").decode()
        match = re.search(r"^\s*Depends: (\S+)", text, re.MULTILINE)
        if match is None:
            raise Failure(f"{self.suite} has no {package} at {mirror()}")
        return match.group(1)

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Download packages (not what they depend on) and unpack them below `target`."""
        debs = self.place / "debs"
        self._fetch("download", *packages, what=" ".join(packages), cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg-deb", "-x", str(deb), str(target)], f"unpacking {deb.name}")
            deb.unlink()

    def _fetch(self, *arguments: str, what: str, cwd: Path | None = None) -> None:
        try:
            run(self._command("apt-get", *arguments), f"downloading {what}", cwd=cwd)
        except Failure as failure:
            raise Failure(
                f"{failure}\nthe mirror is {mirror()}; set VM_MIRROR to use another"
            ) from None
