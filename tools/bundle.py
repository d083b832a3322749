"""Write, for each verb that engines call often, one file with the code of all its modules.

    python3 -IS tools/bundle.py TREE LIBRARY

TREE holds the package pyruntime and gets the directory bundles/VERSION, where VERSION is
sys.hexversion: another Python finds no bundle and imports module by module. LIBRARY is the
place where the modules will be found once they are installed.

A bundle is a marshalled pair: the code of `load` and the list of modules that it takes, each
(name, file, is a package, code), in the order in which they must run. An extension module has
no code but its file. Docstrings and annotations are left out: reading them in costs time.
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
_CREATE = (
    "generated.config_checker",
    "cgroups.layout",
    "cgroups.paths",
    "cgroups.manager",
    "cgroups.conversions",
    "cgroups.creation",
    "cgroups.freezer",
    "cgroups.limits",
    "cgroups.ownership",
)
VERBS = {
    "create": _CREATE,
    "run": (*_CREATE, "foreground"),
    "exec": ("cgroups.freezer", "foreground"),
    "start": ("cgroups.freezer",),
    "state": ("cgroups.freezer",),
    "kill": ("cgroups.manager", "cgroups.freezer"),
    "delete": ("cgroups.manager",),
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


class Strip(ast.NodeTransformer):
    """Takes out what no running program looks at; line numbers stay."""

    def body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
        """Take the docstring away, then look at the statements."""
        if ast.get_docstring(node, clean=False) is not None:
            nothing = ast.copy_location(ast.Pass(), node.body[0])
            node.body[:1] = [] if len(node.body) > 1 else [nothing]
        self.generic_visit(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """No docstring."""
        self.body(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """No docstring."""
        self.body(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """No docstring, no annotations."""
        self.body(node)
        node.returns = None
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """No annotation."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A plain assignment; a bare declaration stays, it says that a name is local."""
        self.generic_visit(node)
        if node.value is None:
            return node
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST:
        """Nothing for type checkers."""
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """The feature is given to compile() instead."""
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node


def compiled(path: str, final: str) -> CodeType:
    """The code of a source file that will be installed as `final`."""
    with open(path, "rb") as file:
        tree = Strip().visit(ast.parse(file.read(), path))
    flags = annotations.compiler_flag  # of the __future__
    code: CodeType = compile(tree, final, "exec", flags, dont_inherit=True)
    return code


def needed(verb: str) -> list[str]:
    """The modules that a verb imports by itself."""
    return ["pyruntime." + name for name in ("__main__", f"commands.{verb}", *VERBS[verb])]


def entries(tree: str, library: str, names: list[str]) -> list[Entry]:
    """Some modules with all that they import, as a process started like the command does."""
    recorder = os.path.dirname(os.path.abspath(__file__)) + "/record_imports.py"
    command = [sys.executable, "-IS", recorder, tree, *names]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: list[Entry] = []
    for line in lines.splitlines():
        name, path, kind = line.split("\t")
        if name == "__future__":
            continue
        final = library + path.removeprefix(tree) if path.startswith(tree + "/") else path
        code = None if kind == "extension" else compiled(path, final)
        result.append((name, final, kind == "package", code))
    return result


def loader() -> CodeType:
    """The code that defines `load`."""
    return compile(Strip().visit(ast.parse(LOADER)), "<bundle>", "exec", dont_inherit=True)


def write(tree: str, library: str) -> None:
    """Write the bundle of every verb."""
    directory = f"{tree}/bundles/{sys.hexversion:x}"
    os.makedirs(directory, exist_ok=True)
    for verb in VERBS:
        with open(f"{directory}/{verb}", "wb") as file:
            file.write(marshal.dumps((loader(), entries(tree, library, needed(verb)))))


if __name__ == "__main__":
    write(os.path.abspath(sys.argv[1]), sys.argv[2])
