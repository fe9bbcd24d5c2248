import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

import bnconvert as bnc
from tests.submodules import submodule
from tests.zoo import IMAGE, Net, OwnBatchNorm2d, build, trained


def test_a_copy_is_converted_and_the_model_stays_as_it_is() -> None:
    model, _ = build("plain")
    norm = model.norm
    converted = bnc.convert(model, bnc.Frozen())
    assert converted is not model
    assert model.norm is norm
    assert type(converted) is Net


def test_in_place_keeps_every_parameter_and_an_optimizer_goes_on() -> None:
    model, _ = build("plain")
    before = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert bnc.convert(model, bnc.Frozen(affine="trainable"), inplace=True) is model
    assert all(p is before[name] for name, p in model.named_parameters())
    weight = model.get_parameter("norm.weight").clone()
    model.train()(*IMAGE).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.get_parameter("norm.weight"), weight)


def test_a_round_trip_in_place_keeps_every_parameter() -> None:
    model, _ = build("plain")
    before = [id(t) for t in model.state_dict(keep_vars=True).values()]
    for policy in (bnc.Frozen(), bnc.Group(2), bnc.Frozen(affine="trainable")):
        bnc.convert(model, policy, inplace=True)
    bnc.revert(model, inplace=True)
    assert [id(t) for t in model.state_dict(keep_vars=True).values()] == before
    assert type(model.norm) is nn.BatchNorm2d


def test_a_shared_norm_stays_one_module_at_every_path() -> None:
    for name in ("one_norm_two_names", "one_norm_two_parents"):
        model, _ = build(name)
        (site,) = bnc.plan(model, bnc.Frozen()).survey.sites
        converted = bnc.convert(model, bnc.Frozen())
        first, second = (converted.get_submodule(path) for path in site.paths)
        assert first is second
        assert type(first).__name__ == "FrozenNorm"


def test_revert_gives_the_exact_class_momentum_and_batch_counter() -> None:
    model, _ = build("own_subclass")
    reverted = bnc.revert(bnc.convert(model, bnc.Group(4)))
    assert type(reverted.norm) is type(model.norm)
    norm = submodule(reverted, "norm", OwnBatchNorm2d)
    assert norm.momentum == 0.03
    assert norm.nickname == "own"
    assert norm.num_batches_tracked == 100


def test_revert_leaves_plain_models_alone() -> None:
    model, inputs = build("residual")
    reverted = bnc.revert(model)
    assert [type(m) for m in reverted.modules()] == [type(m) for m in model.modules()]
    assert torch.equal(reverted(*inputs), model(*inputs))


def test_a_domain_that_no_norm_holds_is_an_error() -> None:
    with pytest.raises(bnc.UnsupportedModelError, match="holds a domain 'target'; leave domain"):
        bnc.revert(build("plain")[0], domain="target")


def test_a_root_that_is_a_norm_gives_the_new_norm() -> None:
    norm = trained(nn.BatchNorm2d(3))
    converted = bnc.convert(norm, bnc.Frozen(affine="trainable"), inplace=True)
    assert type(converted).__name__ == "FrozenNorm"
    assert converted.weight is norm.weight
    assert torch.equal(converted(*IMAGE), norm(*IMAGE))
    assert "(root)" in str(bnc.plan(norm, bnc.Frozen()))
    assert type(bnc.revert(converted)) is nn.BatchNorm2d


def test_a_model_without_norms_comes_back_as_it_is() -> None:
    model, inputs = build("no_norm")
    assert torch.equal(bnc.convert(model, bnc.Frozen())(*inputs), model(*inputs))
    assert str(bnc.plan(model, bnc.Frozen())) == "No batch normalization found: nothing to do."


