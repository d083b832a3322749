"""Copy what pyruntime imports beyond the standard library from .venv into a directory.

    .venv/bin/python tools/vendor.py DIRECTORY

What is copied is what the tests ran with, and nothing is downloaded.
"""

from __future__ import annotations

import shutil
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

TREE = Path(__file__).resolve().parent.parent


def wanted(requirements: list[str]) -> dict[str, Distribution]:
    """The distributions that satisfy the requirements, with all that they require in turn.

    Raises PackageNotFoundError when one is not installed.
    """
    found: dict[str, Distribution] = {}
    left = [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        # A requirement of an extra asks for it in its marker; none is asked for here.
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name.lower() not in found:
            package = distribution(requirement.name)
            found[requirement.name.lower()] = package
            left += [Requirement(text) for text in package.requires or []]
    return found


def copy(package: Distribution, target: Path) -> None:
    """Copy a distribution's modules and licence texts; not its commands (../../../bin)."""
    for file in package.files or []:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        destination = target.joinpath(*file.parts)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(package.locate_file(file)), destination)


def main() -> int:
    """Copy the packages that pyproject.toml names as dependencies."""
    target = Path(sys.argv[1])
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    packages = wanted(project["dependencies"])
    for package in packages.values():
        copy(package, target)
    print(f"{target}: {', '.join(sorted(packages))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
