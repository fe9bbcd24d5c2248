"""Tools that trace a model take every norm: torch.fx as a whole, torch.jit as its operators."""

import copy

import pytest
import torch
from torch import fx, nn

import bnconvert as bnc
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.rewrite import Rewrite
from tests.test_every_norm import CHOICES, IMAGES, net


def needs_its_root(choice: Rewrite) -> bool:
    return isinstance(choice, bnc.Virtual) or choice == bnc.Separate("calls")


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("choice", [c for c in CHOICES if not needs_its_root(c)], ids=repr)
def test_a_graph_of_fx_calls_each_norm_as_a_whole(choice: Rewrite, training: bool) -> None:
    model = net(choice).train(training)
    twin = copy.deepcopy(model)
    graph = fx.symbolic_trace(twin)
    called = {node.target for node in graph.graph.nodes if node.op == "call_module"}
    assert {path for path, _, _ in norms_in(twin)} <= called
    assert torch.equal(graph(IMAGES), model(IMAGES))
    assert all(map(torch.equal, graph.buffers(), model.buffers()))


@pytest.mark.parametrize("choice", [*filter(needs_its_root, CHOICES)], ids=repr)
def test_in_a_graph_of_fx_a_norm_misses_what_its_model_does_before(choice: Rewrite) -> None:
    graph = fx.symbolic_trace(net(choice))
    with pytest.raises(RuntimeError, match="converted model"):
        graph.train()(IMAGES)


def test_features_of_a_frozen_backbone_are_extracted() -> None:
    pytest.importorskip("torchvision")
    from torchvision.models import resnet18
    from torchvision.models.feature_extraction import create_feature_extractor

    torch.manual_seed(0)
    plain = resnet18().eval()
    frozen = bnc.convert(plain, bnc.Frozen())
    x = torch.randn(2, 3, 64, 64)
    nodes = ["layer2", "layer3.0.bn1"]
    features = create_feature_extractor(frozen, nodes)(x)
    wanted = create_feature_extractor(plain, nodes)(x)
    assert features.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(features[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # the shapes of this trace
@pytest.mark.parametrize("choice", CHOICES, ids=repr)
def test_a_trace_of_jit_does_the_same_in_eval_for_any_batch(choice: Rewrite) -> None:
    model = net(choice).eval()
    traced = torch.jit.trace(copy.deepcopy(model), IMAGES)  # it compares two traces, too
    bnc.reset_stream(model)
    for _ in range(2):
        _same_streams(traced, model)
        torch.testing.assert_close(traced(IMAGES[:4]), model(IMAGES[:4]), rtol=1e-5, atol=1e-5)


def _same_streams(traced: nn.Module, model: nn.Module) -> None:
    """Give a trace, which ran the model, the statistics that the model has."""
    state = dict(model.named_buffers())
    for name, buffer in traced.named_buffers():
        buffer.copy_(state[name])
