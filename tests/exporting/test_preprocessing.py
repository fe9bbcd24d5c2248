import copy

import pytest
import torch
from torch import fx, nn

import bnconvert as bnc
from bnconvert.exporting.preprocessing import with_preprocess
from tests.zoo import trained

MEAN, STD = (127.0, 120.0, 110.0), (50.0, 60.0, 70.0)


def network(padding: int) -> nn.Module:
    conv = nn.Conv2d(3, 8, 3, padding=padding)
    return trained(nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU())).double()


def normalized(x: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(part).double().reshape(1, 3, 1, 1) for part in (MEAN, STD))
    return (x - mean) / std


@pytest.mark.parametrize(("padding", "left"), [(0, []), (1, ["add"])])
def test_normalization_goes_into_the_first_convolution_with_exact_borders(
    padding: int, left: list[str]
) -> None:
    """Without padding all of it; with padding a subtraction stays, the division goes."""
    model = network(padding)
    images = (torch.rand(2, 3, 9, 9, dtype=torch.double) * 255,)
    folded = bnc.fold(with_preprocess(model, (MEAN, STD)), images)
    expected = model(normalized(images[0]))
    assert (folded.module(*images) - expected).abs().max() < 1e-12
    assert isinstance(folded.module, fx.GraphModule)
    names = [
        str(node.target).split(".")[1]
        for node in folded.module.graph.nodes
        if node.users and node.op == "call_function"
    ]
    assert [name for name in names if name in ("add", "sub", "mul", "div")] == left
    assert folded.report.count("folded") == 1


def test_the_model_itself_stays_and_keyword_inputs_are_normalized_too() -> None:
    model = network(1)
    state = copy.deepcopy(model.state_dict())
    twin = with_preprocess(model, (127.0, 50.0))
    x = torch.rand(2, 3, 9, 9, dtype=torch.double)
    torch.testing.assert_close(twin(input=x), model((x - 127) / 50))
    assert not model._forward_pre_hooks
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_a_deviation_of_zero_is_refused() -> None:
    with pytest.raises(bnc.ExportError, match="the deviations must be finite and not zero"):
        with_preprocess(network(0), (0.0, 0.0))
