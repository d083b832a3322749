"""Every fault of a document that the generated checker refuses, with its place.

jsonschema takes 120 ms to import, so this module is for refused documents only: the
hot lane never loads it. What a schema cannot say is in pyruntime/semantics.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyruntime import documents
from pyruntime.packages import import_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jsonschema.exceptions import ValidationError

    Place = tuple[str | int, ...]

_KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "null",
}
_LONGEST_QUOTE = 60


class Fault:
    """One fault: where it is (names and indices from the root) and what it is."""

    __slots__ = ("place", "text")

    def __init__(self, place: Place, text: str) -> None:
        self.place = place
        self.text = text

    def line(self, prefix: str = "") -> str:
        """The fault on one line, after its JSON path."""
        return f"{json_path(self.place, prefix)}: {self.text}"


def json_path(place: Place, prefix: str = "") -> str:
    """A place as `.linux.namespaces[2].type`; names that are not plain are quoted."""
    path = prefix
    for step in place:
        if isinstance(step, int):
            path += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", step):
            path += "." + step
        else:
            path += f"[{documents.dumps(step)}]"
    return path or "."


def faults(document: object, definition: str = "") -> list[Fault]:
    """What the schema of config.json has against a document, in the order of their places.

    `definition` names a part of the schema to use instead of the whole: "process" or
    "resources". A document that the schema accepts has no faults.
    Raises ImportError if jsonschema is not there.
    """
    schema = _schema()
    if definition:
        schema = {"$ref": f"#/definitions/{definition}", "definitions": schema["definitions"]}
    found = [fault for error in _validator(schema).iter_errors(document) for fault in _of(error)]
    return sorted(found, key=_order)


def _order(fault: Fault) -> list[tuple[int, str]]:
    """Indices compare as numbers, and before names."""
    return [(step, "") if isinstance(step, int) else (-1, step) for step in fault.place]


def without(document: object, found: list[Fault]) -> object:
    """A copy of a document without the values at fault, for the rules that need sound types.

    An element at fault takes its whole list with it, so that the places of what
    remains stay right.
    """
    places = {fault.place for fault in found}
    return _copy(document, (), places)


def _copy(value: object, place: Place, places: set[Place]) -> object:
    if isinstance(value, dict):
        return {
            name: _copy(member, (*place, name), places)
            for name, member in value.items()
            if not _is_lost(member, (*place, name), places)
        }
    if isinstance(value, list):
        return [_copy(element, (*place, index), places) for index, element in enumerate(value)]
    return value


def _is_lost(value: object, place: Place, places: set[Place]) -> bool:
    if place in places:
        return True
    return isinstance(value, list) and any((*place, i) in places for i in range(len(value)))


def _schema() -> dict[str, Any]:
    """The schema that the build put beside the checker, or else the one of a checkout."""
    try:
        from pyruntime.generated.config_checker import SCHEMA
    except ImportError:
        directory = __file__.rpartition("/")[0]
        with open(f"{directory}/../spec/config.schema.json", encoding="utf-8") as file:
            SCHEMA = file.read()  # noqa: N806 - the name of the generated constant
    schema = documents.loads(SCHEMA)
    assert isinstance(schema, dict)
    return schema


def _validator(schema: dict[str, Any]) -> Any:
    jsonschema = import_package("jsonschema")
    draft = jsonschema.Draft7Validator
    types = draft.TYPE_CHECKER.redefine("integer", _is_integer)
    extended = jsonschema.validators.extend(draft, {"pattern": _pattern}, type_checker=types)
    return extended(schema)


def _is_integer(_checker: object, value: object) -> bool:
    """1.0 is no integer for Go's decoder, nor for the generated checker."""
    return isinstance(value, int) and not isinstance(value, bool)


def _pattern(
    _validator: object, pattern: str, value: object, _schema: object
) -> Iterator[ValidationError]:
    """The keyword `pattern`, with $ at the very end only: Python's also is before a newline."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield import_package("jsonschema").ValidationError("")


def _of(error: ValidationError) -> list[Fault]:
    """The faults that an error of jsonschema stands for: one, or one for each missing name."""
    place = tuple(error.absolute_path)
    if error.validator == "required":
        return [_missing(place, error)]
    wrong, right = _WORDS[str(error.validator)](error.instance, error.validator_value, error.schema)
    return [Fault(place, f"{wrong}; {right}{_meaning(error.schema)}")]


def _missing(place: Place, error: ValidationError) -> Fault:
    """jsonschema makes an error for each missing name, and gives the name in its message only."""
    name = re.match(r"'(.*)' is a required property", error.message)
    assert name and isinstance(error.schema, dict)
    member = error.schema.get("properties", {}).get(name[1], {})
    return Fault((*place, name[1]), f"missing; it is required{_meaning(member)}")


def _meaning(schema: Any) -> str:
    description = schema.get("description", "") if isinstance(schema, dict) else ""
    return f" ({description.rstrip('.')})" if description else ""


def _quoted(value: object) -> str:
    text = documents.dumps(value)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


def _type(value: object, wanted: Any, _schema: Any) -> tuple[str, str]:
    names = [wanted] if isinstance(wanted, str) else wanted
    return f"{_quoted(value)} has the wrong type", f"it must be {' or '.join(map(_kind, names))}"


def _kind(name: str) -> str:
    return _KINDS[name]


def _range(value: object, _limit: Any, schema: Any) -> tuple[str, str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    return f"{_quoted(value)} is out of range", f"it must be from {least} to {most}"


def _enum(value: object, wanted: Any, _schema: Any) -> tuple[str, str]:
    return f"{_quoted(value)} is unknown", f"it must be one of {', '.join(filter(None, wanted))}"


def _form(value: object, pattern: Any, _schema: Any) -> tuple[str, str]:
    return f"{_quoted(value)} has the wrong form", f"it must match {pattern}"


def _empty(_value: object, _least: Any, _schema: Any) -> tuple[str, str]:
    return "empty", "it must not be"


def _too_short(_value: object, least: Any, _schema: Any) -> tuple[str, str]:
    return "empty", f"it must have at least {least} entry"


def _too_long(value: object, _most: Any, _schema: Any) -> tuple[str, str]:
    return f"{_quoted(value)} is not supported", "it must be empty"


_WORDS = {
    "type": _type,
    "minimum": _range,
    "maximum": _range,
    "enum": _enum,
    "pattern": _form,
    "minLength": _empty,
    "minItems": _too_short,
    "maxItems": _too_long,
}
