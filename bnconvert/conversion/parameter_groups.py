"""Parameter groups for an optimizer: what decays and what does not, without what is frozen."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList
from torch.optim import Optimizer

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
    exempt = {id(p) for path, m in model.named_modules() for p in _biases(path, m)}
    exempt |= {id(parameter) for _, parameter in norm_parameters(model)}
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


def exempt_norms(model: nn.Module, optimizer: Optimizer) -> None:
    """Take weight decay off the parameters of norms, in place.

    Each group that decays some of them gives them to a new group without weight decay, which has
    its other settings. The optimizer keeps its state. A learning rate scheduler counts the groups:
    make it afterwards.

    Args:
        model: batch, layer, group and RMS norms of it are meant, and classes that are called so.
        optimizer: of the model.

    Raises:
        ValueError: `optimizer` has no groups of parameters.

    Examples:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.1)
        >>> bnc.exempt_norms(net, optimizer)
        >>> [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
        [(2, 0.1), (2, 0.0)]
    """
    require_optimizer(optimizer)
    exempt = {id(parameter) for _, parameter in norm_parameters(model)}
    for group in list(optimizer.param_groups):
        of_norms = [id(parameter) in exempt for parameter in group["params"]]
        if any(of_norms) and group.get("weight_decay"):
            norms = {**group, **_part(group, of_norms), "weight_decay": 0.0}
            group.update(_part(group, [not of_norm for of_norm in of_norms]))
            if "param_names" in norms:  # torch takes names and parameters in pairs only
                pairs = zip(norms.pop("param_names"), norms["params"], strict=True)
                norms["params"] = list(pairs)
            optimizer.add_param_group(norms)


def require_optimizer(optimizer: object) -> None:
    """Raise unless there are groups of parameters to look at.

    Raises:
        ValueError: with what to give instead.
    """
    if not hasattr(optimizer, "param_groups"):
        raise ValueError(
            f"optimizer is a {type(optimizer).__name__}; give the torch.optim.Optimizer of the "
            "model, of several each with the part of the model that it trains"
        )


def _part(group: Mapping[str, Any], chosen: Sequence[bool]) -> dict[str, Any]:
    """Return the chosen parameters of a group, with their names where it has some."""
    return {
        key: list(compress(group[key], chosen)) for key in ("params", "param_names") if key in group
    }


def norm_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of all norms, with the path of the norm.

    Of a class that only calls itself a norm (LlamaRMSNorm, T5LayerNorm), the vectors.
    """
    for path, module in model.named_modules():
        is_norm = isinstance(module, _NORMS) or kind_of(module) is not None
        named_norm = "norm" in type(module).__name__.lower()
        for parameter in module.parameters(recurse=False):
            if is_norm or (named_norm and parameter.ndim <= 1):
                yield path, parameter


def _biases(path: str, module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield a module's own biases.

    A bias is `bias`, `in_proj_bias`, `bias_ih_l0`; one that is parametrized has the name of its
    list.
    """
    listed_name = path.rpartition(".")[2] if isinstance(module, ParametrizationList) else ""
    for name, parameter in module.named_parameters(recurse=False):
        if any(word.startswith("bias") for word in (listed_name or name).split("_")):
            yield parameter
