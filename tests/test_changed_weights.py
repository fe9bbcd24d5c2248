"""Statistics after something other than a training step has changed the weights.

Of each way to change weights: `recompute_statistics` gives what one slow pass per norm gives, and
changes nothing but the statistics.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import bnconvert as bnc
from tests.precise import farthest, layer_by_layer, statistics_of

IMAGES = [
    x + 1 for x in torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)).split(16)
]
LOADER = [(images, torch.arange(len(images)) % 10) for images in IMAGES]


def net(seed: int = 0, width: int = 6) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 10),
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> nn.Module:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for images, labels in LOADER:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


def recompute(model: nn.Module, batches: Sequence[Any] = LOADER) -> bnc.Recomputation:
    """Recompute, and see that nothing but statistics of norms changed."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = bnc.recompute_statistics(model, batches)
    for name, tensor in model.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(tensor, before[name]), name
    return result


def assert_exact(model: nn.Module) -> None:
    """Recompute over a loader of images and labels, and compare with one pass per norm."""
    wanted = layer_by_layer(model, IMAGES)
    assert farthest(statistics_of(model), wanted) > 0.01  # the old ones are not those
    recompute(model)
    assert farthest(statistics_of(model), wanted) < 1e-5


@pytest.mark.parametrize("averaging", [None, get_ema_multi_avg_fn(0.5)], ids=["swa", "ema"])
@pytest.mark.parametrize("use_buffers", [False, True])
def test_torchs_averaged_model(averaging: Any, use_buffers: bool) -> None:
    model = net()
    averaged = AveragedModel(model, multi_avg_fn=averaging, use_buffers=use_buffers)
    for _ in range(2):
        train(model)
        averaged.update_parameters(model)
    assert_exact(averaged)


def test_timms_moving_average_though_its_wrapper_is_never_set_to_eval() -> None:
    utilities = pytest.importorskip("timm.utils")
    model = net()
    averaged = utilities.ModelEmaV3(model, decay=0.5)
    averaged.update(train(model))
    assert averaged.training
    assert not averaged.module.training
    assert_exact(averaged)
    assert_exact_again_after(lambda: averaged.update(train(model)), averaged.module)


def assert_exact_again_after(change: Callable[[], Any], model: nn.Module) -> None:
    change()
    assert_exact(model)


def test_a_schedule_free_optimizer_in_its_eval_mode_and_training_goes_on_as_without() -> None:
    schedulefree = pytest.importorskip("schedulefree")

    def trained(evaluated: bool) -> nn.Module:
        model = net()
        optimizer = schedulefree.SGDScheduleFree(model.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.train()
            train(model, optimizer)
            optimizer.eval()
            if evaluated:
                with bnc.measured(model, LOADER):
                    model(IMAGES[0])
        return model

    model, twin = trained(evaluated=True), trained(evaluated=False)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name
    assert_exact(model)


def test_pruned_weights_with_their_masks_and_for_good() -> None:
    masked, final = (train(net()) for _ in range(2))
    for model in (masked, final):
        prune.l1_unstructured(model.get_submodule("0"), "weight", 0.5)
        prune.ln_structured(model.get_submodule("3"), "weight", 0.5, n=2, dim=1)
        prune.l1_unstructured(model.get_submodule("4"), "weight", 0.25)
    for index in "034":
        prune.remove(final.get_submodule(index), "weight")
    assert_exact(final)
    recompute(masked)
    assert farthest(statistics_of(masked), statistics_of(final)) == 0


def test_an_interpolation_of_two_networks_and_an_average_of_clients() -> None:
    clients = [train(net(seed)) for seed in range(3)]
    for shares in ((0.5, 0.5, 0.0), (0.2, 0.3, 0.5)):
        merged = net()
        states = [client.state_dict() for client in clients]
        merged.load_state_dict(
            {
                name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
                for name in states[0]
            }
        )
        assert_exact(merged)


@pytest.mark.filterwarnings("ignore")  # torch.ao says that it is deprecated
def test_fx_quantization_aware_training_and_its_observers_stay() -> None:
    quantization = pytest.importorskip("torch.ao.quantization")
    fx = pytest.importorskip("torch.ao.quantization.quantize_fx")
    mapping = quantization.get_default_qat_qconfig_mapping("fbgemm")
    model = fx.prepare_qat_fx(net().train(), mapping, (IMAGES[0],))
    assert_settles(model)
    converted = fx.convert_fx(copy.deepcopy(model).eval())
    assert converted(IMAGES[0]).shape == (16, 10)


@pytest.mark.filterwarnings("ignore")
def test_pt2e_quantization_aware_training_in_its_eval_form() -> None:
    pt2e = pytest.importorskip("torchao.quantization.pt2e")
    prepare = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e").prepare_qat_pt2e
    x86 = pytest.importorskip("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    config = x86.get_default_x86_inductor_quantization_config(is_qat=True)
    quantizer = x86.X86InductorQuantizer().set_global(config)
    sizes = ({0: torch.export.Dim("batch", min=2)},)
    graph = torch.export.export(net().train(), (IMAGES[0],), dynamic_shapes=sizes).module()
    model = prepare(graph, quantizer)
    with pytest.raises(bnc.StatisticsError, match="captured in training mode"):
        recompute(model)
    assert_settles(model, before=lambda: pt2e.move_exported_model_to_eval(model))


def assert_settles(model: nn.Module, before: Callable[[], Any] = lambda: None) -> None:
    """Recompute twice: the weights are quantized after they are scaled by the old variance."""
    with torch.no_grad():
        for _ in range(40):
            for images in IMAGES:
                model(images)  # the observers and the statistics settle
    before()
    recompute(model)  # also sees that no observer and no scale changed
    for row in recompute(model).report.statistics:
        assert (row.mean_distance or 0) < 0.05
        assert (row.deviation_distance or 0) < 0.05


def test_a_captured_graph_counts_its_batches_once() -> None:
    sizes = ({0: torch.export.Dim("batch", min=2)},)
    eager = train(net())
    model = torch.export.export(eager.eval(), (IMAGES[0],), dynamic_shapes=sizes).module()
    recompute(model)
    recompute(eager)
    for name, tensor in eager.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name


@pytest.mark.filterwarnings("ignore")
def test_low_rank_adapters_merged_and_not(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["0", "3"], r=2, init_lora_weights=False)
    model = peft.get_peft_model(net(), config)
    train(model)
    assert_exact(model)
    apart = statistics_of(model.base_model.model)
    merged = model.merge_and_unload()
    recompute(merged)
    assert farthest(statistics_of(merged), apart) < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_file_has_the_statistics_of_those_norms_that_it_is_told_to_save(
    tmp_path: Path,
) -> None:
    peft = pytest.importorskip("peft")
    for saved in (None, ["1", "4"]):
        config = peft.LoraConfig(target_modules=["0", "3"], r=2, modules_to_save=saved)
        model = peft.get_peft_model(net(), config)
        train(model)
        notes = str(bnc.recompute_statistics(model, IMAGES).report)
        assert ("NOT SAVED WITH THE ADAPTER" in notes) is (saved is None)
        assert ('modules_to_save=["1", "4"] in its config' in notes) is (saved is None)
        model.save_pretrained(tmp_path / str(saved))
        loaded = peft.PeftModel.from_pretrained(net(), tmp_path / str(saved)).eval()
        with torch.no_grad():
            equal = torch.allclose(loaded(IMAGES[0]), model.eval()(IMAGES[0]), atol=1e-5)
        assert equal is (saved is not None)
