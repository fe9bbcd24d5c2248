import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import bnconvert as bnc
from bnconvert.folding.folding import fold_for_file
from bnconvert.graphs.example import Example
from tests.submodules import submodule
from tests.zoo import IMAGE, ZOO, Net, ZooModel, build, trained

NOT_FOLDED = {
    "without_statistics": "it has no running statistics",
    "pre_activation": "its input is made by the model's input",
    "linear_on_sequences": "a linear layer on 3 axes: its features are the last axis",
    "root_is_norm": "its input is made by the model's input",
}


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_a_zoo_model_is_folded_exactly_and_every_standing_norm_has_a_reason(
    zoo: ZooModel,
) -> None:
    model, inputs = build(zoo.name)
    exact = copy.deepcopy(model).double()
    wide = tuple(tensor.double() for tensor in inputs)
    folded = bnc.fold(exact, wide)
    with torch.no_grad():
        expected = pytree.tree_leaves(exact(*wide))
        actual = pytree.tree_leaves(folded.module(*wide))
    for a, e in zip(actual, expected, strict=True):
        assert (a - e).abs().max() <= 1e-11 * e.abs().max()
    standing = [row for row in folded.report.norms if row.outcome != "folded"]
    if zoo.name in NOT_FOLDED:
        assert standing
        assert all(NOT_FOLDED[zoo.name] in row.reason for row in standing)
    else:
        assert standing == []


def test_the_model_is_not_touched() -> None:
    model, inputs = build("residual")
    state = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    random = torch.get_rng_state()
    bnc.fold(model.train(), inputs)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert id(tensor) == state[name][0]
        assert torch.equal(tensor, state[name][1])


def test_a_file_is_folded_from_the_models_own_weights_and_users_get_copies() -> None:
    model, inputs = build("plain")
    theirs = {parameter.data_ptr() for parameter in model.parameters()}

    def shared(folded: bnc.Folded) -> int:
        graphs = folded.captured.module, folded.module
        held = {tensor.data_ptr() for graph in graphs for tensor in graph.state_dict().values()}
        return len(held & theirs)

    assert shared(fold_for_file(model, Example.of(inputs), None)) == len(theirs)
    assert shared(bnc.fold(model, inputs)) == 0


def test_the_folded_graph_has_no_trace_of_the_norm() -> None:
    folded = bnc.fold(*build("plain"))
    assert set(folded.module.state_dict()) == {
        "conv.weight",
        "conv.bias",
        "head.weight",
        "head.bias",
    }
    assert isinstance(folded.module, fx.GraphModule)
    assert "batch_norm" not in folded.module.code


def test_it_runs_at_any_batch_size() -> None:
    model, _ = build("residual")
    module = bnc.fold(model, (IMAGE[0][:1],)).module
    for size in (1, 3, 5):
        x = torch.randn(size, 3, 8, 8)
        torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_folded_model_refuses_to_train_also_as_a_copy() -> None:
    module = bnc.fold(*build("plain")).module
    for twin in (module, copy.deepcopy(module)):
        assert isinstance(twin, torch.fx.GraphModule)
        with pytest.raises(bnc.FoldedTrainingError, match="fine-tune the unfolded model"):
            twin.train()
        assert twin.eval() is twin
        assert not twin.training
        torch.testing.assert_close(twin(*IMAGE), module(*IMAGE))


def test_norms_in_a_row_fold_one_after_the_other() -> None:
    folded = bnc.fold(*build("two_norms_in_a_row"))
    assert [row.reason for row in folded.report.norms] == ["into 0 (conv2d)"] * 2


def test_a_norm_called_at_two_places_has_a_row_for_each() -> None:
    folded = bnc.fold(*build("norm_called_twice"))
    assert [(row.calls, row.reason) for row in folded.report.norms] == [
        (2, "call 1 of 2: into conv1 (conv2d)"),
        (2, "call 2 of 2: into conv2 (conv2d)"),
    ]


def test_a_norm_with_one_foldable_call_stands_at_the_other() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(F.relu(self.norm(self.conv(x))))
            return y

    model = trained(Half())
    folded = bnc.fold(model, IMAGE)
    assert [row.outcome for row in folded.report.norms] == ["folded", "standing"]
    assert folded.report.norms[1].reason == (
        "call 2 of 2: its multiplication is folded, into conv (conv2d); its addition stands: an "
        "activation (relu): an addition does not pass it; downstream: the model's output "
        "reads it"
    )
    torch.testing.assert_close(folded.module(*IMAGE), model(*IMAGE))


