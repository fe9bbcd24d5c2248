"""--model-kwargs: the arguments of the function that makes the model, as JSON or key=value."""

import ast
import json
from collections.abc import Sequence
from typing import Any

from bnconvert.errors import UsageError

_FORMS = 'num_classes=10, or JSON as {"num_classes": 10}'


def model_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments by name.

    Args:
        texts: each of key=value, where value is a number, true, null, a list or else a text; or of
            a JSON object.

    Raises:
        UsageError: a text is neither, or an argument is named twice.

    Examples:
        >>> model_arguments(["num_classes=10", "act_layer=relu", '{"drop_rate": 0.1}'])
        {'num_classes': 10, 'act_layer': 'relu', 'drop_rate': 0.1}
    """
    found: dict[str, Any] = {}
    for text in texts:
        for name, value in _pairs(text):
            if name in found:
                raise UsageError(f"--model-kwargs {name}: is given twice; give each argument once")
            found[name] = value
    return found


def require_model_arguments(texts: list[str] | None) -> list[str] | None:
    """Return the texts of --model-kwargs, after reading them.

    Raises:
        UsageError: as `model_arguments`.
    """
    model_arguments(texts or ())
    return texts


def _pairs(text: str) -> list[tuple[str, Any]]:
    """Return the names and values that a text holds."""
    if text.lstrip().startswith("{"):
        try:
            return [*json.loads(text).items()]
        except ValueError as failure:
            raise UsageError(
                f"--model-kwargs {text}: is no JSON ({failure}); write {_FORMS}"
            ) from None
    name, equals, value = text.partition("=")
    if not (equals and name.strip().isidentifier()):
        raise UsageError(f"--model-kwargs {text}: is no key=value; write {_FORMS}")
    return [(name.strip(), _value(value.strip()))]


def _value(text: str) -> Any:
    """Return what a text means in JSON or in Python, else the text."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text
