from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bnconvert as bnc
from bnconvert.errors import UnsupportedModelError
from bnconvert.modules.copies.copying import (
    Replicas,
    copy_model,
    copy_sharing_parameters,
    replicate,
)
from bnconvert.modules.copies.parameter_copies import copy_viewing_parameters
from tests.submodules import submodule
from tests.zoo import ZOO, Net, ZooModel, build

COPIES = (copy_model, copy_sharing_parameters, copy_viewing_parameters, replicate)
every_copy = pytest.mark.parametrize("copied", COPIES, ids=lambda copied: copied.__name__)
Copy = Callable[[nn.Module], nn.Module]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[dist.ProcessGroup]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    group = dist.new_group([0])
    assert isinstance(group, dist.ProcessGroup)
    yield group
    dist.destroy_process_group()


def test_a_copy_has_parameters_and_buffers_of_its_own() -> None:
    model = Net().train()
    twin = copy_model(model)
    assert type(twin) is Net
    originals = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    for name, tensor in twin.state_dict(keep_vars=True).items():
        assert id(tensor) not in originals
        assert torch.equal(tensor, model.state_dict()[name])
        assert tensor.data_ptr() != model.state_dict()[name].data_ptr()


def test_a_parameter_that_two_layers_share_is_shared_in_the_copy_too() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    twin = copy_model(model)
    assert twin.get_parameter("1.weight") is twin.get_parameter("0.weight")
    assert twin.get_parameter("0.weight") is not model.get_parameter("0.weight")


def test_a_copy_may_share_the_parameters_but_not_the_buffers() -> None:
    model = build("residual")[0].train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    twin = copy_sharing_parameters(model)
    twin(torch.randn(4, 3, 8, 8))
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    mine = dict(model.named_parameters())
    assert all(parameter is mine[name] for name, parameter in twin.named_parameters())


@pytest.mark.parametrize("copied", [copy_model, copy_sharing_parameters])
def test_a_copy_is_in_the_models_modes(copied: Copy) -> None:
    model = build("residual")[0].train()
    model.get_submodule("bn1").eval()
    twin = copied(model)
    assert [m.training for m in twin.modules()] == [m.training for m in model.modules()]


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_a_replica_shares_every_tensor_and_computes_what_the_eval_model_does(zoo: ZooModel) -> None:
    model, inputs = build(zoo.name)
    replica = replicate(model.train())
    assert not any(module.training for module in replica.modules())
    mine = dict(model.state_dict(keep_vars=True))
    assert all(value is mine[name] for name, value in replica.state_dict(keep_vars=True).items())
    with torch.no_grad():
        torch.testing.assert_close(replica(*inputs), model.eval()(*inputs))


def test_a_replica_shares_arrays_and_tensors_on_plain_attributes() -> None:
    model: Any = Net()  # it gets attributes that its class does not declare
    model.table, model.lists = np.ones(3), [torch.ones(2)]
    replica: Any = replicate(model)
    assert replica.table is model.table
    assert replica.lists[0] is model.lists[0]
    assert replica.lists is not model.lists


def test_what_a_forward_stores_on_its_modules_stays_with_the_replica() -> None:
    model, inputs = build("cache_in_forward")
    replicate(model)(*inputs)
    assert model.cache == {}


def test_an_adaptive_norm_normalizes_by_its_running_statistics_in_a_replica() -> None:
    norm = bnc.convert(nn.BatchNorm1d(3), bnc.Adaptive(0)).eval()
    x = torch.randn(8, 3) + 5
    torch.testing.assert_close(replicate(norm)(x), x / (1 + 1e-5) ** 0.5)
    assert norm.statistics is None


@every_copy
def test_hooks_are_copied(copied: Copy) -> None:
    model = build("hooked")[0]
    norm, copied_norm = (m.get_submodule("norm") for m in (model, copied(model)))
    assert len(copied_norm._forward_hooks) == len(norm._forward_hooks) == 1
    copied_norm._forward_hooks.clear()
    assert len(norm._forward_hooks) == 1


@every_copy
def test_a_process_group_is_shared(copied: Copy, group: dist.ProcessGroup) -> None:
    model = nn.Sequential(nn.SyncBatchNorm(3, process_group=group))
    norm = submodule(copied(model), "0", nn.SyncBatchNorm)
    assert norm.process_group is group
    assert norm is not model[0]


