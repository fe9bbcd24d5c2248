"""Which private names of torch a source uses, found by reading it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

PACKAGE = Path(__file__).parent.parent / "bnconvert"
#: Not private by name, and yet without a promise: torch documents none of them.
UNDOCUMENTED = (
    "torch.distributed.distributed_c10d",
    "torch.fx.experimental",
    "torch.multiprocessing.reductions",
    "torch.ops.higher_order",
)
#: The same among attributes of objects.
UNDOCUMENTED_ATTRIBUTES = frozenset({"fake_mode", "hint", "pytree_info"})
#: What every module has beside its documented interface; strings may name it too.
OF_MODULES = frozenset(
    name for name in dir(nn.Module()) if name.startswith("_") and not name.startswith("__")
)


@dataclass(frozen=True, order=True)
class Use:
    """A private name in a source: in full, or ".name" where only an attribute is seen."""

    name: str
    line: int

    def is_of(self, name: str) -> bool:
        """Tell whether it is a use of a name that is given in full, or of what lies in it."""
        if self.name.startswith("."):
            return name.endswith(self.name)
        return f"{self.name}.".startswith(f"{name}.")

    def leads_to(self, name: str) -> bool:
        """Tell whether it is a use of a module or of an object that the name lies in."""
        return name.startswith(f"{self.name}.")


def private_uses(source: str) -> list[Use]:
    """Return every private name of torch that a file of ours uses, in order of the names."""
    tree = ast.parse(source)
    finder = _Finder(_own_names(tree) - OF_MODULES)
    finder.visit(tree)
    return sorted(finder.found)


def _own_names(tree: ast.AST) -> set[str]:
    """Return the names that a file defines: underscored names are private to their file."""
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and _is_own_store(node):
            own.add(node.attr)
    return own


def _is_own_store(node: ast.Attribute) -> bool:
    on_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    return on_self and isinstance(node.ctx, ast.Store)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


class _Finder(ast.NodeVisitor):
    def __init__(self, own: set[str]) -> None:
        self.own = own
        self.found: set[Use] = set()
        self.modules: dict[str, str] = {}

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name, node)
            self.modules[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            self._note(name, node)
            self.modules[alias.asname or alias.name] = (
                "torch.ops.aten" if name == "bnconvert.graphs.aten.aten" else name
            )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._dotted(node)
        if name is not None and name.partition(".")[0] == "torch":
            self._note(name, node)
            return
        private = _is_private(node.attr) or node.attr in UNDOCUMENTED_ATTRIBUTES
        if private and node.attr not in self.own:
            self.found.add(Use(f".{node.attr}", node.lineno))
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name in OF_MODULES:
                self.found.add(Use(f".{method.name}", method.lineno))  # it replaces torch's
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        name = self._dotted(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and name is not None:
                self.modules[target.id] = name
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            if node.value in OF_MODULES:
                self.found.add(Use(f".{node.value}", node.lineno))
            elif " " not in node.value:
                self._note(node.value, node)

    def _note(self, name: str, node: ast.stmt | ast.expr) -> None:
        parts = name.split(".")
        private = any(map(_is_private, parts)) or name.startswith(UNDOCUMENTED)
        if parts[0] == "torch" and private:
            self.found.add(Use(name, node.lineno))

    def _dotted(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self.modules.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._dotted(node.value)
            return None if owner is None else f"{owner}.{node.attr}"
        return None


def uses_of_package() -> Iterator[tuple[str, Use]]:
    """Yield every use, with its file: the path below the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for use in private_uses(path.read_text()):
            yield path.relative_to(PACKAGE).as_posix(), use
