"""A lazy module has no weights before its first input; every copy would draw others."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.modules.lazy_modules import require_weights, why_lazy, why_on_meta

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
INPUTS = (X,)
#: Verbs that compute with the weights, or cannot copy what is not there.
VERBS: dict[str, Callable[[nn.Module], Any]] = {
    "inspect with inputs": lambda model: bnc.inspect(model, INPUTS),
    "recompute_statistics": lambda model: bnc.recompute_statistics(model, [X]),
    "diagnose": lambda model: bnc.diagnose(model, [X]),
    "fold": lambda model: bnc.fold(model, INPUTS),
    "export": lambda model: bnc.export(model, INPUTS, "unwritten.onnx"),
    "verify": lambda model: bnc.verify(model, Path(__file__), INPUTS),
    "prepare": lambda model: bnc.prepare(model, bnc.Frozen()),
}
MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "all": (
        lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()),
        "0, 1: lazy (LazyConv2d, LazyBatchNorm2d)",
    ),
    "a layer": (
        lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4)),
        "0: lazy (LazyConv2d)",
    ),
    "a norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyBatchNorm2d()),
        "1: lazy (LazyBatchNorm2d)",
    ),
    "the head": (
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Sequential(nn.LazyLinear(2))),
        "2.0: lazy (LazyLinear)",
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", MODELS)
def test_what_computes_says_to_run_the_model_once(name: str, verb: str) -> None:
    """Else each copy would run with weights of its own, which the model never has."""
    build, words = MODELS[name]
    model = build().eval()
    with pytest.raises(bnc.UnsupportedModelError) as failure:
        VERBS[verb](model)
    assert words in str(failure.value)
    assert "; run the model once on an input first" in str(failure.value)
    assert why_lazy(model) is not None, "it is as lazy as before"


def network() -> nn.Sequential:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    return nn.Sequential(*layers, nn.BatchNorm2d(4)).eval()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "prepare"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("inputs", ["cpu", "meta"])
def test_what_computes_says_to_load_weights_that_are_on_the_meta_device(
    verb: str, half: bool, inputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "INPUTS", (X.to(inputs),))
    model = network()
    (model[3:] if half else model).to("meta")
    held = dict(model.state_dict(keep_vars=True))
    first = "3.weight, 3.bias, 4.weight and 4" if half else "0.weight, 0.bias, 1.weight and 11"
    words = re.escape(f"{first} more: on the meta device, without numbers; load the weights first")
    with pytest.raises(bnc.UnsupportedModelError, match=words):
        VERBS[verb](model)
    now = model.state_dict(keep_vars=True)
    assert all(now[key] is value for key, value in held.items()), "nothing has changed"


def test_looking_and_converting_need_no_numbers() -> None:
    model = network().to("meta")
    assert bnc.inspect(model).norms[0].channels == 4
    assert bnc.plan(model, bnc.Frozen()).report.ok
    assert all(p.is_meta for p in bnc.prepare(bnc.revert(model), bnc.Group(2)).model.parameters())


def test_what_the_forward_brings_to_a_module_is_not_missing() -> None:
    """accelerate keeps offloaded weights elsewhere, and the modules hold tensors on meta."""
    model = network().to("meta")
    for module in model.modules():
        vars(module)["_hf_hook"] = object()
    assert why_on_meta(model) is None


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_was_run_is_lazy_no_more(name: str) -> None:
    model = MODELS[name][0]().eval()
    model(X)
    require_weights(model)
    assert isinstance(bnc.convert(model, bnc.Frozen()), nn.Sequential)


@pytest.mark.parametrize("change", [bnc.revert, lambda model: bnc.convert(model, bnc.Frozen())])
def test_a_norm_without_weights_is_not_converted(change: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(bnc.UnsupportedModelError, match="1: lazy"):
        change(MODELS["a norm"][0]())
    with pytest.raises(bnc.RefusedError, match="run the model once on an input first"):
        bnc.convert(MODELS["a norm"][0](), bnc.Frozen(), inplace=True)


def test_a_lazy_layer_beside_a_norm_does_not_matter_to_converting_and_switches() -> None:
    model = MODELS["a layer"][0]()
    converted = bnc.convert(model, bnc.Frozen())
    assert converted(X).shape == (4, 4, 4, 4)
    with bnc.update_statistics(model, False):
        result: Tensor = model(X)
    assert result.shape == (4, 4, 4, 4)
    with (
        pytest.raises(bnc.UnsupportedModelError, match="1: lazy"),
        bnc.use_statistics(MODELS["a norm"][0](), "batch"),
    ):
        pass


def test_looking_needs_no_weights() -> None:
    model = MODELS["all"][0]()
    assert bnc.inspect(model).norms[0].channels == 0
    assert "run the model once" in str(bnc.plan(model, bnc.Frozen()))
