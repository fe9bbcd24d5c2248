from torch import Tensor, nn

from bnconvert.graft import graft_of
from bnconvert.graphs.capturing import capture
from bnconvert.graphs.parts import Part
from bnconvert.tracing import survey
from tests.zoo import IMAGE, Net, build, trained


class Unread(Net):
    """Only a loss in training reads the second norm, and one call of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.other = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.other(self.second(self.norm(self.conv(x))))
        return super().forward(x)


def test_the_weights_that_change_and_the_outcome_of_each_norm() -> None:
    model, inputs = build("residual")
    graft = graft_of(Part("", capture(model, inputs)), survey(model).sites)
    assert set(graft.weights) == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}
    assert graft.outcomes == {
        "bn1": ("direct", "into conv1 (conv2d)"),
        "bn2": ("direct", "into conv2 (conv2d)"),
    }


def test_paths_of_a_part_are_those_of_the_model() -> None:
    model, inputs = build("branch_in_root")
    inner = capture(model.net, inputs)
    for node in inner.module.graph.nodes:
        stack = node.meta.get("nn_module_stack", {})
        node.meta["nn_module_stack"] = {
            k: (f"net.{p}".rstrip("."), c) for k, (p, c) in stack.items()
        }
    graft = graft_of(Part("net", inner), survey(model).sites)
    assert set(graft.weights) == {"net.conv.weight", "net.conv.bias"}
    assert graft.outcomes["net.norm"][0] == "direct"


def test_a_call_whose_result_nobody_reads_has_no_say() -> None:
    model = trained(Unread())
    graft = graft_of(Part("", capture(model, IMAGE)), survey(model).sites)
    assert set(graft.weights) == {"conv.weight", "conv.bias"}
    assert graft.outcomes == {
        "norm": ("direct", "into conv (conv2d)"),
        "second": ("", "nothing reads its result"),
    }
