"""Findings about NaN and infinity in parameters and buffers outside of norms: BN112, BN113.

Those of norms are BN101. A buffer may hold infinities on purpose, as an attention mask does.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bnconvert.modules.kinds import norms_in
from bnconvert.modules.site import Survey
from bnconvert.reporting.records import Finding


def finiteness_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about numbers that are not finite, by the names of the tensors."""
    model = survey.model
    own = [table for _, norm, _ in norms_in(model) for table in (norm._parameters, norm._buffers)]
    in_norms = {id(tensor) for table in own for tensor in table.values()}
    parameters = [(n, p) for n, p in model.named_parameters() if id(p) not in in_norms]
    buffers = [(n, b) for n, b in model.named_buffers() if id(b) not in in_norms]
    broken = [name for name, p in parameters if not _is_finite(p)]
    broken += [name for name, b in buffers if _has_nan(b)]
    infinite = [name for name, b in buffers if name not in broken and not _is_finite(b)]
    if broken:
        yield Finding(
            "BN112",
            "error",
            tuple(broken),
            "NaN or infinity is stored: every output that depends on it is wrong",
            "load a checkpoint from before the training diverged",
        )
    if infinite:
        yield Finding(
            "BN113",
            "info",
            tuple(infinite),
            "a buffer holds infinities, as a mask does on purpose",
            "nothing, where it is a mask; otherwise load a checkpoint without them",
        )


def _numbers_of(tensor: Tensor) -> Tensor | None:
    """Return a tensor's numbers, those that a sparse one stores; None where there are none yet."""
    lazy = isinstance(tensor, torch.nn.UninitializedParameter | torch.nn.UninitializedBuffer)
    if lazy or tensor.is_meta or tensor.is_quantized:
        return None
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce().values()
    elif tensor.layout is not torch.strided:
        tensor = tensor.values()
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return None
    return tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no isfinite


def _is_finite(tensor: Tensor) -> bool:
    numbers = _numbers_of(tensor)
    if numbers is None or not numbers.numel():
        return True
    if numbers.is_complex():
        return bool(torch.isfinite(numbers).all())
    return all(map(math.isfinite, map(float, torch.aminmax(numbers))))  # a tenth of the time


def _has_nan(tensor: Tensor) -> bool:
    numbers = _numbers_of(tensor)
    return numbers is not None and bool(torch.isnan(numbers).any())
