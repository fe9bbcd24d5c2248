"""Parameter groups for an optimizer: what decays and what does not, without what is frozen."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from bnconvert.modules.kinds import kind_of
from bnconvert.modules.normalization import Normalization

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Group every trainable parameter once: with weight decay, and biases and norms' without.

    Args:
        model: converted.
        weight_decay: of every parameter except biases and those of norms.

    Returns:
        At most two groups, as any torch optimizer takes them; what is frozen is in none.
    """
    exempt = {id(p) for path, m in model.named_modules() for p in _without_decay(path, m)}
    learning: set[int] = set()
    for module in model.modules():
        frozen = module.keeps_from_training if isinstance(module, Normalization) else ()
        own = module.named_parameters(recurse=False)
        learning |= {id(p) for name, p in own if p.requires_grad and name not in frozen}
    trainable = [parameter for parameter in model.parameters() if id(parameter) in learning]
    decayed = [parameter for parameter in trainable if id(parameter) not in exempt]
    others = [parameter for parameter in trainable if id(parameter) in exempt]
    groups = ((decayed, weight_decay), (others, 0.0))
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def _without_decay(path: str, module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield a module's own parameters that weight decay must not touch: biases, and norms'.

    Of a class that only calls itself a norm (LlamaRMSNorm, T5LayerNorm), the vectors. A bias is
    `bias`, `in_proj_bias`, `bias_ih_l0`; one that is parametrized has the name of its list.
    """
    is_norm = isinstance(module, _NORMS) or kind_of(module) is not None
    named_norm = "norm" in type(module).__name__.lower()
    listed_name = path.rpartition(".")[2] if isinstance(module, ParametrizationList) else ""
    for name, parameter in module.named_parameters(recurse=False):
        words = (listed_name or name).split("_")
        is_bias = any(word.startswith("bias") for word in words)
        if is_norm or is_bias or (named_norm and parameter.ndim <= 1):
            yield parameter
