from torch import Tensor, nn

from bnconvert.errors import Refusal
from bnconvert.folding.graft_plan import GraftOutcome, plan_graft
from bnconvert.graphs.capture.parts import Part
from bnconvert.modules.survey import survey
from tests.excerpts import capture_of
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
    graft = plan_graft(Part("", capture_of(model, inputs)), survey(model).sites)
    assert set(graft.weights) == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}
    assert graft.outcomes == {
        "bn1": GraftOutcome(1, "direct", "into conv1 (conv2d)"),
        "bn2": GraftOutcome(1, "direct", "into conv2 (conv2d)"),
    }


def test_paths_of_a_part_are_those_of_the_model() -> None:
    model, inputs = build("branch_in_root")
    inner = capture_of(model.get_submodule("net"), inputs)
    for node in inner.module.graph.nodes:
        stack = node.meta.get("nn_module_stack", {})
        node.meta["nn_module_stack"] = {
            k: (f"net.{p}".rstrip("."), c) for k, (p, c) in stack.items()
        }
    graft = plan_graft(Part("net", inner), survey(model).sites)
    assert set(graft.weights) == {"net.conv.weight", "net.conv.bias"}
    assert graft.outcomes["net.norm"].fold == "direct"


def test_a_call_whose_result_nobody_reads_has_no_say() -> None:
    model = trained(Unread())
    graft = plan_graft(Part("", capture_of(model, IMAGE)), survey(model).sites)
    assert set(graft.weights) == {"conv.weight", "conv.bias"}
    assert graft.outcomes == {
        "norm": GraftOutcome(2, "direct", "into conv (conv2d)"),
        "second": GraftOutcome(1, refusal=Refusal("unused", "nothing reads its result")),
    }
