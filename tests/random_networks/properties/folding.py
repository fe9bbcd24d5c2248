"""The folded and the grafted model compute what the model does, at other sizes too."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.random_networks.closeness import outputs, require_close, require_exact
from tests.random_networks.interfaces import Drawn
from tests.random_networks.snapshot import Snapshot
from tests.random_networks.verdicts import WrongError

#: Rows, and by how much larger the images are.
_OTHERS = ((1, 0), (5, 0), (2, 3), (3, 4))


def folds(drawn: Drawn) -> None:
    """Fold and graft, and compare both at every size that the model takes."""
    model, example = drawn.model(), drawn.example()
    before = Snapshot.of(model)
    try:
        folded = bnc.fold(model, example, dynamic_shapes=dynamic_shapes(drawn, example))
        graft = folded.graft(model)
    finally:
        before.require(model, "fold or graft")
    require_exact(folded.module, drawn.truth, example, "fold")
    require_exact(graft, drawn.truth, example, "graft")
    for what, other in _other_examples(drawn):
        require_exact(graft, drawn.truth, other, f"graft, {what}")
        try:
            outputs(folded.module, other)
        except Exception:  # the graph is made for another size, and says so
            continue
        require_exact(folded.module, drawn.truth, other, f"fold, {what}")
    if drawn.traits.loops:
        _folds_in_single_precision(drawn)
    before.require(model, "what fold returned")
    if not all(row.reason for row in folded.report.norms):
        raise WrongError("a norm stands without a reason")


def _folds_in_single_precision(drawn: Drawn) -> None:
    """Compare in float32 too, of which factors that grow turn by turn leave the range first."""
    exact = drawn.example()
    example = exact.map(lambda tensor: tensor.float())
    model, truth = drawn.truth(torch.float32), outputs(drawn.truth(), exact)
    own = [value.double() for value in outputs(model, example)]
    if not all(value.isfinite().all() for value in (*own, *truth)):
        return  # nor does the model itself stay in the range
    errors = [(value - true).abs() for value, true in zip(own, truth, strict=True)]
    found = outputs(bnc.fold(drawn.model(torch.float32), example).module, example)
    require_close(found, truth, errors, factor=8, least=1e-3, what="fold in float32")


def dynamic_shapes(drawn: Drawn, example: Example) -> Any:
    """Return dynamic shapes for half of the networks: every axis but the channels."""
    if not drawn.traits.rank or drawn.seed % 2:
        return None

    def axes(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return None
        return {axis: torch.export.Dim.AUTO for axis in range(tensor.dim()) if axis != 1}

    return example.shapes(axes, drawn.model())


def _other_examples(drawn: Drawn) -> Iterator[tuple[str, Example]]:
    """Give inputs of other sizes that the model takes."""
    for rows, grown in _OTHERS:
        example = drawn.example(rows, grown, seed=rows)
        try:
            outputs(drawn.truth(), example)
        except Exception:  # the network is not for this size
            continue
        yield f"{rows} rows, {grown} larger", example
