"""The plan of a restoration: which layers of a model get a norm, where, and why others do not."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from bnconvert.errors import Refusal, RefusedError, UnsupportedModelError
from bnconvert.modules.folded_norm import FoldedNorm
from bnconvert.modules.normalized_layer import CHILD, channels_after
from bnconvert.reporting.table import footnoted, table

#: By a glob over paths, whether its layers get a norm; the first match decides.
LayerRules = Mapping[str, bool]


@dataclass(frozen=True, eq=False)
class RestoreDecision:
    """What `restore` decides for one layer.

    Attributes:
        path: the first path at which the module tree holds it.
        aliases: its further paths.
        layer: the user's own module.
        calls: how often one forward calls it; None where that is not known.
        place: the path that the norm gets; None where it gets none.
        refusal: why it gets none; None where it gets one.
        rule: the pattern that decided, or None for the default.
        former: what a graft remembers of the norm that was folded into the layer, or None.
    """

    path: str
    aliases: tuple[str, ...]
    layer: nn.Module
    calls: int | None
    place: str | None
    refusal: Refusal | None = None
    rule: str | None = None
    former: FoldedNorm | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path of the layer."""
        return (self.path, *self.aliases)

    @property
    def is_child(self) -> bool:
        """Whether the norm becomes a child of the layer."""
        return self.place == child_path(self.path)


@dataclass(frozen=True, eq=False)
class RestorePlan:
    """What `restore` does to a model: one decision per layer, printable; nothing is changed yet.

    Attributes:
        model: the user's model.
        decisions: one per convolution and linear layer, in the order of the module tree.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
        >>> print(bnc.plan_restore(net))
        layer  class   channels  calls  norm    remark
        0      Conv2d         8      1  0.norm
        2      Conv2d         2      1          is an output layer: ...
        1 of 2 layers gets a norm
    """

    model: nn.Module
    decisions: tuple[RestoreDecision, ...]

    @property
    def restored(self) -> tuple[RestoreDecision, ...]:
        """The decisions on layers that get a norm."""
        return tuple(decision for decision in self.decisions if decision.place is not None)

    @property
    def refusals(self) -> tuple[str, ...]:
        """One "path: fact; remedy" sentence per layer that gets none."""
        left = ((d.path or "(root)", d.refusal) for d in self.decisions if d.place is None)
        return tuple(f"{path}: {refusal}" for path, refusal in left)

    def require_any(self) -> None:
        """Raise unless some layer gets a norm.

        Raises:
            RefusedError: lists every layer, with the reason.
            UnsupportedModelError: there is no layer.
        """
        if self.decisions and not self.restored:
            raise RefusedError(self.refusals)
        if not self.restored:
            raise UnsupportedModelError(
                "the model has no convolution and no linear layer; give the model that has them"
            )

    def __str__(self) -> str:
        """Return the plan as a table that a person can read."""
        columns = ("layer", "class", "channels", "calls", "norm", "remark")
        said = [str(decision.refusal or "") for decision in self.decisions]
        remarks, footnotes = footnoted(said)
        rows = [
            (
                " = ".join(path or "(root)" for path in decision.paths),
                type(decision.layer).__name__,
                str(channels_after(decision.layer)),
                "?" if decision.calls is None else str(decision.calls),
                decision.place or "",
                remark,
            )
            for decision, remark in zip(self.decisions, remarks, strict=True)
        ]
        count = len(self.restored)
        verb = "gets a norm" if count == 1 else "get norms"
        summary = f"{count} of {len(rows)} layers {verb}"
        return "\n".join(([table(columns, rows)] if rows else []) + [*footnotes, summary])


def child_path(path: str) -> str:
    """Return the path of the norm that is a child of the layer at `path`."""
    return f"{path}.{CHILD}".lstrip(".")
