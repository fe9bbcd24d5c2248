"""Weights from which no output is computed: a head for training, or one that meets constant zeros.

Whatever a file holds in their place, there is nothing that could differ.
"""

from collections.abc import Collection, Iterable

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.verification.references.dependence import INPUTS, followed
from bnconvert.verification.weights.influence import weights_by_name


def weights_without_outputs(
    model: nn.Module, examples: Iterable[Example], names: Collection[str]
) -> set[str]:
    """Return from which weights no output is computed on any input of some sizes.

    None where the inputs' numbers may decide what is computed: another input may use them.

    Args:
        model: in eval mode.
        examples: inputs of these sizes.
        names: the weights, as `weight_names` has them.
    """
    weights, left = weights_by_name(model, names), set(names)
    for example in examples:
        result, watch = followed(model, example, weights)
        untold = watch.read | watch.shaping
        if watch.calls_regions or INPUTS in untold:
            return set()
        tensors = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        left -= untold.union(*map(watch.of, tensors))
    return left
