"""Every topology is folded exactly, as far as it should be, and the user's model is untouched."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import bnconvert as bnc
from bnconvert.numerics.distance import (
    MEASURES,
    Measure,
    difference,
    relative_error,
    rounding_error,
)
from bnconvert.reporting.records import NormRow
from tests.topologies import TOPOLOGIES, Topology
from tests.topologies.trial import Trial, exact, outputs

ARITHMETIC = {"add", "sub", "rsub", "mul", "div", "neg", "reciprocal"}
NORMS = {"batch_norm", "native_batch_norm", "instance_norm"}
#: How many times the model's own rounding error a folded one may have.
FACTOR = 4.0
#: Several folds change the same weight.
ROUNDED_ONCE = ("fastvit_mixer", "repvgg_two_blocks", "network_mixed", "network_recurrent")
#: The rows of the matrix of field/FOLD.md, section 1.
MATRIX = """
conv1d_bn conv2d_bn conv2d_nobias_bn conv3d_bn conv2d_grouped_bn conv2d_depthwise_bn
conv2d_reflect_bn convT1d_bn convT2d_bn convT2d_sq_bn convT3d_bn convT2d_g2_bn convT2d_g2_sq_bn
convT2d_dw_bn convT2d_dw_mult2_bn linear_bn linear_nobias_bn linear3d_bn_TRAP
linear3d_nobias_bn_TRAP bn_linear3d_TRAP linear_perm_bn linear_affineless_bn conv_affineless_bn
bn_conv_nopad bn_conv_pad_TRAP bn_conv_pad_reflect bn_dwconv_nopad bn_convT bn_linear
bn_flatten_linear bn_relu_conv_TRAP bn_standalone conv_bn_bn conv_dropout_bn conv_identity_bn
conv_two_users shared_conv_two_bn shared_conv_shared_bn shared_conv_one_raw shared_bn_two_conv
shared_bn_one_unfoldable tied_weights_two_bn tied_bias_two_bn weightnorm_param_conv_bn
weightnorm_old_conv_bn spectral_old_conv_bn hook_on_conv_bn hook_on_bn functional_conv_bn
conv_functional_bn bn_no_running_stats_TRAP bn_train_mode_TRAP cat_bn add_bn conv_avgpool_bn
conv_gap_flatten_bn conv_maxpool_bn conv_chunk_bn conv_slice_bn conv_pixelshuffle_bn
conv_upsample_bn conv_zeropad_bn_TRAP conv_mul_add_scalar conv_mul_add_chan convT_mul_chan_sq
conv_mul_W_TRAP conv_add_W_TRAP linear_mul_add repvgg_block conv_subclass_bn syncbn
instancenorm_tracked conv_bn1d_unbatched_linear1 lazy_conv_bn conv_bf16_bn_fp32 double_conv_bn
half_conv_bn bf16_conv_bn
"""


def test_every_row_of_the_matrix_is_here_and_every_name_once() -> None:
    names = [topology.name for topology in TOPOLOGIES]
    assert len(set(names)) == len(names)
    assert set(MATRIX.split()) <= set(names)


every_topology = pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda t: t.name)


@every_topology
def test_it_is_folded_exactly_and_as_far_as_it_should_be(topology: Topology) -> None:
    trial = exact(topology)
    for a, e in zip(tree_leaves(trial.actual), tree_leaves(trial.expected), strict=True):
        finite = torch.isfinite(e)
        assert torch.equal(torch.isfinite(a), finite)
        assert (a - e)[finite].abs().max() <= 1e-11 * e[finite].abs().max()
    assert_rows(topology, trial.folded.report.norms)
    assert_operators(topology, trial.operators())


@every_topology
def test_the_users_model_is_not_touched(topology: Topology) -> None:
    trial = exact(topology)
    before, after = trial.before, trial.model
    assert list(after.state_dict()) == list(before.state_dict())
    for ours, theirs in zip(
        [*after.state_dict().values(), *outputs(copy.deepcopy(after), trial.examples[0])],
        [*before.state_dict().values(), *trial.expected[0]],
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    for module, copied in zip(after.modules(), before.modules(), strict=True):
        assert module.training is copied.training
        assert hooks_of(module) == hooks_of(copied)


@every_topology
def test_its_rounding_is_the_models_own(topology: Topology) -> None:
    """The tolerance of export: err(folded) <= 4 err(model) + rounding, against float64."""
    trial, true = in_its_dtype(topology), exact(topology).expected
    for value, native in zip(trial.actual[0], trial.expected[0], strict=True):
        assert difference(value, native) in ("", difference(native, native))
    for measure in MEASURES:
        mine, own, perturbed = (
            errors(measured, true, measure)
            for measured in (trial.actual, trial.expected, trial.perturbed)
        )
        for index, error in enumerate(mine):
            rounding = rounding_error(trial.actual[0][index].dtype, measure)
            assert error <= FACTOR * max(own[index], perturbed[index]) + rounding


def in_its_dtype(topology: Topology) -> Trial:
    """Return a topology folded in its own dtype; a float32 fold is the float64 one, rounded."""
    if topology.dtype is torch.float32:
        return exact(topology).rounded(topology.model())
    return Trial.of(topology, double=False)


def errors(
    measured: Sequence[list[Tensor]], true: Sequence[list[Tensor]], measure: Measure
) -> list[float]:
    """Return the largest relative error of each output."""
    return [
        max(relative_error(m, t, measure) for m, t in zip(some, truth, strict=True))
        for some, truth in zip(zip(*measured, strict=True), zip(*true, strict=True), strict=True)
    ]


@pytest.mark.parametrize("name", ROUNDED_ONCE)
def test_a_float32_fold_is_the_float64_fold_rounded_once(name: str) -> None:
    (topology,) = (topology for topology in TOPOLOGIES if topology.name == name)
    folded = Trial.of(topology, double=False).folded.module.state_dict()
    wide = exact(topology).folded.module.state_dict()
    assert list(folded) == list(wide)
    for key, value in wide.items():
        assert torch.equal(folded[key], value.float()), key


@pytest.mark.slow
@every_topology
def test_it_is_exported_and_verified(topology: Topology, tmp_path: Path) -> None:
    if topology.requires:
        pytest.importorskip(topology.requires)
    model, inputs = topology.model(), topology.inputs()
    if topology.unexportable:
        with pytest.raises(topology.unexportable):
            bnc.export(model, inputs, tmp_path / "model.onnx")
        return
    report = bnc.export(model, inputs, tmp_path / "model.onnx")
    assert report.failures == ()
    assert_rows(topology, report.norms)


def assert_rows(topology: Topology, rows: Sequence[NormRow]) -> None:
    assert all(row.reason for row in rows)
    if topology.gone is None:
        return
    standing = [row.reason for row in rows if row.outcome != "folded"]
    assert len(rows) - len(standing) == topology.gone, standing
    assert len(standing) == len(topology.standing), standing
    for reason, part in zip(standing, topology.standing, strict=True):
        assert part in reason


def assert_operators(topology: Topology, operators: Sequence[str]) -> None:
    assert sum(operator in NORMS for operator in operators) <= len(topology.standing), operators
    if topology.convs is not None:
        assert operators.count("conv") <= topology.convs, operators
    if topology.arithmetic is not None:
        left = [operator for operator in operators if operator in ARITHMETIC]
        assert len(left) <= topology.arithmetic, operators


def hooks_of(module: nn.Module) -> list[type]:
    return [type(h) for h in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())]
