"""The flags and the document of `update`, as a section linux.resources (row R294)."""

from __future__ import annotations

from pyruntime.errors import PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Section = dict[str, Any]

KERNEL_MEMORY = "Kernel memory settings are ignored and will be removed"
_LARGEST = (1 << 63) - 1
_UNITS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def from_flags(options: Section) -> Section:
    """The resources that the flags ask for, `options` being a request's.

    A flag that is not given, or given as an empty text, asks for nothing. Raises
    PyruntimeError with runc's words for a value that is no number or no size.
    """
    found: Section = {}
    if options.get("blkio_weight"):
        found["blockIO"] = {"weight": options["blkio_weight"]}
    for flag, section, name, read in FLAGS:
        text = options.get(flag.replace("-", "_"))
        if text:
            found.setdefault(section, {})[name] = _value(flag, text, read)
    return found


def _value(flag: str, text: str, read: Callable[[str], int | str]) -> int | str:
    try:
        return read(text)
    except ValueError as error:
        raise PyruntimeError(f"invalid value for {flag}: {error}") from None


def from_document(document: object) -> Section:
    """The resources out of a JSON document, the shape checked, what no update changes left out.

    Devices stay as they are: engines send a rule that denies all, and mean nothing by it.
    Raises PyruntimeError with every fault.
    """
    if isinstance(document, dict):
        document = {name: part for name, part in document.items() if name != "devices"}
    return _checked(document)


def _checked(document: object) -> Section:
    from pyruntime import config
    from pyruntime.errors import ConfigError

    try:
        return config.check_resources(document)
    except ConfigError as error:
        raise PyruntimeError("invalid resources: " + "; ".join(error.faults)) from None
    except ImportError as error:  # only the explanation needs it
        reason = f"not the shape of linux.resources (for every fault, install {error.name})"
        raise PyruntimeError("invalid resources: " + reason) from None


def without_kernel_memory(resources: Section) -> tuple[Section, bool]:
    """The resources without memory.kernel and .kernelTCP, and whether one of them was set."""
    memory = resources.get("memory") or {}
    asked = bool(memory.get("kernel") or memory.get("kernelTCP"))
    if "kernel" in memory or "kernelTCP" in memory:
        memory = {name: memory[name] for name in memory if name not in ("kernel", "kernelTCP")}
        resources = {**resources, "memory": memory}
    return resources, asked


def size(text: str) -> int:
    """Bytes of a size such as 64M, 1.5GiB, 512k or -1, units being powers of 1024.

    A fraction of a byte is cut off. Raises ValueError.
    """
    if text == "-1":
        return -1
    number, unit = _split(text)
    scale = 1 << 10 * _UNITS[unit]
    try:
        found = int(number) * scale if number.isdigit() else int(float(number) * scale)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if found > _LARGEST:
        raise ValueError(f"invalid size: '{text}' is too large")
    return found


def _split(text: str) -> tuple[str, str]:
    """The number and the letter of the unit of a size. Raises ValueError."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number.removesuffix(" ")
    plain = number.replace(".", "", 1)
    if not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"invalid size: '{text}'")
    unit = suffix[:1] or "b"
    rest = suffix[1:]
    if unit not in _UNITS or rest not in ("", "b", "ib") or (unit == "b" and rest):
        raise ValueError(f"invalid suffix: '{suffix}'")
    return number, unit


def signed(text: str) -> int:
    """A decimal number of 64 bits. Raises ValueError."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    _check_digits(text, digits)
    number = int(text)
    if not -_LARGEST - 1 <= number <= _LARGEST:
        raise ValueError(f'parsing "{text}": value out of range')
    return number


def unsigned(text: str) -> int:
    """A decimal number of 64 bits without a sign. Raises ValueError."""
    _check_digits(text, text)
    number = int(text)
    if number >> 64:
        raise ValueError(f'parsing "{text}": value out of range')
    return number


def _check_digits(text: str, digits: str) -> None:
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'parsing "{text}": invalid syntax')
    if len(digits) > 4000:  # int() refuses that many
        raise ValueError(f'parsing "{text}": value out of range')


# Each flag but blkio-weight: what it sets, and how it is read.
FLAGS: tuple[tuple[str, str, str, Callable[[str], int | str]], ...] = (
    ("cpu-share", "cpu", "shares", unsigned),
    ("cpu-quota", "cpu", "quota", signed),
    ("cpu-period", "cpu", "period", unsigned),
    ("cpu-burst", "cpu", "burst", unsigned),
    ("cpu-idle", "cpu", "idle", signed),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", signed),
    ("cpu-rt-period", "cpu", "realtimePeriod", unsigned),
    ("cpuset-cpus", "cpu", "cpus", str),
    ("cpuset-mems", "cpu", "mems", str),
    ("memory", "memory", "limit", size),
    ("memory-swap", "memory", "swap", size),
    ("memory-reservation", "memory", "reservation", size),
    ("kernel-memory", "memory", "kernel", size),
    ("kernel-memory-tcp", "memory", "kernelTCP", size),
    ("pids-limit", "pids", "limit", signed),
)
