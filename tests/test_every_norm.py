"""What every norm promises beyond the zoo: odd batches, dtypes, copies, compilers, optimizers."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import bnconvert as bnc
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.rewrite import Rewrite
from tests.zoo import Net, laid_out, trained

IMAGES = torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1
CHOICES: tuple[Rewrite, ...] = (
    bnc.Frozen(),
    bnc.Frozen(affine="trainable"),
    bnc.Sync(),
    bnc.Ghost(2),
    bnc.Virtual(IMAGES[:4]),
    bnc.Virtual(IMAGES[:4], per_sample=True),
    bnc.Renorm(),
    bnc.Renorm(2.0, 1.0, warmup_steps=3),
    bnc.Separate(),
    bnc.Separate(each=bnc.Ghost(2), affine="separate"),
    bnc.Separate(each=bnc.Renorm()),
    bnc.Separate("calls"),
    bnc.Adaptive(),
    bnc.Adaptive(4, over="stream"),
    bnc.Group(2),
    bnc.Instance(),
)
every = pytest.mark.parametrize("choice", CHOICES, ids=repr)
TRACKING = [c for c in CHOICES if not isinstance(c, bnc.Frozen | bnc.Group | bnc.Instance)]
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def net(choice: Rewrite, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return bnc.convert(trained(Net()), choice)


def stepped(model: nn.Module, x: Tensor = IMAGES) -> list[Tensor]:
    """Return output, gradients and buffers of one step."""
    y = model(x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(y.square().mean(), parameters, allow_unused=True)
    return [y, *(g for g in gradients if g is not None), *model.buffers()]


def assert_close(first: list[Tensor], second: list[Tensor], tolerance: float = 1e-5) -> None:
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# torch 2.13's compiler looks at .grad of what passes a hook after the forward.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@every
@modes
def test_it_compiles_into_one_graph_that_does_the_same(choice: Rewrite, training: bool) -> None:
    torch._dynamo.reset()
    model = net(choice).train(training)
    twin = copy.deepcopy(model)
    torch.compiler.reset()  # what other tests compiled counts against a limit
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        expected, y = stepped(model), compiled(IMAGES)
        parameters = [p for p in twin.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(y.square().mean(), parameters, allow_unused=True)
        mine = [y, *(g for g in gradients if g is not None), *twin.buffers()]
        assert_close(mine, expected, 1e-4)


@every
def test_it_exports_in_eval(choice: Rewrite) -> None:
    model = net(choice)
    program = torch.export.export(model, (IMAGES,))
    bnc.reset_stream(model)
    y = program.module()(IMAGES)
    bnc.reset_stream(model)  # the program may share the model's buffers
    torch.testing.assert_close(y, model(IMAGES))


@every
@modes
def test_copies_pickles_and_functional_calls_do_the_same(choice: Rewrite, training: bool) -> None:
    model = net(choice).train(training)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    functional = functional_call(copy.deepcopy(model), state, (IMAGES,))
    moved = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for twin in twins:
        y = twin(IMAGES)
        assert torch.equal(functional, y)
        for name, buffer in twin.named_buffers():
            assert torch.equal(buffer, moved[name]), name


@every
@modes
def test_an_empty_batch_goes_through_and_moves_nothing(choice: Rewrite, training: bool) -> None:
    model = net(choice).train(training)
    before = [b.clone() for name, b in model.named_buffers() if "bnconvert" not in name]
    assert model(IMAGES[:0]).shape == (0, 4, 5, 4)
    after = [b for name, b in model.named_buffers() if "bnconvert" not in name]
    assert_close(before, after, 0)


@every
@modes
def test_a_single_image_goes_through(choice: Rewrite, training: bool) -> None:
    assert net(choice).train(training)(IMAGES[:1]).isfinite().all()


@pytest.mark.parametrize("choice", TRACKING, ids=repr)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_overflow_does_not_poison_the_running_statistics(choice: Rewrite, value: float) -> None:
    model = net(choice).train()
    broken = IMAGES.clone()
    broken[1, 2, 3, 1] = value
    before = [
        model.get_buffer("norm.running_mean").clone(),
        model.get_buffer("norm.running_var").clone(),
    ]
    model(broken)
    assert_close(
        [model.get_buffer("norm.running_mean"), model.get_buffer("norm.running_var")], before, 0
    )
    assert model.get_buffer("norm.skipped") == 1
    model(IMAGES)
    assert model.get_buffer("norm.skipped") == 1
    assert model.get_buffer("norm.running_var").isfinite().all()
    assert not torch.equal(model.get_buffer("norm.running_var"), before[1])


@every
@modes
def test_channels_last_stays_channels_last(choice: Rewrite, training: bool) -> None:
    model = net(choice).train(training)
    expected = model(IMAGES)
    model = laid_out(net(choice).train(training), torch.channels_last)
    seen: list[bool] = []
    model.get_submodule("norm").register_forward_hook(
        lambda m, i, y: seen.append(y.is_contiguous(memory_format=torch.channels_last))
    )
    y = model(IMAGES.to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    if not isinstance(choice, bnc.Group | bnc.Instance):
        assert all(seen)


@every
@modes
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_come_back_as_they_went_in(
    choice: Rewrite, training: bool, dtype: torch.dtype
) -> None:
    if isinstance(choice, bnc.Virtual):
        choice = bnc.Virtual(IMAGES[:4].to(dtype), choice.per_sample)
    model = net(choice).to(dtype).train(training)
    y = model(IMAGES.to(dtype))
    assert y.dtype is dtype
    y.float().square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.dtype is dtype and g.isfinite().all() for g in gradients)
    exact = net(_in_float(choice)).train(training)(IMAGES)
    wide = {torch.bfloat16: 0.3, torch.float16: 0.05, torch.float64: 1e-4}[dtype]
    torch.testing.assert_close(y.float(), exact.float(), rtol=wide, atol=wide)


def _in_float(choice: Rewrite) -> Rewrite:
    if isinstance(choice, bnc.Virtual):
        return bnc.Virtual(IMAGES[:4], choice.per_sample)
    return choice


@every
def test_mixed_precision_keeps_the_statistics_in_float32(choice: Rewrite) -> None:
    model = net(choice).train()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(IMAGES)
    assert y.dtype is torch.bfloat16
    y.float().square().mean().backward()
    assert model.get_buffer("norm.running_var").dtype is torch.float32
    assert model.get_buffer("norm.running_var").isfinite().all()


@every
def test_an_optimizer_built_before_still_trains_the_model(choice: Rewrite) -> None:
    torch.manual_seed(0)
    model = trained(Net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parameters = dict(model.named_parameters())
    bnc.convert(model, choice, inplace=True)
    for name, parameter in parameters.items():
        assert model.get_parameter(name) is parameter
    before = parameters["conv.weight"].clone()
    model.train()(IMAGES).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.get_parameter("conv.weight"), before)


@every
def test_what_was_frozen_stays_so_and_hooks_and_attributes_go_along(choice: Rewrite) -> None:
    model = trained(Net())
    model.get_parameter("norm.bias").requires_grad_(False)
    norm: Any = model.norm  # it gets an attribute that its class does not declare
    norm.remark = "mine"
    seen: list[str] = []
    handle = norm.register_forward_hook(lambda *_: seen.append("called"))
    converted = bnc.convert(model, choice, inplace=True)
    assert not converted.get_parameter("norm.bias").requires_grad
    assert vars(converted.norm)["remark"] == "mine"
    converted(IMAGES)
    calls = len(seen)
    assert calls >= 1
    handle.remove()
    converted(IMAGES)
    assert len(seen) == calls


@every
def test_an_inplace_activation_may_follow(choice: Rewrite) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    converted = bnc.convert(model, choice).train()
    converted(IMAGES).sum().backward()
    assert converted.get_parameter("0.weight").grad is not None


@every
def test_no_forward_reads_a_number_on_the_host(choice: Rewrite) -> None:
    """Tensors without data raise where a value is read, which would wait for a GPU."""
    model = copy.deepcopy(net(choice)).to("meta")
    for training in (True, False):
        y = model.train(training)(IMAGES.to("meta"))
        assert y.shape == (6, 4, 5, 4)


@every
def test_its_repr_says_what_it_does(choice: Rewrite) -> None:
    ((_, norm, _),) = norms_in(net(choice))
    settings = norm.extra_repr()
    assert settings != nn.BatchNorm2d(8).extra_repr()
    assert "8, eps=1e-05, momentum=0.1" in settings
    assert settings in repr(norm)
