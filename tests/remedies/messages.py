"""The messages of the package that advise something, found by reading its source."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "bnconvert"
#: Passes on the message of another error, is for people who write a norm, or cannot happen.
_NO_ADVICE = frozenset(
    {"AssertionError", "AttributeError", "KeyError", "NotImplementedError", "OSError"}
)


_ERRORS = ("Error", "BadParameter")


@dataclass(frozen=True)
class Message:
    """A message as the source writes it.

    Attributes:
        file: where, below bnconvert.
        line: where.
        template: its text, with {} where a value stands.
    """

    file: str
    line: int
    template: str

    def fits(self, text: str) -> bool:
        """Tell whether a text is this message, with values."""
        parts = map(re.escape, self.template.split("{}"))
        return re.search(".*".join(parts), text, re.DOTALL) is not None


def messages() -> Iterator[Message]:
    """Yield every message of an error that is made, and of a refusal that has a remedy."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if (template := _template(node)) is not None:
                assert isinstance(node, ast.Call)
                yield Message(file, node.lineno, template)


def _template(node: ast.AST) -> str | None:
    """Return the message that a call makes an error or a refusal of."""
    if not isinstance(node, ast.Call):
        return None
    name = ast.unparse(node.func).rpartition(".")[2]
    if name == "Refusal" and len(node.args) == 3:
        return f"{_text(node.args[1])}; {_text(node.args[2])}"
    is_error = name.endswith(_ERRORS) and name not in _NO_ADVICE
    return _text(node.args[0]) if is_error and node.args else None


def _text(tree: ast.expr) -> str:
    """Return a text as the source writes it, with {} where a value stands."""
    if isinstance(tree, ast.Constant):
        return str(tree.value)
    if isinstance(tree, ast.BinOp):
        return _text(tree.left) + _text(tree.right)
    if isinstance(tree, ast.JoinedStr):
        return "".join(_text(value) for value in tree.values)
    return "{}"
