"""Virtual: a reference batch, forward only, enlarges the batch that normalizes.

A reference batch runs through the network before each training step, without gradient; at every
norm, the moments of the step's own samples are merged with the reference's (slide 27 of "Devils
in BatchNorm"; Wu and Johnson, 2021, section 3). With `per_sample`, each sample is merged with
the reference only, with weight n_ref / (n_ref + 1), so that its output does not depend on the
rest of its batch (Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.4).

The reference itself is normalized by its own moments. Their count, mean and biased variance are
kept as `bnconvert.count`, `bnconvert.mean` and `bnconvert.var`. The running statistics track the
merged moments; eval is plain batch norm.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.site import Site
from bnconvert.norms.call_count import why_several_calls
from bnconvert.norms.virtual_norm import VirtualNorm


@dataclass(frozen=True, eq=False)
class Virtual(Replacement):
    """Enlarge the batch that normalizes by a reference batch, in training.

    Shape: (N, C, *) to the same. Source: slide 27 of "Devils in BatchNorm"; `per_sample`: Salimans
    et al., "Improved Techniques for Training GANs", 2016, section 3.4.

    Args:
        reference: a batch of inputs of the whole model, or a tuple of its positional inputs.
        per_sample: merge each sample with the reference alone, so that outputs do not depend on
            the rest of the batch.

    Raises:
        ValueError: `reference` is not a batch.

    Examples:
        >>> net = bnc.convert(nn.Sequential(nn.BatchNorm1d(4)), bnc.Virtual(torch.randn(32, 4)))
        >>> net(torch.randn(1, 4)).shape  # one sample, normalized with the 32
        torch.Size([1, 4])
    """

    reference: Tensor | tuple[Tensor, ...]
    per_sample: bool = False

    preserves_eval: ClassVar[bool] = True
    norm: ClassVar[type[Normalization]] = VirtualNorm

    def __post_init__(self) -> None:
        """Check the argument."""
        given = self.reference if isinstance(self.reference, tuple) else (self.reference,)
        if not given or not all(isinstance(t, Tensor) and t.dim() and len(t) for t in given):
            raise ValueError(
                "Virtual: reference is not a batch; give a tensor of input samples, or a tuple of "
                "the model's positional inputs"
            )
        object.__setattr__(self, "reference", tuple(tensor.detach() for tensor in given))

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse a norm that is called several times: each call needs moments of its own."""
        return why_several_calls(site, tuple(self.reference))

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the reference."""
        return {"reference": self.reference, "per_sample": self.per_sample}

    def is_already_done(self, site: Site) -> bool:
        """Tell whether the norm already has this reference."""
        norm = site.module
        return (
            isinstance(norm, VirtualNorm)
            and norm.per_sample == self.per_sample
            and len(norm.reference) == len(self.reference)
            and all(map(torch.equal, norm.reference, self.reference))
        )

    def __repr__(self) -> str:
        """Return the shapes: the numbers would be too long for source code."""
        shapes = ", ".join(f"<{'x'.join(map(str, t.shape))}>" for t in self.reference)
        return f"Virtual({shapes}{', per_sample=True' if self.per_sample else ''})"
