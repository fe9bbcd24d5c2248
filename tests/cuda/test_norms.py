"""A converted norm on a CUDA device: the numbers, the dtypes, no waiting, graphs, compilers."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from tests.cuda.models import (
    IMAGES,
    Deep,
    assert_close,
    needs_cuda,
    on_cuda,
    stepped,
    tensors_of,
)
from tests.zoo import Net, trained

pytestmark = needs_cuda


NORMS = (
    bnc.Keep(),
    bnc.Frozen(),
    bnc.Frozen(affine="trainable"),
    bnc.Ghost(4),
    bnc.Virtual(IMAGES[:6]),
    bnc.Virtual(IMAGES[:6], per_sample=True),
    bnc.Renorm(2.0, 1.0, warmup_steps=3),
    bnc.Separate(each=bnc.Ghost(4), affine="separate"),
    bnc.Separate("calls"),
    bnc.Adaptive(),
    bnc.Adaptive(4, over="stream"),
    bnc.Group(2),
    bnc.Instance(),
)
#: torch's own group norm gives float32 under autocast.
BATCH_NORMS = [choice for choice in NORMS if not isinstance(choice, bnc.Group | bnc.Instance)]
every = pytest.mark.parametrize("choice", NORMS, ids=repr)


@every
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_norm_steps_as_on_the_cpu(choice: Rewrite, training: bool, dtype: torch.dtype) -> None:
    model = bnc.convert(trained(Net()), choice).to(dtype).train(training)
    twin, x = on_cuda(model), IMAGES.to(dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for _ in range(3):
        assert_close(stepped(twin, x.cuda()), stepped(model, x), tolerance)


@every
def test_a_model_is_converted_where_it_lies(choice: Rewrite) -> None:
    model = trained(Net())
    twin = bnc.convert(on_cuda(model), choice).train()
    assert {t.device.type for t in tensors_of(twin)} == {"cuda"}
    converted = bnc.convert(model, choice).train()
    assert_close(stepped(twin, IMAGES.cuda()), stepped(converted, IMAGES), 1e-4)


@pytest.mark.parametrize("choice", BATCH_NORMS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_under_autocast_the_dtypes_are_those_of_torchs_own_norm(
    choice: Rewrite, dtype: torch.dtype
) -> None:
    plain = on_cuda(trained(Net())).train()
    model = bnc.convert(plain, choice).train()
    seen: list[torch.dtype] = []
    for net in (plain, model):
        net.norm.register_forward_hook(lambda m, i, y: seen.append(y.dtype))  # type: ignore[union-attr]
    with torch.autocast("cuda", dtype):
        for net in (plain, model):
            net(IMAGES.cuda()).float().square().mean().backward()
    assert seen[0] == seen[-1]
    assert {b.dtype for b in model.buffers()} <= {torch.float32, torch.int64, torch.bool}
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@every
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_step_never_waits_for_the_device(choice: Rewrite, training: bool) -> None:
    model = bnc.convert(on_cuda(trained(Net())), choice).train(training)
    x = IMAGES.cuda()
    model(x).square().mean().backward()
    torch.cuda.synchronize()
    with warnings.catch_warnings(), torch.no_grad() if not training else nullcontext():
        warnings.simplefilter("ignore")  # torch says that the mode may miss some
        torch.cuda.set_sync_debug_mode("error")
        try:
            y = model(x)
            if training:
                y.square().mean().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@every
def test_a_step_replays_as_a_cuda_graph(choice: Rewrite) -> None:
    model = bnc.convert(on_cuda(trained(Net())), choice).train()
    twin, x = copy.deepcopy(model), IMAGES.cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            model(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        y = model(x)
    graph.replay()
    with torch.no_grad():
        for _ in range(4):
            expected = twin(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    assert_close(list(model.buffers()), list(twin.buffers()), 1e-4)


@every
def test_channels_last_stays(choice: Rewrite) -> None:
    model = bnc.convert(on_cuda(trained(Net())), choice).train()
    x = IMAGES.cuda()
    expected = stepped(copy.deepcopy(model), x)
    model.to(memory_format=torch.channels_last)
    assert_close(stepped(model, x.contiguous(memory_format=torch.channels_last)), expected, 1e-4)


@pytest.fixture
def nccl(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "nccl", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("nccl")
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_sync_steps_as_torchs_own_over_nccl(training: bool) -> None:
    plain = trained(Deep())
    ours = on_cuda(bnc.convert(plain, bnc.Sync())).train(training)
    theirs = on_cuda(nn.SyncBatchNorm.convert_sync_batchnorm(plain)).train(training)
    assert any(type(m) is not nn.SyncBatchNorm for m in ours.modules())
    count = 1 + len(list(theirs.parameters()))
    for _ in range(2):
        mine, its = stepped(ours, IMAGES.cuda()), stepped(theirs, IMAGES.cuda())
        assert_close(mine[:count], its[:count], 1e-4)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-4, atol=1e-4)


@every
def test_a_compiled_step_is_the_eager_one(choice: Rewrite) -> None:
    torch.compiler.reset()
    model = bnc.convert(on_cuda(trained(Net())), choice).train()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own
        for _ in range(3):
            expected = stepped(model, IMAGES.cuda())
            y = compiled(IMAGES.cuda())
            y.square().mean().backward()
            torch.testing.assert_close(y.cpu(), expected[0], rtol=1e-3, atol=1e-3)
    assert_close(list(twin.buffers()), list(model.buffers()), 1e-3)
