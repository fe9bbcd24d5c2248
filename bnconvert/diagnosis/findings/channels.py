"""Findings about single channels of a norm: BN104 to BN107."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.diagnosis.findings.stored_tensors import is_readable
from bnconvert.diagnosis.findings.training_mode import uses_statistics
from bnconvert.modules.folded_norm import eval_scale
from bnconvert.modules.kinds import eps_of, has_default_statistics
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding

_NEAR_EPS = 10.0  # a variance below this multiple of eps is nearly that of a constant
_LARGE_GAIN = 30.0  # a factor |weight| / sigma of so many times the layer's median stands out
_NOTHING, _SOMETHING = 1e-4, 1e-2  # a |weight| that adds nothing, and one of a layer that does
_COLLAPSED, _LONG = 1e-3, 1000  # a median |weight|, after so many batches
_SHARE = 0.05  # of the channels


def channel_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about channels that are dead, or whose numbers eps decides."""
    yield from found_by(RULES, [site for site in survey.sites if is_readable(site)])


def _tensor(site: Site, name: str) -> Tensor | None:
    """Return a parameter or buffer of the norm in float64, or None."""
    tensors = {**site.module._buffers, **site.module._parameters}
    tensor = tensors.get(name)
    return None if tensor is None else tensor.detach().double()


def _variance(site: Site) -> Tensor | None:
    """Return the running variance where some training measured it, or None."""
    known = uses_statistics(site) and not has_default_statistics(site.module)
    return _tensor(site, "running_var") if known else None


def _none(site: Site) -> Tensor:
    return torch.zeros(max(site.channels, 1), dtype=torch.bool, device="cpu")


def _dead(site: Site) -> Tensor:
    """Tell of each channel whether it was nearly constant in training, and is amplified."""
    var, scale = _variance(site), eval_scale(site.module)
    if var is None or scale is None:
        return _none(site)
    gain = scale.abs()
    return (var < _NEAR_EPS * eps_of(site.module)) & (gain > _LARGE_GAIN * gain.median())


def _pruned(site: Site) -> Tensor:
    """Tell of each channel whether weight and bias are nothing, and others of the layer not."""
    weight, bias = _tensor(site, "weight"), _tensor(site, "bias")
    counter = _tensor(site, "num_batches_tracked")
    is_new = counter is not None and not counter
    if weight is None or not len(weight) or is_new or weight.abs().max() < _SOMETHING:
        return _none(site)
    return (weight.abs() < _NOTHING) & (True if bias is None else bias.abs() < _NOTHING)


def _decided_by_eps(site: Site) -> Tensor:
    """Tell of each channel whether its variance is smaller than eps."""
    var = _variance(site)
    return _none(site) if var is None or not len(var) else var < eps_of(site.module)


def _has_collapsed(site: Site) -> bool:
    weight, counter = _tensor(site, "weight"), _tensor(site, "num_batches_tracked")
    if weight is None or counter is None or not len(weight):
        return False
    return float(counter) >= _LONG and float(weight.abs().median()) < _COLLAPSED


def _counted(of: Callable[[Site], Tensor]) -> Callable[[Sequence[Site]], str]:
    """Return what writes how many channels are meant, of how many."""

    def count(sites: Sequence[Site]) -> str:
        return f"{sum(int(of(s).sum()) for s in sites)} of {sum(s.channels for s in sites)}"

    return count


def _smallest_median(sites: Sequence[Site]) -> str:
    weights = [w for site in sites if (w := _tensor(site, "weight")) is not None]
    return f"{min(float(weight.abs().median()) for weight in weights):.1g}"


_count_dead, _count_pruned, _count_decided = map(_counted, (_dead, _pruned, _decided_by_eps))
RULES = (
    Rule(
        "BN104",
        "warning",
        lambda site: bool(_dead(site).any()),
        lambda sites: (
            f"{_count_dead(sites)} channels were nearly constant in training (variance below 10 "
            "eps), and are amplified more than 30 times as much as the others: any other value "
            "explodes there"
        ),
        "prune these channels, or raise their running_var to that of data that you expect; "
        "quantize per channel",
    ),
    Rule(
        "BN105",
        "info",
        lambda site: bool(_pruned(site).any()),
        lambda sites: (
            f"{_count_pruned(sites)} channels have a weight and bias of nearly 0: they add nothing"
        ),
        "nothing, or prune them",
    ),
    Rule(
        "BN106",
        "warning",
        _has_collapsed,
        lambda sites: (
            f"the median |weight| is {_smallest_median(sites)} after {_LONG} batches or more: "
            "weight decay has shrunk it, or it was never learned"
        ),
        "train with no weight decay on norms (bnc.prepare makes such groups)",
    ),
    Rule(
        "BN107",
        "warning",
        lambda site: float(_decided_by_eps(site).double().mean()) > _SHARE,
        lambda sites: (
            f"{_count_decided(sites)} channels have a variance below eps, so that eps decides what "
            "comes out of them"
        ),
        "keep the eps of the training that the weights come from, wherever the model goes",
    ),
)
