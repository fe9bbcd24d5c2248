"""References to a norm from outside of the module tree, which would go on to call the old norm.

A list or a dictionary that holds it, a function whose variable is the norm (the closure of a
`forward` that was set on an object, a hook, a default argument), one of its bound methods, a
partial function, a weak reference, an object of a user's class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from bnconvert.errors import Refusal
from bnconvert.modules.copies.references import CONTAINERS, can_lead, is_of_library, reached_from
from bnconvert.modules.copies.self_references import forwards_of, variables_of
from bnconvert.modules.surgery import instances_in
from bnconvert.torch_private.module_state import is_own_table, is_tree_table

_MOST_OBJECTS = 5_000  # that are looked at from one attribute, class or variable


@dataclass(frozen=True)
class HiddenReference:
    """Where something outside of the module tree holds a norm.

    Attributes:
        place: the attribute of a module, such as "features.pool.norms".
        is_contained: whether it is the norm, or a container of it, and no function or object.
    """

    place: str
    is_contained: bool

    @property
    def refusal(self) -> Refusal:
        """The reason not to replace the norm."""
        if self.is_contained:
            return Refusal(
                "held-by-attribute",
                f"is also held by the plain attribute {self.place}, where it cannot be replaced",
                "use a ModuleList or ModuleDict there",
            )
        return Refusal(
            "held-by-attribute",
            f"is also reached through {self.place}, which would go on to call the old norm",
            "read the norm there from its module at each call, as in model.norm",
        )


def hidden_references(model: nn.Module, norms: Sequence[nn.Module]) -> dict[int, HiddenReference]:
    """Find what refers to norms from outside of the module tree, where `swap` does not reach.

    What leads to a norm through a module of the tree (`model.norm`) finds the new one, and does
    not count.

    Returns:
        id of the norm to the first reference.
    """
    targets = {id(norm) for norm in norms}
    dead_ends = {id(module) for module in model.modules()} - targets
    found: dict[int, HiddenReference] = {}
    for place, value in _holders(model):
        reached = {id(other) for other in reached_from(value, dead_ends, _MOST_OBJECTS)} & targets
        if reached:
            is_hook = is_own_table(place.rpartition(".")[2])
            contained = set() if is_hook else {id(m) for m in instances_in(value, (nn.Module,))}
            found |= {key: HiddenReference(place, key in contained) for key in reached}
    return found


def _holders(model: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield what modules hold beside the module tree, and what the code of their classes reads."""
    classes: set[type] = set()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if can_lead(value) and not is_tree_table(name):
                yield f"{path}.{name}".lstrip("."), value
        for owner in type(module).__mro__:
            if owner not in classes and not is_of_library(owner):
                classes.add(owner)
                yield from _held_by_class(owner)


def _held_by_class(owner: type) -> Iterator[tuple[str, object]]:
    """Yield the containers that are attributes of a class, and what its forward reads."""
    for name, value in vars(owner).items():
        if isinstance(value, CONTAINERS):
            yield f"{owner.__name__}.{name}", value
    for function in forwards_of(owner):
        for name, value in variables_of(function):
            yield f"the variable {name} of {owner.__name__}.{function.__name__}", value
