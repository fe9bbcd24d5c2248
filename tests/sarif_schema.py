"""Of SARIF 2.1.0 (OASIS, 2020): the objects that bnconvert writes, with all rules about them.

Section numbers are those of the specification; objects take no other properties (3.7.1 in its
schema: additionalProperties is false everywhere but in property bags).
"""

from typing import Any


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _array(items: Any, **rules: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **rules}


def _of(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


_TEXT = {"type": "string"}
_INDEX = {"type": "integer", "minimum": -1}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}  # 3.27.10
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
SARIF: dict[str, Any] = {
    # 3.13
    **_object(
        ("version", "runs"),
        **{"$schema": _TEXT, "version": {"const": "2.1.0"}, "runs": _array(_of("run"))},
    ),
    "$defs": {
        # 3.14
        "run": _object(
            ("tool",),
            tool=_of("tool"),
            automationDetails=_of("runAutomationDetails"),
            invocations=_array(_of("invocation")),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            results=_array(_of("result")),
        ),
        # 3.17
        "runAutomationDetails": _object(id=_TEXT),
        # 3.18
        "tool": _object(("driver",), driver=_of("toolComponent")),
        # 3.19
        "toolComponent": _object(
            ("name",),
            name=_TEXT,
            version=_TEXT,
            rules=_array(_of("reportingDescriptor"), uniqueItems=True),
        ),
        # 3.20
        "invocation": _object(("executionSuccessful",), executionSuccessful={"type": "boolean"}),
        # 3.27
        "result": _object(
            ("message",),
            ruleId=_TEXT,
            ruleIndex=_INDEX,
            level=_LEVEL,
            message=_of("message"),
            locations=_array(_of("location")),
            partialFingerprints=_TEXTS,
        ),
        # 3.11
        "message": _object(("text",), text=_TEXT),
        # 3.12
        "multiformatMessageString": _object(("text",), text=_TEXT, markdown=_TEXT),
        # 3.28
        "location": _object(
            physicalLocation=_of("physicalLocation"),
            logicalLocations=_array(_of("logicalLocation"), uniqueItems=True),
        ),
        # 3.29
        "physicalLocation": _object(
            ("artifactLocation",), artifactLocation=_of("artifactLocation"), region=_of("region")
        ),
        # 3.4
        "artifactLocation": _object(uri={"type": "string", "format": "uri-reference"}),
        # 3.30
        "region": _object(startLine={"type": "integer", "minimum": 1}),
        # 3.33
        "logicalLocation": _object(fullyQualifiedName=_TEXT, kind=_TEXT),
        # 3.49
        "reportingDescriptor": _object(
            ("id",),
            id=_TEXT,
            shortDescription=_of("multiformatMessageString"),
            fullDescription=_of("multiformatMessageString"),
            help=_of("multiformatMessageString"),
            defaultConfiguration=_of("reportingConfiguration"),
        ),
        # 3.50
        "reportingConfiguration": _object(level=_LEVEL),
    },
}