@pytest.mark.parametrize("tied", ["weight", "bias"])
def test_tied_layers_stay_right(tied: str) -> None:
    """Each call gets weights of its own; the report says so."""
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    )
    setattr(model[3], tied, getattr(model[0], tied))
    trained(model).double()
    folded = bnc.fold(model, (IMAGE[0].double(),))
    assert folded.report.count("folded") == 2
    copied = [row.reason for row in folded.report.norms if "copy" in row.reason]
    assert copied == (
        ["into 0 (conv2d), with a copy of its weight, which 3 (conv2d) reads too"]
        if tied == "weight"
        else []
    )
    error = (folded.module(IMAGE[0].double()) - model(IMAGE[0].double())).abs().max()
    assert error < 1e-12


def test_a_hook_on_a_conv_is_part_of_the_graph() -> None:
    model, inputs = build("plain")
    model.get_submodule("conv").register_forward_hook(lambda module, args, output: output.sin())
    folded = bnc.fold(model, inputs)
    torch.testing.assert_close(folded.module(*inputs), model(*inputs), rtol=1e-5, atol=1e-5)
    assert folded.report.norms[0].outcome == "standing"


def test_a_norm_in_training_mode_stands_with_the_reason() -> None:
    model, inputs = build("plain")
    model.get_submodule("norm").train()
    folded = bnc.fold(model, inputs)
    (row,) = folded.report.norms
    assert row.reason == "it is in training mode: it normalizes by the batch's own statistics"
    torch.testing.assert_close(folded.module(*inputs), copy.deepcopy(model)(*inputs))


def test_a_functional_norm_folds_and_is_reported_under_its_owner() -> None:
    folded = bnc.fold(*build("functional"))
    (row,) = folded.report.norms
    assert (row.path, row.class_name, row.channels) == ("", "F.batch_norm", 8)
    assert (row.outcome, row.reason) == ("folded", "into conv (conv2d)")


def test_statistics_used_through_a_functional_call_say_so() -> None:
    class Borrowing(Net):
        def forward(self, x: Tensor) -> Tensor:
            n = submodule(self, "norm", nn.BatchNorm2d)
            return F.batch_norm(self.conv(x), n.running_mean, n.running_var)

    model = trained(Borrowing())
    folded = bnc.fold(model, IMAGE)
    (row,) = folded.report.norms
    assert row.reason == "called by the root through F.batch_norm: into conv (conv2d)"
    torch.testing.assert_close(folded.module(*IMAGE), model(*IMAGE), rtol=1e-5, atol=1e-5)


def test_instance_norm_is_not_reported_as_batch_norm() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4), nn.BatchNorm2d(4))
    folded = bnc.fold(trained(model), IMAGE)
    assert [row.path for row in folded.report.norms] == ["2"]


def test_a_norm_that_is_never_called_and_a_group_norm_have_their_own_words() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[0].unused = nn.BatchNorm2d(4)
    rows = bnc.fold(bnc.convert(trained(model), bnc.Policy({"1": bnc.Group(2)})), IMAGE).report
    assert [(row.path, row.outcome) for row in rows.norms] == [
        ("0.unused", "uncalled"),
        ("1", "standing"),
    ]
    assert "is no fixed affine map in eval mode" in rows.norms[1].reason


def test_a_lazy_model_is_refused_until_it_has_seen_an_input() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 1), nn.LazyBatchNorm2d())
    with pytest.raises(bnc.UnsupportedModelError, match="0, 1: lazy"):
        bnc.fold(model.eval(), IMAGE)
    model(*IMAGE)
    assert bnc.fold(trained(model), IMAGE).report.count("folded") == 1


def test_a_subclass_and_a_frozen_model_fold_like_plain_batch_norm() -> None:
    for model in (build("own_subclass")[0], bnc.convert(build("plain")[0], bnc.Frozen())):
        folded = bnc.fold(model, IMAGE)
        assert folded.report.count("folded") == 1
        torch.testing.assert_close(folded.module(*IMAGE), model(*IMAGE), rtol=1e-5, atol=1e-5)


def test_who_reads_only_the_shape_is_no_reader() -> None:
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            output: Tensor = self.norm(y).reshape(y.shape[0], -1)
            return output

    model = trained(Flattened())
    folded = bnc.fold(model, IMAGE)
    assert folded.report.count("folded") == 1
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(folded.module(x), model(x), rtol=1e-5, atol=1e-5)


def test_a_folded_graph_is_saved_whole_and_loads_without_bnconvert(tmp_path: Path) -> None:
    model, inputs = build("plain")
    folded = bnc.fold(model, inputs)
    folded.save(tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(loaded(*inputs), folded.module(*inputs))
    with pytest.raises(bnc.OutputError):
        folded.save(tmp_path / "missing" / "net.pt2")
