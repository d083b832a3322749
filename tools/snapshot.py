"""Make the snapshot of an interpreter that has our modules loaded (pyruntime/snapshot).

    python3 -IS tools/snapshot.py TREE LIBRARY

TREE holds the package pyruntime and gets pyruntime/launcher/pyruntime-python, which the launcher
starts in place of Python; LIBRARY is the place where the modules will be found once they are
installed. Where it cannot be made (no static libpython, another Python than it was written
for) a line says why and the command does without.
"""

from __future__ import annotations

import json
import marshal
import os
import platform
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, REPOSITORY)
from pyruntime.resumed import VERBS  # noqa: E402  # only now it can be found
from tools import bundle  # noqa: E402

SOURCES = REPOSITORY + "/pyruntime/snapshot"
VERSION = (3, 11)  # whose structures snapshot.c names
MAGIC = 0x31746F6873707970
REGION = 0x100000000000
PAGE = 4096
PACKED = "_json"
WRAPPED = ("malloc", "calloc", "realloc", "free")
MODULES = (
    "__main__",
    "resumed",
    "annotation_rules",
    *(f"commands.{verb}" for verb in VERBS),
    *bundle.VERBS["run"],
    "cgroups.devices",
    "cgroups.ownership",
    "cgroups.subgroups",
    "idmapped",
    "notify",
    "resctrl",
    "seccomp.agent",
    "seccomp.filter",
    "trace",
)
SCRIPT = """
import gc
import marshal
import sys

gc.disable()
sys.path[:] = [{library!r}, *sys.path, {library!r} + "/vendor"]
with open({modules!r}, "rb") as file:
    loader, entries = marshal.load(file)
names = dict()
exec(loader, names)
names["load"](entries)
sys.argv = [{rehearsal!r}, {work!r}, {bundle!r}]
with open({rehearsal!r}, encoding="utf-8") as file:
    exec(compile(file.read(), {rehearsal!r}, "exec"), dict(__name__="rehearsal"))
from pyruntime.resumed import resume

del file, loader, entries, names
gc.enable()
gc.set_threshold(100000)
gc.collect()
gc.freeze()
"""


class NotPossible(Exception):
    """Why there is no snapshot."""


def run(*words: str) -> str:
    """The output of a command. Raises NotPossible with its last complaint."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPossible(str(error)) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise NotPossible(words[0] + ": " + " | ".join(lines[-6:]))
    return done.stdout


def static_library() -> str:
    """The path of libpythonX.Y.a."""
    if sys.version_info[:2] != VERSION or platform.machine() != "x86_64":
        raise NotPossible("it is for Python 3.11 on x86-64 only")
    directory = sysconfig.get_config_var("LIBPL") or ""
    path = os.path.join(directory, sysconfig.get_config_var("LIBRARY") or "")
    headers = os.path.join(sysconfig.get_paths()["include"], "internal", "pycore_runtime.h")
    if not os.path.isfile(path) or not os.path.exists(headers):
        raise NotPossible(f"{path or 'libpython.a'} is missing (package libpython3.11-dev)")
    return path


def link(output: str) -> None:
    """Compile the program that holds the interpreter, with Python's data between two bounds."""
    source = {name: os.path.join(SOURCES, name + ".c") for name in NAMES}
    include = sysconfig.get_paths()["include"]
    run(
        *os.environ.get("CC", "cc").split(),
        *("-O2", "-Wall", "-Wextra", "-static", "-no-pie", "-I" + include, "-o", output),
        *(f"-Wl,--wrap={name}" for name in WRAPPED),
        *(source["snapshot"], source["bounds_begin"]),
        *("-Wl,--whole-archive", static_library(), "-Wl,--no-whole-archive"),
        *(source["bounds_end"], "-lexpat", "-lz", "-lm"),
    )


NAMES = ("snapshot", "bounds_begin", "bounds_end")


def symbols(program: str) -> dict[str, int]:
    """Name and address of everything in a program."""
    rows = [line.split() for line in run("nm", program).splitlines()]
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3 and row[1] != "i"}


def check_bounds(known: dict[str, int]) -> None:
    """Python's variables lie within the bounds, the C library's outside. Raises NotPossible."""
    inside = {"PyType_Type": "data", "_PyRuntime": "runtime", "_Py_HashSecret": "bss"}
    for name, section in inside.items():
        if not within(known, name, section):
            raise NotPossible(f"{name} is not within the bounds")
    for name in ("main_arena", "environ", "_IO_2_1_stdout_"):
        if any(within(known, name, section) for section in inside.values()):
            raise NotPossible(f"{name} is within the bounds")


def within(known: dict[str, int], name: str, section: str) -> bool:
    """Does a variable lie between the two bounds of its section?"""
    begin, end = known[f"python_{section}_begin"], known[f"python_{section}_end"]
    return begin <= known[name] < end


