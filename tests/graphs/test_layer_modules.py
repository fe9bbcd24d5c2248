import torch
from torch import Tensor, nn
from torch.export import Dim, export

import bnconvert as bnc
from bnconvert.graphs.layer_modules import has_layer_operators, layers_as_modules


class Layers(nn.Module):
    """One of each sort of layer, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, dilation=2, groups=1)
        self.depthwise = nn.Conv2d(8, 16, 3, padding="same", groups=8, bias=False)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1, output_padding=1, groups=2)
        self.twice = nn.Conv2d(8, 8, 1)
        self.line = nn.Conv1d(8, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.depthwise(self.conv(x)).relu()).relu()
        y = self.twice(self.twice(y).relu())
        z: Tensor = self.head(self.line(y.flatten(2)).mean(2))
        return z


def test_every_layer_is_a_module_with_the_same_settings_at_the_path_of_its_weights() -> None:
    torch.manual_seed(0)
    model, x = Layers().eval(), torch.randn(2, 3, 9, 9)
    graph = export(model, (x,), dynamic_shapes=({0: Dim.DYNAMIC},)).module()
    assert has_layer_operators(graph)
    made = layers_as_modules(export(model, (x,), dynamic_shapes=({0: Dim.DYNAMIC},)))
    assert not has_layer_operators(made)
    for path, layer in model.named_children():
        assert repr(made.get_submodule(path)) == repr(layer)
    assert {*made.state_dict()} == {*model.state_dict()}
    with torch.no_grad():
        torch.testing.assert_close(made(x), model(x))


def test_the_copy_of_a_folded_graph_can_train_and_shares_no_memory_with_it() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    x = torch.randn(2, 3, 6, 6)
    folded = bnc.fold(net.eval(), (x,)).module
    before = {name: tensor.clone() for name, tensor in folded.state_dict().items()}
    assert isinstance(folded, torch.fx.GraphModule)
    made = layers_as_modules(folded).train()
    made(x).sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in folded.state_dict().items())


def test_weights_under_other_names_get_a_module_of_their_own() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
            self.offset = nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.kernel, self.offset).relu()

    model, x = Functional(), torch.randn(2, 3, 6, 6)
    made = layers_as_modules(export(model, (x,)))
    (layer,) = [module for module in made.modules() if isinstance(module, nn.Conv2d)]
    assert torch.equal(layer.weight, model.kernel)
    torch.testing.assert_close(made(x), model(x))