VERBS = {
    "plan": lambda model: bnc.plan(model, bnc.Frozen()),
    "convert": lambda model: bnc.convert(model, bnc.Frozen()),
    "revert": bnc.revert,
    "inspect": bnc.inspect,
    "fold": lambda model: bnc.fold(model, IMAGE),
    "export": lambda model: bnc.export(model, IMAGE, "never.onnx"),
    "verify": lambda model: bnc.verify(model, "never.onnx", IMAGE),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_wrapped_model_gets_one_clear_sentence(verb: str, tmp_path: Path) -> None:
    model = build("plain")[0]
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 's'}", rank=0, world_size=1)
    try:
        wrapped = {
            "DistributedDataParallel; give model.module": DistributedDataParallel(model),
            "DataParallel; give model.module": DataParallel(model),
            "wrapped by torch.compile; give model._orig_mod": torch.compile(model),
            "TorchScript, whose modules cannot be replaced": torch.jit.trace(model, IMAGE),
            "a dict is not a torch.nn.Module": dict(model.state_dict()),
        }
    finally:
        dist.destroy_process_group()
    for sentence, thing in wrapped.items():
        if verb == "inspect" and "; give model." in sentence:
            continue  # it looks inside: tests/modules/test_wrappers.py
        with pytest.raises(bnc.UnsupportedModelError) as error:
            VERBS[verb](thing)
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_a_scripted_part_is_reported_and_the_rest_converted() -> None:
    model = nn.Sequential(torch.jit.script(Net().eval()), nn.BatchNorm2d(4)).eval()
    planned = bnc.plan(model, bnc.Frozen())
    assert [d.site.path for d in planned.decisions] == ["1"]
    assert "0: TorchScript: norms inside are not found and not converted" in str(planned)
    assert "norms inside are converted" not in str(planned)
    (finding,) = [f for f in bnc.inspect(model).findings if f.id == "BN020"]
    assert (finding.severity, finding.paths) == ("warning", ("0",))
    assert "0: TorchScript: norms inside are not seen" in bnc.fold(model, IMAGE).report.notes


def test_a_model_that_cannot_be_copied_can_be_converted_in_place() -> None:
    class Uncopyable(Net):
        def __deepcopy__(self, memo: dict[int, object]) -> nn.Module:
            raise RuntimeError("holds a socket")

    model = trained(Uncopyable())
    with pytest.raises(bnc.UnsupportedModelError, match=r"holds a socket.*use inplace=True"):
        bnc.convert(model, bnc.Frozen())
    assert bnc.convert(model, bnc.Frozen(), inplace=True) is model


def test_modes_and_devices_survive() -> None:
    model = trained(Net()).train()
    model.get_submodule("norm").eval()
    model.to("meta")
    converted = bnc.convert(model, bnc.Frozen())
    assert converted.training
    assert not converted.get_submodule("norm").training
    assert converted.get_parameter("norm.weight").is_meta


def test_timms_layers_convert_and_come_back() -> None:
    timm = pytest.importorskip("timm")
    model = trained(timm.create_model("mobilenetv3_small_050", pretrained=False))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        converted = bnc.convert(model, bnc.Frozen())
        assert torch.equal(converted(x), expected)
        reverted = bnc.revert(copy.deepcopy(converted))
    assert [type(m) for m in reverted.modules()] == [type(m) for m in model.modules()]
    assert torch.equal(reverted(x), expected)


@pytest.mark.parametrize("converted", [False, True])
def test_inside_of_a_switch_norms_are_not_replaced_under_it(converted: bool) -> None:
    """A switch holds for the norms that it was set on: what replaces one would update."""
    model = nn.Sequential(nn.BatchNorm1d(3))
    if converted:
        model = bnc.convert(model, bnc.Ghost(4))
    for switch in (bnc.update_statistics(model, False), bnc.use_statistics(model, "running")):
        with switch, pytest.raises(bnc.RefusedError, match=r"0: update_stat.*; leave its context"):
            bnc.convert(model, bnc.Renorm(), inplace=True)
    with bnc.update_statistics(model, False):
        copied = bnc.convert(model, bnc.Renorm())
        with pytest.raises(bnc.RefusedError, match="is in force"):
            bnc.revert(model, inplace=True)
    copied.train()(torch.randn(8, 3) + 5)
    assert copied.get_buffer("0.running_mean").all()
