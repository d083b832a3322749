"""Profiles, and what their filters answer, for the tests of this directory."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyruntime.seccomp import names
from pyruntime.seccomp.filter import Filter
from tests.seccomp import bpf

ROOT = Path(__file__).resolve().parents[2]
LARGE = ROOT / "tests" / "data" / "seccomp" / "large.json"
X86_64 = "SCMP_ARCH_X86_64"
X86 = "SCMP_ARCH_X86"
X32 = "SCMP_ARCH_X32"
ARM = "SCMP_ARCH_ARM"
AARCH64 = "SCMP_ARCH_AARCH64"
BEYOND = 0x3FFF  # a number that no system call of x86 or arm has


def binding() -> Any:
    """Return pyseccomp; skip the test if it or libseccomp.so.2 is not to be had."""
    try:
        return importlib.import_module("pyseccomp")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"pyseccomp or libseccomp.so.2 is missing: {error}")


def binding_directory() -> str:
    """Return the directory to put into sys.path for pyseccomp."""
    return os.path.dirname(str(binding().__file__))


def profile(*rules: dict[str, Any], default: str = "ALLOW", **members: Any) -> dict[str, Any]:
    """Return a profile of x86-64 with the given rules; members replace what it has."""
    return {
        "defaultAction": f"SCMP_ACT_{default}",
        "architectures": [X86_64],
        "syscalls": list(rules),
        **members,
    }


def rule(called: str, action: str, *args: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return an entry of `syscalls`; `called` holds its names with spaces between."""
    entry = {"names": called.split(), "action": f"SCMP_ACT_{action}", **members}
    return {**entry, "args": list(args)} if args else entry


def argument(index: int, op: str, value: int, value_two: int | None = None) -> dict[str, Any]:
    """Return an entry of `args`."""
    entry = {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
    return entry if value_two is None else {**entry, "valueTwo": value_two}


def large() -> dict[str, Any]:
    """Return the profile of tests/data/seccomp/large.json."""
    document: dict[str, Any] = json.loads(LARGE.read_text())
    return document


def compiled(seccomp: dict[str, Any]) -> Filter:
    """Return the filter of a profile, past the cache."""
    binding()
    from pyruntime.seccomp.compile import compile_filter

    return compile_filter(seccomp)


def kernel_flags() -> list[str]:
    """Return the names of the flags that this kernel takes."""
    binding()
    from pyruntime.seccomp.compile import supported_flags

    return supported_flags()


def number_of(call: str | int, architecture: str) -> int:
    """Return the number of a system call on an architecture."""
    if isinstance(call, int):
        return call
    number: int = binding().resolve_syscall(names.ARCHITECTURES[architecture], call)
    assert number >= 0, f"{call} does not exist on {architecture}"
    return number


def answer(filter_: Filter, call: str | int, *arguments: int, architecture: str = X86_64) -> int:
    """Return what a filter says to a system call: an action with its data."""
    token = names.ARCHITECTURES[X86_64 if architecture == X32 else architecture]
    data = bpf.seccomp_data(token, number_of(call, architecture), arguments)
    return bpf.run(filter_.program, data).value
