"""Whatever is folded, grafted or exported of a random network computes what it did before."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.architectures.answers import outputs
from tests.random_networks import SHAPE, RandomNetwork

FEW = range(12)
MANY = range(1000, 1050)
EXPORTED = range(3)


def require_same(expected: list[Tensor], found: list[Tensor]) -> None:
    for truth, value in zip(expected, found, strict=True):
        size = float(truth.abs().max().clamp(min=1e-12))
        torch.testing.assert_close(value, truth, rtol=0, atol=1e-11 * size)


def require_folds_right(seed: int) -> None:
    model, example = RandomNetwork(seed), Example.of(torch.randn(SHAPE, dtype=torch.float64))
    before, expected = copy.deepcopy(model.state_dict()), outputs(model, example)
    folded = bnc.fold(model, example)
    require_same(expected, outputs(folded.module, example))
    require_same(expected, outputs(folded.graft(model), example))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(row.reason for row in folded.report.norms)


@pytest.mark.parametrize("seed", FEW)
def test_a_random_network_is_folded_right(seed: int) -> None:
    require_folds_right(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", MANY[::10])
def test_many_random_networks_are_folded_right(start: int) -> None:
    for seed in range(start, start + 10):
        require_folds_right(seed)


@pytest.mark.parametrize("seed", EXPORTED)
def test_a_random_network_is_exported_and_proven(seed: int, tmp_path: Path) -> None:
    model = RandomNetwork(seed).float()
    try:
        report = bnc.export(model, (torch.randn(SHAPE),), tmp_path / "m.onnx")
    except bnc.InconclusiveError as failure:  # some outputs are constants, whatever goes in
        report = failure.report
        assert {finding.id for finding in report.findings} == {"BN413"}
    assert report.failures == ()
