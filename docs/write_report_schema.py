"""Writes reference/report.schema.json, what a report in JSON looks like, from the records.

Run `python docs/write_report_schema.py`; a test fails where the file is not what this writes.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bnconvert.reporting.records import Contents
from bnconvert.reporting.report import SCHEMA_VERSION

FILE = Path(__file__).parent / "reference" / "report.schema.json"
_DESCRIBED = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.M)
#: NaN and infinity, which JSON does not have, are null.
_SIMPLE: dict[Any, Any] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},
    NoneType: {"type": "null"},
}


def schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12)."""
    versions = {"type": "object", "additionalProperties": {"type": "string"}}
    properties = {
        "schema_version": {
            "const": SCHEMA_VERSION,
            "description": "Raised where something that was there is gone or means something else; "
            "further properties do not raise it.",
        },
        "versions": {**versions, "description": "Of the packages, by name."},
        **_properties(Contents),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A report of bnconvert",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "$defs": {record.__name__: _object(record) for record in _records(Contents)},
    }


def _records(record: type) -> Iterator[type]:
    """Yield the records that one holds."""
    for hint in get_type_hints(record).values():
        for inner in get_args(hint):
            if is_dataclass(inner):
                assert isinstance(inner, type)
                yield inner


def _object(record: type) -> dict[str, Any]:
    properties = _properties(record)
    first = (inspect.getdoc(record) or "").partition("\n")[0]
    return {
        "description": first,
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _properties(record: type) -> dict[str, Any]:
    """Return the schemas of a dataclass's fields, each with what its docstring says of it."""
    assert is_dataclass(record)
    said = dict(_DESCRIBED.findall(inspect.getdoc(record) or ""))
    hints = get_type_hints(record)
    return {
        field.name: {
            **_of_type(hints[field.name]),
            "description": " ".join(said[field.name].split()),
        }
        for field in fields(record)
    }


def _of_type(hint: Any) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _of_type(arguments[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _of_type(arguments[1])}
    if origin in (Union, UnionType):
        return {"anyOf": [_of_type(argument) for argument in arguments]}
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return dict(_SIMPLE[hint])


def text() -> str:
    """Return the text of the file."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
