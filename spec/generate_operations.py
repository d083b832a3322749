"""Make both sides' operation tables from spec/plan.toml.

    python3 spec/generate_operations.py [--check]

With --check nothing is written; the status is 1 if a generated file is stale.
"""

import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYTHON_SIDE = HERE.parent / "pyruntime" / "plan" / "operations.py"
C_SIDE = HERE.parent / "pyruntime" / "init" / "operations.h"
LETTERS = {
    "out": "o",
    "slot": "s",
    "int": "i",
    "text": "t",
    "maybe": "m",
    "bytes": "b",
    "vector": "v",
}
TYPES = {
    "out": "int",
    "slot": "int",
    "int": "int",
    "text": "str",
    "maybe": "str | None",
    "bytes": "bytes",
    "vector": "list[str] | None",
}
PYTHON_HEAD = '''"""The operations of a plan (generated from spec/plan.toml; do not edit)."""

from __future__ import annotations

from pyruntime.plan.operation import Operation

INTERFACE = {interface}

KINDS = {{
{kinds}
}}

NAMES = {{
{names}
}}
'''
PYTHON_FUNCTION = '''

def {name}({parameters}) -> Operation:
    """{meaning}"""
    return Operation({number}, ({values}))
'''


def kinds(operation: dict[str, Any]) -> str:
    """One letter for each encoded argument; a byte string takes two: b, n."""
    letters = [LETTERS[field.split(":")[0]] for field in operation["fields"]]
    return "".join("bn" if letter == "b" else letter for letter in letters)


def interface(table: dict[str, Any]) -> int:
    """A number that differs whenever the table does."""
    text = repr([(name, row["number"], row["fields"]) for name, row in table.items()])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def python_function(name: str, operation: dict[str, Any]) -> str:
    """The constructor of one operation."""
    fields = [field.split(":") for field in operation["fields"]]
    values = ", ".join(field for _, field in fields)
    return PYTHON_FUNCTION.format(
        name=name,
        parameters=", ".join(f"{field}: {TYPES[kind]}" for kind, field in fields),
        meaning=operation["meaning"].replace('"', "'"),
        number=operation["number"],
        values=values + "," if len(fields) == 1 else values,
    )


def python_side(table: dict[str, Any]) -> str:
    """The text of operations.py."""
    head = PYTHON_HEAD.format(
        interface=interface(table),
        kinds="\n".join(f'    {row["number"]}: "{kinds(row)}",' for row in table.values()),
        names="\n".join(f'    {row["number"]}: "{name}",' for name, row in table.items()),
    )
    return head + "".join(python_function(name, row) for name, row in table.items())


def c_side(table: dict[str, Any]) -> str:
    """The text of operations.h."""
    lines = ["/* Generated from spec/plan.toml; do not edit. */"]
    lines += [f"#define PLAN_INTERFACE {interface(table)}u", "enum {"]
    lines += [f"\tOP_{name} = {row['number']}," for name, row in table.items()]
    lines += ["};", f"#define OP_LIMIT {max(row['number'] for row in table.values()) + 1}"]
    lines += ["static const char *const op_kinds[OP_LIMIT] = {"]
    lines += [f'\t[OP_{name}] = "{kinds(row)}",' for name, row in table.items()]
    return "\n".join([*lines, "};", ""])


def main() -> int:
    """Write, or with --check compare, both files."""
    table = tomllib.loads((HERE / "plan.toml").read_text())
    stale = []
    for path, text in ((PYTHON_SIDE, python_side(table)), (C_SIDE, c_side(table))):
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            stale.append(path)
    for path in stale:
        print(f"{path}: stale; run python3 spec/generate_operations.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
