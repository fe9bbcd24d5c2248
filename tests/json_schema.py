"""What of JSON Schema the tests need: the first thing that is wrong with a value."""

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_KNOWN = {
    *("$defs", "$id", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default"),
    *("description", "enum", "format", "items", "minItems", "minimum", "properties", "required"),
    *("title", "type", "uniqueItems"),
}


def wrong(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return a sentence for everything about a value that the schema does not allow."""
    return list(_wrong(value, schema, schema, "$"))


def _wrong(value: Any, schema: Any, root: dict[str, Any], where: str) -> Iterator[str]:
    assert schema.keys() <= _KNOWN, f"{where}: not read: {schema.keys() - _KNOWN}"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _wrong(value, root["$defs"][name], root, where)
    if "anyOf" in schema and all(list(_wrong(value, s, root, where)) for s in schema["anyOf"]):
        yield f"{where}: {value!r} is none of the kinds"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from _wrong_object(value, schema, root, where)
    elif isinstance(value, list | tuple):
        yield from _wrong_array(value, schema, root, where)
    elif "minimum" in schema and value < schema["minimum"]:
        yield f"{where}: {value} is less than {schema['minimum']}"


def _wrong_object(value: Any, schema: Any, root: dict[str, Any], where: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}: has no {name}"
    others = schema.get("additionalProperties", {})
    for name, inner in value.items():
        described = schema.get("properties", {}).get(name, others)
        if described is False:
            yield f"{where}: has a {name}"
        else:
            yield from _wrong(inner, described, root, f"{where}.{name}")


def _wrong_array(value: Any, schema: Any, root: dict[str, Any], where: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{where}: has {len(value)} items"
    if schema.get("uniqueItems") and len({repr(item) for item in value}) < len(value):
        yield f"{where}: has an item twice"
    for i, item in enumerate(value):
        yield from _wrong(item, schema.get("items", {}), root, f"{where}[{i}]")


def _is(value: Any, names: str | list[str]) -> bool:
    """Tell whether a value is of one of the types; True is no number."""
    wanted = [names] if isinstance(names, str) else names
    return any(
        isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in wanted
    )