class Extension:
    """A module that exists as a shared object only, relocated for the region's beginning."""

    RELATIVE, GLOBAL, SLOT, PLAIN = 8, 6, 7, 1  # R_X86_64_...
    READ_EXECUTE = 5

    def __init__(self, name: str, path: str, known: dict[str, int]) -> None:
        self.name = name
        self.known = known
        self.image = bytearray()
        self.tags: dict[int, int] = {}
        self.text_end = 0
        with open(path, "rb") as file:
            self._load(file.read())
        self._relocate()

    def _load(self, content: bytes) -> None:
        offset, count = struct.unpack_from("<Q", content, 32)[0], content[56]
        for index in range(count):
            row = struct.unpack_from("<IIQQQQQQ", content, offset + 56 * index)
            kind, flags, at, address, _, filed, size, _ = row
            if kind == 1:  # PT_LOAD
                self.image += bytes(max(0, address + size - len(self.image)))
                self.image[address : address + filed] = content[at : at + filed]
                if not flags & 2:  # not to be written
                    self.text_end = max(self.text_end, -(-(address + size) // PAGE) * PAGE)
            elif kind == 2:  # PT_DYNAMIC
                rows = struct.iter_unpack("<QQ", content[at : at + filed])
                self.tags = {tag: value for tag, value in rows if tag}

    def _symbol(self, index: int) -> tuple[str, int]:
        name, _, value = struct.unpack_from("<IIQ", self.image, self.tags[6] + 24 * index)
        start = self.tags[5] + name
        return self.image[start : self.image.index(0, start)].decode(), value

    def _address(self, index: int) -> int:
        """Where a symbol is; 0 for one that may be missing and that nobody calls."""
        name, value = self._symbol(index)
        if value:
            return REGION + value
        if name not in self.known and not name.startswith(("__", "_ITM_")):
            raise NotPossible(f"{self.name} needs {name}")
        return self.known.get(name, 0) if not name.startswith("_ITM_") else 0

    def _relocate(self) -> None:
        for table, size in ((7, 8), (23, 2)):  # DT_RELA and DT_RELASZ, DT_JMPREL and DT_PLTRELSZ
            for offset in range(0, self.tags.get(size, 0), 24):
                row = struct.unpack_from("<QQq", self.image, self.tags[table] + offset)
                struct.pack_into("<Q", self.image, row[0], self._value(*row[1:]))

    def _value(self, information: int, addend: int) -> int:
        kind, index = information & 0xFFFFFFFF, information >> 32
        if kind == self.RELATIVE:
            return REGION + addend
        if kind in (self.GLOBAL, self.SLOT):
            return self._address(index)
        if kind == self.PLAIN:
            return self._address(index) + addend
        raise NotPossible(f"{self.name} has a relocation of kind {kind}")

    def packed(self) -> bytes:
        """The bytes for the region, with what snapshot.c is to know in the header's place."""
        index = 0
        while self._symbol(index)[0] != "PyInit_" + self.name:
            index += 1
        entry = REGION + self._symbol(index)[1]
        struct.pack_into("<QQQ32s", self.image, 0, MAGIC, entry, self.text_end, PACKED.encode())
        return bytes(self.image)


def extension(known: dict[str, int], where: str) -> list[str]:
    """The file with the scanner of JSON, unless the interpreter has it built in."""
    if PACKED in sys.builtin_module_names:
        return []
    file = str(__import__(PACKED).__file__)
    with open(where, "wb") as target:
        target.write(Extension(PACKED, file, known).packed())
    return [where]


def modules(tree: str, library: str, where: str) -> str:
    """The file with the code of the modules, in the order in which they are to run."""
    found = bundle.entries(tree, library, ["pyruntime." + name for name in MODULES])
    with open(where, "wb") as file:
        marshal.dump((bundle.loader(), [entry for entry in found if entry[3] is not None]), file)
    return where


def script(tree: str, library: str, work: str) -> str:
    """What the interpreter does before the snapshot is taken."""
    where = f"{work}/bundle"
    os.makedirs(where + "/rootfs")
    run(sys.executable, "-IS", REPOSITORY + "/bin/pyruntime", "spec", "--bundle", where)
    with open(where + "/config.json", "r+", encoding="utf-8") as file:
        config = json.load(file)
        config["process"]["terminal"] = False
        file.seek(0)
        file.truncate()
        json.dump(config, file)
    return SCRIPT.format(
        library=library,
        modules=modules(tree, library, f"{work}/modules"),
        rehearsal=REPOSITORY + "/tools/rehearsal.py",
        work=work,
        bundle=where,
    )


def make(tree: str, library: str, work: str) -> str:
    """The path of a snapshot in the directory `work`. Raises NotPossible."""
    program, output = f"{work}/interpreter", f"{work}/pyruntime-python"
    link(program)
    known = symbols(program)
    check_bounds(known)
    packed = extension(known, f"{work}/extension")
    run("strip", program)
    with open(f"{work}/script", "w", encoding="utf-8") as file:
        file.write(script(tree, library, work))
    stdlib = sysconfig.get_paths()["stdlib"]
    seed = str(struct.unpack("I", os.urandom(4))[0])
    words = (output, f"{work}/script", sys.executable, stdlib, seed, f"{work}/hot", *packed)
    try:
        run(program, "--survey", *words)
    except NotPossible as reason:
        print(f"snapshot: not in the best order, because {reason}")
        with open(f"{work}/hot", "wb"):
            pass
    shutil.rmtree(f"{work}/root", ignore_errors=True)  # of the rehearsal
    run(program, "--make", *words)
    check_answer(output, work)
    return output


def check_answer(snapshot: str, work: str) -> None:
    """It says of a container that is not there what has to be said. Raises NotPossible."""
    words = [snapshot, f"{sys.executable} -IS", "pyruntime", "--root", work, "state", "none"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 1 or "container does not exist" not in done.stderr:
        raise NotPossible(f"it ends with {done.returncode}: {done.stderr.strip()[-200:]}")


def main(tree: str, library: str) -> int:
    """Make the snapshot, or say why there is none; the exit status."""
    with tempfile.TemporaryDirectory() as work:
        try:
            made = make(tree, library, work)
        except NotPossible as reason:
            print(f"snapshot: there is none, because {reason}")
            return 1
        run("install", "-m", "755", made, f"{tree}/pyruntime/launcher/pyruntime-python")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2]))
