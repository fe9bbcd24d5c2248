"""How rewrites are written in text and in TOML; nothing is ever evaluated as code.

Text is Python's own notation, `Group(8) | Keep()`. In TOML a rewrite is a table, with its name in
lower case and its arguments, and alternatives are a list:

    "backbone.*" = {norm = "frozen", affine = "trainable"}
    "head.*" = [{norm = "group", groups = 32}, {norm = "keep"}]
    "*" = {norm = "separate", domains = ["clean", "adversarial"], each = {norm = "ghost"}}
"""

import ast
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from bnconvert.errors import PolicyError
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.norms import NORMS

_LONGEST = 200  # characters of a text that is quoted in a message
_KNOWN = {norm.__name__: norm for norm in NORMS}


def rewrite_names() -> str:
    """Return the names of all rewrites, "Keep(), Frozen(), ...", for messages."""
    return ", ".join(f"{name}()" for name in _KNOWN)


def read_rules(path: Path) -> dict[str, Rewrite | Alternatives]:
    """Read the rules of a TOML file, in its order.

    Raises:
        PolicyError: there is no such file, it is not TOML, or a rule is not a rewrite.
    """
    try:
        rules = tomllib.loads(path.read_text())
    except OSError as failure:
        raise PolicyError(f"{path}: cannot be read ({failure.strerror}); give a file") from failure
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise PolicyError(
            f'{path}: is not TOML ({failure}); write rules as "head.*" = {{norm = "keep"}}'
        ) from failure
    if not rules:
        raise PolicyError(f'{path}: has no rule; write one as "head.*" = {{norm = "keep"}}')
    return {
        pattern: rewrite_from_toml(value, f"{path}: {pattern!r}")
        for pattern, value in rules.items()
    }


def rewrite_from_toml(value: object, where: str) -> Rewrite | Alternatives:
    """Return the rewrite that a TOML value describes: a table, or a list of alternatives.

    Raises:
        PolicyError: it is neither, or its name or arguments are wrong.
    """
    if isinstance(value, list) and value:
        parts = [rewrite_from_toml(part, where) for part in value]
        return Alternatives(tuple(choice for part in parts for choice in part.choices))
    if not isinstance(value, Mapping) or not isinstance(value.get("norm"), str):
        raise PolicyError(
            f'{where}: is not a rewrite; write {{norm = "frozen"}} or a list of such tables, and '
            "put patterns in quotes"
        )
    arguments = {key: _argument(given, where) for key, given in value.items() if key != "norm"}
    return _construct(value["norm"].capitalize(), (), arguments, where)


def parse_rewrite(source: str) -> Rewrite | Alternatives:
    """Return the rewrite that a text such as `Group(8) | Keep()` describes.

    Raises:
        PolicyError: it describes none.
    """
    try:
        return _rewrite_from_ast(ast.parse(source, mode="eval").body, source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # or nested too deep
        raise PolicyError(_no_rewrite(source)) from error


def _no_rewrite(source: str) -> str:
    """Return the error message for a text that is not a rewrite."""
    text = shorten(source, _LONGEST, placeholder=" ...") or source[:_LONGEST]
    return f"{text!r} is not a rewrite; write it as {rewrite_names()}, or a | b"


def _argument(value: object, where: str) -> object:
    if isinstance(value, list):
        return tuple(value)
    return rewrite_from_toml(value, where) if isinstance(value, dict) else value


def _rewrite_from_ast(tree: ast.expr, source: str) -> Rewrite | Alternatives:
    """Construct the rewrite that a syntax tree calls for, without evaluating it as code."""
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        return _rewrite_from_ast(tree.left, source) | _rewrite_from_ast(tree.right, source)
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise PolicyError(_no_rewrite(source))
    arguments = tuple(_value_of(value, source) for value in tree.args)
    keywords = {k.arg or "": _value_of(k.value, source) for k in tree.keywords}
    return _construct(tree.func.id, arguments, keywords, repr(source))


def _value_of(tree: ast.expr, source: str) -> object:
    """Return an argument that a syntax tree says: a literal, infinity or a rewrite."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in _KNOWN:
        return _rewrite_from_ast(tree, source)
    if ast.unparse(tree) in ("inf", "float('inf')"):
        return float("inf")
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError) as error:
        raise PolicyError(f"{source!r}: {ast.unparse(tree)} is not a literal; {error}") from error


def _construct(
    name: str, arguments: tuple[object, ...], keywords: Mapping[str, Any], where: str
) -> Rewrite:
    """Construct a rewrite from its name and arguments, with errors that hint at the right ones."""
    if name not in _KNOWN:
        near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}()?" if near else f"use {rewrite_names()}"
        raise PolicyError(f"{name} is not a rewrite that bnconvert knows; {hint}")
    try:
        return _KNOWN[name](*arguments, **keywords)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{where}: {error}") from error
