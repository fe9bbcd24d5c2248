"""Small wrong edits of a source file: a comparison, a sign, a constant, an axis, a condition."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutation:
    """One wrong edit: `start` and `end` are places in the file's bytes."""

    kind: str
    line: int
    start: int
    end: int
    old: str
    new: str

    def applied(self, source: str) -> str:
        """Return the source with the edit made."""
        raw = source.encode()
        return (raw[: self.start] + self.new.encode() + raw[self.end :]).decode()


def mutations(source: str) -> list[Mutation]:
    """Return every edit of a file, in its order; none of texts, annotations and errors' words."""
    raw = source.encode()
    lines = [0, *accumulate(len(line) for line in raw.splitlines(keepends=True))]

    found = []
    for node in _computing(ast.parse(source)):
        for kind, place, new in _edits(node):
            start = lines[place.lineno - 1] + place.col_offset
            end = lines[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
            old = raw[start:end].decode()
            new = f"({new})" if isinstance(place, ast.expr) and kind != "constant" else new
            found.append(Mutation(kind, place.lineno, start, end, old, new))
    return sorted(found, key=lambda each: (each.start, each.end, each.new))


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that decide what is computed: no annotation, no text, nothing raised."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list", "bases"):
            children = value if isinstance(value, list) else [value]
            for child in children:
                if isinstance(child, ast.AST):
                    yield from _computing(child)


def _edits(node: ast.AST) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    match node:
        case ast.Compare(ops=[op]):
            new = f"{ast.unparse(node.left)} {_COMPARISONS[type(op)]} "
            yield "comparison", node, new + ast.unparse(node.comparators[0])
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            new = ast.unparse(ast.BinOp(node.left, _ARITHMETIC[type(op)](), node.right))
            yield "arithmetic", node, new
        case ast.Constant(value=bool() as switch):
            yield "constant", node, repr(not switch)
        case ast.Constant(value=int() as whole):
            yield "constant", node, repr(whole + 1)
        case ast.Constant(value=float() as number):
            yield "constant", node, repr(2 * number or 1.0)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "not or sign", node, ast.unparse(node.operand)
        case ast.BoolOp():
            other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield "and, or", node, ast.unparse(ast.BoolOp(other, node.values))
            for number in range(len(node.values)):
                rest = node.values[:number] + node.values[number + 1 :]
                new = ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
                yield "part of a condition", node, new
        case ast.Call():
            yield from _edits_of_a_call(node)
        case ast.Return(value=ast.Call(args=[ast.expr() as first, *_])) if not isinstance(
            first, ast.Starred | ast.GeneratorExp
        ):
            yield "return", node, f"return {ast.unparse(first)}"
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield "statement", node, "pass"
        case ast.Continue():
            yield "statement", node, "break"
    yield from _conditions(node)


def _edits_of_a_call(node: ast.Call) -> Iterator[tuple[str, ast.expr, str]]:
    for number, keyword in enumerate(node.keywords):
        if keyword.arg is not None and not _is_text(keyword.value):
            rest = node.keywords[:number] + node.keywords[number + 1 :]
            yield "keyword", node, ast.unparse(ast.Call(node.func, node.args, rest))
    if isinstance(node.func, ast.Name) and node.func.id in _CALLED:
        called = ast.Name(_CALLED[node.func.id], ast.Load())
        yield "called", node, ast.unparse(ast.Call(called, node.args, node.keywords))


def _conditions(node: ast.AST) -> Iterator[tuple[str, ast.expr, str]]:
    tests: list[ast.expr] = []
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        tests = [node.test]
    elif isinstance(node, ast.comprehension):
        tests = node.ifs
    for test in tests:
        if not isinstance(test, ast.Compare | ast.UnaryOp | ast.NamedExpr):
            yield "condition", test, f"not ({ast.unparse(test)})"
        if isinstance(node, ast.comprehension):
            yield "condition", test, "True"


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )
