from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.conventions import NormState, biased_variance, unbiased_variance
from bnconvert.modules.rewrite import Rewrite

conventions = bnc.conventions
GAMMA, BETA, MEAN = (np.linspace(a, a + 1, 4, dtype=np.float32) for a in (0.5, -0.5, 1.0))
VAR = np.linspace(0.5, 2.0, 4, dtype=np.float32)
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)

Reader = Callable[..., NormState]
READERS: dict[str, tuple[Reader, Mapping[str, Any], dict[str, Any], float]] = {
    "keras": (
        conventions.keras,
        {"gamma": GAMMA, "beta": BETA, "moving_mean": MEAN, "moving_variance": VAR},
        {"momentum": 0.98, "epsilon": 1e-2},
        0.02,
    ),
    "mxnet": (
        conventions.mxnet,
        {"gamma": GAMMA, "beta": BETA, "moving_mean": MEAN, "moving_var": VAR},
        {"fix_gamma": False, "momentum": 0.98, "eps": 1e-2},
        0.02,
    ),
    "gluon": (
        conventions.mxnet,
        {"gamma": GAMMA, "beta": BETA, "running_mean": MEAN, "running_var": VAR},
        {"fix_gamma": False, "momentum": 0.98, "eps": 1e-2},
        0.02,
    ),
    "caffe": (
        conventions.caffe,
        {
            "mean": MEAN * 8,
            "variance": VAR * 8,
            "scale_factor": np.array([8.0], dtype=np.float32),
            "weight": GAMMA,
            "bias": BETA,
        },
        {"moving_average_fraction": 0.98, "eps": 1e-2},
        0.02,
    ),
    "flax": (
        conventions.flax,
        {"scale": GAMMA, "bias": BETA, "mean": MEAN, "var": VAR},
        {"momentum": 0.98, "epsilon": 1e-2},
        0.02,
    ),
    "paddle": (
        conventions.paddle,
        {"weight": GAMMA, "bias": BETA, "_mean": MEAN, "_variance": VAR},
        {"momentum": 0.98, "epsilon": 1e-2},
        0.02,
    ),
}
CASES = pytest.mark.parametrize(
    ("read", "tensors", "settings", "momentum"), READERS.values(), ids=READERS
)


@CASES
def test_the_norm_computes_what_it_computed_there(
    read: Callable[..., NormState],
    tensors: dict[str, Any],
    settings: dict[str, Any],
    momentum: float,
) -> None:
    state = read(tensors, **settings)
    norm = nn.BatchNorm1d(4)
    state.load_into(norm)
    expected = GAMMA * (X - MEAN) / np.sqrt(VAR + 1e-2) + BETA
    torch.testing.assert_close(norm.eval()(torch.tensor(X)), torch.tensor(expected))
    assert norm.momentum == pytest.approx(momentum)
    assert norm.eps == 1e-2


@CASES
def test_an_unknown_and_a_missing_key_are_errors(
    read: Callable[..., NormState],
    tensors: dict[str, Any],
    settings: dict[str, Any],
    momentum: float,
) -> None:
    with pytest.raises(bnc.BnconvertError, match="keys unknown: surprise; the known ones are"):
        read({**tensors, "surprise": MEAN}, **settings)
    for key in [key for key in tensors if "mean" in key or "var" in key]:
        with pytest.raises(bnc.BnconvertError, match=f"missing: .*{key}"):
            read({k: v for k, v in tensors.items() if k != key}, **settings)


@pytest.mark.parametrize(
    ("read", "settings", "momentum", "eps"),
    [
        ("keras", {}, 0.01, 1e-3),
        ("mxnet", {"fix_gamma": False}, 0.1, 1e-3),
        ("caffe", {}, 0.001, 1e-5),
        ("flax", {}, 0.01, 1e-5),
        ("paddle", {}, 0.1, 1e-5),
    ],
)
def test_the_defaults_are_the_frameworks(
    read: str, settings: dict[str, Any], momentum: float, eps: float
) -> None:
    state = READERS[read][0](READERS[read][1], **settings)
    assert state.momentum == pytest.approx(momentum)
    assert state.eps == eps


def test_a_fixed_gamma_is_1_whatever_the_checkpoint_holds() -> None:
    state = conventions.mxnet(READERS["mxnet"][1], fix_gamma=True)
    assert torch.equal(state.tensors["weight"], torch.ones(4))


def test_caffes_sums_without_data_are_0_as_in_caffe() -> None:
    tensors = {"mean": MEAN, "variance": VAR, "scale_factor": np.zeros(1, dtype=np.float32)}
    state = conventions.caffe(tensors)
    assert not state.tensors["running_mean"].any()
    assert not state.tensors["running_var"].any()


CONVERSIONS = (
    bnc.Keep(),
    bnc.Frozen(),
    bnc.Ghost(),
    bnc.Virtual(torch.ones(2, 4)),
    bnc.Renorm(),
    bnc.Separate(("a", "b", "c")),
    bnc.Separate(affine="separate", each=bnc.Renorm()),
    bnc.Adaptive(over="stream"),
    bnc.Adaptive(float("inf"), over="stream"),
)


@pytest.mark.parametrize("choice", CONVERSIONS, ids=repr)
def test_it_is_loaded_into_every_norm_of_bnconvert(choice: Rewrite) -> None:
    read, tensors, settings, _ = READERS["keras"]
    state, plain = read(tensors, **settings), nn.BatchNorm1d(4)
    state.load_into(plain)
    norm = bnc.convert(nn.BatchNorm1d(4), choice)
    state.load_into(norm)
    with bnc.use_statistics(norm.eval(), "running"):
        torch.testing.assert_close(norm(torch.tensor(X)), plain.eval()(torch.tensor(X)))
    for domain in getattr(norm, "domains", (None,)) or (None,):
        back = bnc.revert(norm, domain=domain)
        assert isinstance(back, nn.BatchNorm1d)
        torch.testing.assert_close(back.eval()(torch.tensor(X)), plain(torch.tensor(X)))
        assert (back.momentum, back.eps) == (plain.momentum, plain.eps)


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 4, 1, 1), (4, 1, 1), (1, 4)], ids=str)
def test_tensors_that_were_saved_to_broadcast_are_vectors(shape: tuple[int, ...]) -> None:
    read, tensors, settings, _ = READERS["keras"]
    norms = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    read(tensors, **settings).load_into(norms[0])
    read({n: t.reshape(shape) for n, t in tensors.items()}, **settings).load_into(norms[1])
    assert all(map(torch.equal, norms[0].state_dict().values(), norms[1].state_dict().values()))


def test_other_shapes_are_refused_by_their_shape() -> None:
    tensors = {"moving_mean": MEAN.reshape(2, 2), "moving_variance": VAR}
    with pytest.raises(bnc.ConventionError, match=r"shape \(2, 2\) and the norm 4 channels"):
        conventions.keras(tensors).load_into(nn.BatchNorm1d(4, affine=False))


MISMATCHES = {
    "no affine here": (("gamma", "beta"), nn.BatchNorm1d(4, affine=False)),
    "no statistics here": (("gamma", "beta"), nn.BatchNorm1d(4, track_running_stats=False)),
    "no affine there": ((), nn.BatchNorm1d(4)),
    "only a scale there": (("gamma",), nn.BatchNorm1d(4)),
    "only a shift there": (("beta",), nn.BatchNorm1d(4)),
}


@pytest.mark.parametrize(("affine", "norm"), MISMATCHES.values(), ids=MISMATCHES)
def test_where_the_tensors_differ_the_advice_works(
    affine: tuple[str, ...], norm: nn.BatchNorm1d
) -> None:
    every = READERS["keras"][1]
    tensors = {name: t for name, t in every.items() if name.startswith("moving") or name in affine}
    with pytest.raises(bnc.ConventionError, match=r"the norm has .* and the checkpoint ") as error:
        conventions.keras(tensors).load_into(norm)
    _, _, remedy = str(error.value).partition("; ")
    if remedy.startswith("add "):
        made, _, names = remedy.removeprefix("add ").partition(" to the tensors, as ")
        name = names.partition(" (")[0]
        assert name in {"gamma", "beta"} - set(affine)
        more = eval(made, {"torch": torch})
        conventions.keras({**tensors, name: more}).load_into(nn.BatchNorm2d(4))
        return
    source = remedy.removeprefix("make the norm as ").partition(", or ")[0]
    conventions.keras(tensors).load_into(eval(source, {"torch": torch}))


def test_wrong_channels_are_refused() -> None:
    tensors = {"moving_mean": MEAN, "moving_variance": VAR}
    with pytest.raises(bnc.ConventionError, match="5 channels; give the norm that it belongs to"):
        conventions.keras(tensors).load_into(nn.BatchNorm1d(5, affine=False))


def test_the_tensors_are_copies() -> None:
    mean = torch.tensor(MEAN)
    state = conventions.flax({"mean": mean, "var": torch.tensor(VAR)})
    mean.zero_()
    assert torch.equal(state.tensors["running_mean"], torch.tensor(MEAN))


def test_the_variance_is_converted_by_the_count_as_numpy_does() -> None:
    x = X.astype(np.float64)
    biased, unbiased = (torch.tensor(x.var(0, ddof=d)) for d in (0, 1))
    torch.testing.assert_close(unbiased_variance(biased, 6), unbiased)
    torch.testing.assert_close(biased_variance(unbiased, 6), biased)
    assert unbiased_variance(biased.float(), 6).dtype is torch.float32
    change: Callable[[Tensor, int], Tensor]
    for change in (unbiased_variance, biased_variance):
        with pytest.raises(bnc.BnconvertError, match="1 values per channel; give a count of 2"):
            change(biased, 1)


def test_a_momentum_outside_of_0_and_1_is_refused() -> None:
    with pytest.raises(bnc.BnconvertError, match="momentum is 99; give the share of the old"):
        conventions.keras(READERS["keras"][1], momentum=99)
