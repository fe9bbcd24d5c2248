"""A norm that means the same as plain batch norm trains as it: outputs, gradients, statistics."""

import copy
from random import Random

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.rewrite import Rewrite
from tests.random_networks.closeness import tensors_in
from tests.random_networks.interfaces import Drawn
from tests.random_networks.properties.measuring import batches_of, forward
from tests.random_networks.verdicts import NotAskedError, WrongError

#: Each of them is batch norm, in one process and for batches that are smaller than a ghost batch.
_SAME: tuple[Rewrite, ...] = (
    bnc.Sync(),
    bnc.Ghost(64),
    bnc.Renorm(1.0, 0.0),
    bnc.Separate(),
    bnc.Separate(affine="separate"),
    bnc.Separate(each=bnc.Ghost(64)),
)
_CLOSE = 1e-7


def trains(drawn: Drawn) -> None:
    """Take two steps with each of two of them, and with frozen norms, which train as in eval."""
    draw = Random(drawn.seed)
    for rewrite in draw.sample(_SAME, 2):
        _compare(drawn, _all_training(drawn), rewrite)
    frozen = _all_training(drawn)
    for module in frozen.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()
    _compare(drawn, frozen, bnc.Frozen(affine="trainable"))


def _all_training(drawn: Drawn) -> nn.Module:
    """Build the network in training mode, without dropout."""
    model = drawn.model().train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def _compare(drawn: Drawn, plain: nn.Module, rewrite: Rewrite) -> None:
    name = repr(rewrite)
    converted = bnc.convert(_all_training(drawn), rewrite | bnc.Keep())
    if "Frozen" in name and _keeps_some(converted):
        raise NotAskedError("a norm that cannot be frozen")
    converted = copy.deepcopy(converted)
    for number, batch in enumerate(batches_of(drawn)[:2]):
        try:
            true = _step(plain, batch)
        except (RuntimeError, ValueError) as failure:  # a network that cannot be trained so
            raise NotAskedError(f"it does not train: {str(failure)[:60]}") from failure
        found = _step(converted, batch)
        for what, value in true.items():
            _require_close(found.get(what), value, f"{name}, step {number}: {what}")
    reverted = bnc.revert(converted)
    now = reverted.state_dict()
    for key, value in plain.state_dict().items():
        _require_close(now[key], value, f"{name}, reverted: {key}")


def _keeps_some(model: nn.Module) -> bool:
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase))
    return any(not isinstance(norm, Normalization) for norm in norms)


def _step(model: nn.Module, batch: Example) -> dict[str, Tensor]:
    """Take a step; return the outputs, gradients and buffers, by names."""
    model.zero_grad(set_to_none=True)
    outputs = tensors_in(forward(model, batch.map(Tensor.clone)))
    loss = sum((o.double().sin().sum() for o in outputs), torch.zeros(()))
    loss.backward()
    found = {f"output {i}": output.detach() for i, output in enumerate(outputs)}
    found |= {f"gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return found | {n: b.detach().clone() for n, b in model.named_buffers()}


def _require_close(found: Tensor | None, true: Tensor, what: str) -> None:
    if found is None or found.shape != true.shape:
        raise WrongError(f"{what} is missing or has another shape")
    error = (found.double() - true.double()).abs().nan_to_num(0, 0, 0)
    size = true.double().abs().nan_to_num(0, 0, 0).max() if true.numel() else 0
    if error.numel() and error.max() > _CLOSE * size + 1e-12:
        raise WrongError(f"{what} is off by {float(error.max()):.2g} of {float(size):.2g}")
