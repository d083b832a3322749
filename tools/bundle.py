"""Write, for each verb that engines call often, one file with the code of all its modules.

    python3 -IS tools/bundle.py TREE LIBRARY

TREE holds the package pyruntime and gets the directory bundles/VERSION, where VERSION is
sys.hexversion: another Python finds no bundle and imports module by module. LIBRARY is the
place where the modules will be found once they are installed.

A bundle is a marshalled pair: the code of `load` and the list of modules that it takes, each
(name, file, is a package, code), in the order in which they must run. An extension module has
no code but its file. Docstrings are left out: reading them in costs time.
"""

from __future__ import annotations

import ast
import marshal
import os
import subprocess
import sys
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    Entry = tuple[str, str, bool, CodeType | None]

# Modules that a verb imports only when it needs them, which in these verbs is nearly always.
# Import order within a row does not matter.
_STATUS = ("cgroups.manager", "cgroups.freezer")
_CREATE = (
    "generated.config_checker",
    "cgroups.layout",
    "cgroups.paths",
    "cgroups.manager",
    "cgroups.conversions",
    "cgroups.creation",
    "cgroups.freezer",
    "cgroups.limits",
)
VERBS = {
    "create": _CREATE,
    "run": (*_CREATE, "foreground"),
    "exec": ("cgroups.freezer", "foreground"),
    "start": ("cgroups.freezer",),
    "state": ("cgroups.freezer",),
    "kill": _STATUS,
    "delete": _STATUS,
    "list": ("cgroups.freezer",),
}

LOADER = '''
def load(entries):
    """Make the modules and run their code, as the import system would."""
    import sys
    modules = sys.modules
    module_type = type(sys)
    for name, file, is_package, code in entries:
        if name in modules:
            continue
        if code is None:
            from _frozen_importlib import ModuleSpec
            import _imp
            spec = ModuleSpec(name, None, origin=file)
            module = _imp.create_dynamic(spec)
            modules[name] = module
            _imp.exec_dynamic(module)
            continue
        module = modules[name] = module_type(name)
        names = module.__dict__
        names["__file__"] = file
        parent, _, last = name.rpartition(".")
        if is_package:
            names["__path__"] = [file[:-12]]
            names["__package__"] = name
        else:
            names["__package__"] = parent
        exec(code, names)
        if parent:
            setattr(modules[parent], last, module)
'''


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The same program without docstrings; line numbers stay."""
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            nothing = ast.copy_location(ast.Pass(), node.body[0])
            node.body[:1] = [] if len(node.body) > 1 else [nothing]
    return tree


def compiled(path: str, final: str) -> CodeType:
    """The code of a source file that will be installed as `final`."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    code: CodeType = compile(without_docstrings(tree), final, "exec", dont_inherit=True)
    return code


def entries(tree: str, library: str, verb: str) -> list[Entry]:
    """The modules of a verb, as another Python process started like the command finds them."""
    recorder = os.path.dirname(os.path.abspath(__file__)) + "/record_imports.py"
    names = ("__main__", f"commands.{verb}", *VERBS[verb])
    command = [sys.executable, "-IS", recorder, tree, *("pyruntime." + name for name in names)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: list[Entry] = []
    for line in lines.splitlines():
        name, path, kind = line.split("\t")
        final = library + path.removeprefix(tree) if path.startswith(tree + "/") else path
        code = None if kind == "extension" else compiled(path, final)
        result.append((name, final, kind == "package", code))
    return result


def loader() -> CodeType:
    """The code that defines `load`."""
    return compile(without_docstrings(ast.parse(LOADER)), "<bundle>", "exec", dont_inherit=True)


def write(tree: str, library: str) -> None:
    """Write the bundle of every verb."""
    directory = f"{tree}/bundles/{sys.hexversion:x}"
    os.makedirs(directory, exist_ok=True)
    for verb in VERBS:
        with open(f"{directory}/{verb}", "wb") as file:
            file.write(marshal.dumps((loader(), entries(tree, library, verb))))


if __name__ == "__main__":
    write(os.path.abspath(sys.argv[1]), sys.argv[2])