@every_copy
def test_what_cannot_be_copied_is_refused_with_a_remedy(copied: Copy) -> None:
    model: Any = nn.Linear(2, 2)
    model.rows = (row for row in range(3))
    said = r"^Linear: cannot be copied \(TypeError: .*\); remove that attribute from the model"
    with pytest.raises(UnsupportedModelError, match=said) as refused:
        copied(model)
    assert isinstance(refused.value.__cause__, TypeError)


class Kept(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 4)
        self.tied = self.encoder.weight.t()  # a view that has a gradient history
        self.kept: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.kept = {"hidden": [self.encoder(x)]}
        hidden: Tensor = self.kept["hidden"][0]
        return hidden @ self.tied.t()


@every_copy
def test_tensors_with_a_gradient_history_are_copied(copied: Copy) -> None:
    model = Kept()
    model(torch.randn(2, 3))
    kept = model.kept["hidden"][0]
    twin: Any = copied(model)
    assert torch.equal(twin.kept["hidden"][0], kept)
    assert kept.grad_fn is not None
    torch.testing.assert_close(twin(torch.ones(1, 3)), model(torch.ones(1, 3)))


def test_a_view_of_a_weight_is_a_view_of_the_copied_weight() -> None:
    model = Kept()
    twin: Any = copy_model(model)
    with torch.no_grad():
        twin.encoder.weight.fill_(2)
    assert (twin.tied == 2).all()
    assert not (model.tied == 2).any()
    twin.tied.sum().backward()
    assert twin.encoder.weight.grad is not None


@every_copy
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("runs", [0, 1])
def test_weight_norm_is_copied_before_and_after_its_first_run(copied: Copy, runs: int) -> None:
    model = torch.nn.utils.weight_norm(nn.Linear(3, 4))
    for _ in range(runs):
        model(torch.ones(1, 3))
    torch.testing.assert_close(copied(model)(torch.ones(1, 3)), model(torch.ones(1, 3)))


def test_replicas_share_data_and_copy_what_a_forward_may_change() -> None:
    model: Any = Net()
    model.data = TensorDataset(torch.ones(3))
    model.loader = DataLoader(model.data)
    model.optimizer = torch.optim.Adam(model.parameters())
    model.replay = deque((torch.ones(2), i) for i in range(2000))
    model.short, model.layers = [1, 2], [model.conv] * 2000
    replica: Any = Replicas(model).new()
    for name in ("data", "loader", "optimizer"):
        assert getattr(replica, name) is getattr(model, name)
    assert replica.replay is not model.replay
    assert replica.replay[7] is model.replay[7]
    assert replica.short is not model.short
    assert replica.layers[0] is replica.conv


def test_the_caller_may_know_a_better_remedy() -> None:
    model: Any = nn.Linear(2, 2)
    model.rows = (row for row in range(3))
    with pytest.raises(UnsupportedModelError, match=r"\); use inplace=True$"):
        copy_model(model, remedy="use inplace=True")


class Uncopied:
    """Holds a part of a model, and a generator, which nobody can copy."""

    def __init__(self, run: nn.Module) -> None:
        self.run, self.rows = run, (row for row in range(3))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("forward", "make it the forward of the module's class"), ("again", "remove that attribute")],
)
def test_the_advice_does_not_change_what_the_model_computes(name: str, remedy: str) -> None:
    """Without its own forward, the model would be another function."""
    model = nn.Sequential(nn.Linear(2, 2))
    holder = Uncopied(model[0])
    vars(model)[name] = lambda x: holder.run(x) + 1
    with pytest.raises(bnc.UnsupportedModelError, match=f"^{name}: leads back .*; {remedy}"):
        copy_model(model)


class FakeQuantization(nn.Module):
    """As torch.ao's and torchao's are."""

    def __init__(self, seen: float) -> None:
        super().__init__()
        self.register_buffer("observer_enabled", torch.ones(1, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(1))
        self.activation_post_process = nn.Module()
        self.activation_post_process.register_buffer("min_val", torch.tensor(seen))


def test_in_a_replica_observers_that_have_seen_data_rest() -> None:
    model = nn.ModuleList([FakeQuantization(-2.0), FakeQuantization(float("inf"))])
    replica = replicate(model)
    assert [int(replica.get_buffer(f"{index}.observer_enabled")) for index in (0, 1)] == [0, 1]
    assert all(model.get_buffer(f"{index}.observer_enabled") for index in (0, 1))
