"""Print the modules that a list of imports loads, in the order in which their code ran.

    python3 -IS tools/record_imports.py DIRECTORY MODULE...

One line each: name, file and "module", "package" or "extension", between tabs. What Python
itself starts with, or has built in, is left out; so this program imports nothing else.
"""

import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from types import ModuleType


class Source(SourceFileLoader):
    """Notes each module when its code has run: what it imports has been noted before it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then print its line."""
        super().exec_module(module)
        kind = "package" if hasattr(module, "__path__") else "module"
        print(module.__name__, self.path, kind, sep="\t")


class Extension(ExtensionFileLoader):
    """The same for a module that is a shared object."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then print its line."""
        super().exec_module(module)
        print(module.__name__, self.path, "extension", sep="\t")


def main(directory: str, names: list[str]) -> None:
    """Import the names, from the directory first."""
    for used in ("importlib.machinery", "importlib._abc", "importlib", "types", "warnings"):
        sys.modules.pop(used, None)
    sys.path.insert(0, directory)
    loaders = ((Extension, EXTENSION_SUFFIXES), (Source, [".py"]))
    sys.path_hooks.insert(0, FileFinder.path_hook(*loaders))
    sys.path_importer_cache.clear()
    for name in names:
        __import__(name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
