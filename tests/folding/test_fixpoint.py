from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.fixpoint import fold_graph
from bnconvert.folding.folds import FOLDS
from bnconvert.folding.folds.direct import Direct
from bnconvert.graphs.aten import aten, norm_calls
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Applied, Modules, capture_of
from tests.folding.folds.solo import Solos, seasoned
from tests.torch_release import needs_torch
from tests.zoo import trained

IMAGE = (2, 4, 6, 6)


class Query(nn.Module):
    """A norm of a parameter, which is no activation."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.norm = nn.Parameter(torch.randn(3, 4)), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x @ self.norm(self.query).t()
        return y


def unchanging() -> nn.Module:
    norm = nn.BatchNorm2d(4, eps=0.0)
    return nn.Sequential(nn.ReLU(), norm)


def crowd(m: Modules, x: Tensor) -> list[Tensor]:
    y = m.norm(x)
    return [m.a(y), m.b(y), m.c(y), m.d(y)]


def without_statistics() -> nn.Module:
    norms = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    return norms.append(nn.ReLU())


solo = Solos(
    {
        "stages": seasoned(
            lambda: nn.Sequential(
                nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1), nn.BatchNorm2d(3)
            ),
            IMAGE,
        ),
        "repvgg": seasoned(
            lambda: Applied(
                lambda m, x: F.relu(m.an(m.a(x)) + m.bn(m.b(x)) + m.norm(x)),
                a=nn.Conv2d(4, 4, 3, padding=1),
                an=nn.BatchNorm2d(4),
                b=nn.Conv2d(4, 4, 1),
                bn=nn.BatchNorm2d(4),
                norm=nn.BatchNorm2d(4),
            ),
            IMAGE,
        ),
        "handed_on": seasoned(
            lambda: nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3)), IMAGE
        ),
        "between": seasoned(lambda: nn.Sequential(nn.SiLU(), nn.BatchNorm2d(4), nn.GELU()), IMAGE),
        "pre_activation": seasoned(
            lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
            IMAGE,
            sign=1,
        ),
        "crowd": seasoned(
            lambda: Applied(
                crowd, norm=nn.BatchNorm2d(4), **{name: nn.Conv2d(4, 3, 1) for name in "abcd"}
            ),
            IMAGE,
        ),
        "tied": seasoned(
            lambda: Applied(
                lambda m, x: m.second(m.conv(F.relu(m.first(m.conv(x))))),
                conv=nn.Conv2d(4, 4, 1),
                first=nn.BatchNorm2d(4),
                second=nn.BatchNorm2d(4),
            ),
            IMAGE,
        ),
        "query": seasoned(Query, (2, 4)),
    }
)

decomposed = Solos({"own_statistics": seasoned(without_statistics, IMAGE)})


def test_folds_make_way_for_each_other() -> None:
    done = solo.done("stages", *FOLDS)
    assert done.operators == ["conv2d"]
    assert done.outcomes == ["direct: into 0 (conv2d)", "direct: into 2 (conv2d)"]
    assert solo.done("repvgg", *FOLDS).operators == ["conv2d", "relu"]


def test_a_norm_whose_result_nobody_reads_is_gone() -> None:
    model = Applied(
        lambda m, x: (m.norm(m.conv(x)), m.conv(x))[1],
        conv=nn.Conv2d(4, 3, 1),
        norm=nn.BatchNorm2d(3),
    )
    module = capture_of(trained(model), (torch.randn(IMAGE),)).module
    outcomes = fold_graph(MutableGraph(module), norm_calls(module))
    assert [(f.fold, f.reason) for f in outcomes] == [("unused", "nothing reads its result")]


def test_only_the_given_folds_are_done() -> None:
    assert solo.done("stages").operators == ["conv2d", "batch_norm"] * 2
    done = solo.done("handed_on", Direct())
    assert done.operators == ["batch_norm", "batch_norm", "conv2d"]
    assert [outcome.outcome for outcome in done.calls] == ["standing"] * 2


def test_a_map_that_was_handed_on_is_known_by_its_last_place() -> None:
    assert solo.done("handed_on", *FOLDS).outcomes == ["forward: into 2 (conv2d)"] * 2


def test_a_norm_that_stands_says_what_is_behind_it_and_in_front_of_it() -> None:
    assert solo.done("between", *FOLDS).outcomes == [
        "standing: its input is made by 0 (silu), not by a convolution or a linear layer; "
        "downstream: 2 (gelu) reads it"
    ]


def test_a_reason_that_is_the_same_on_both_sides_is_said_once() -> None:
    assert decomposed.done("own_statistics", *FOLDS).outcomes == [
        "standing: it has no running statistics: it normalizes by the batch's own"
    ]


def test_a_norm_of_which_a_part_is_left_says_which_and_why() -> None:
    assert solo.done("pre_activation", *FOLDS).outcomes == [
        "split: its multiplication is folded, into 2 (conv2d); its addition stands: "
        "its input is made by the model's input inputs_x0_2x4x6x6, not by a convolution or a "
        "linear layer; downstream: an activation (relu): an addition does not pass it"
    ]


def test_many_places_are_counted_and_copies_are_remarked() -> None:
    assert solo.done("crowd", *FOLDS).outcomes == [
        "forward: into a (conv2d), b (conv2d), c (conv2d) and 1 more"
    ]
    assert solo.done("tied", *FOLDS).outcomes == [
        "direct: into conv (conv2d), with a copy of its weight, which conv (conv2d) reads too",
        "direct: into conv (conv2d)",
    ]


def test_a_norm_of_a_constant_is_one_too() -> None:
    done = solo.done("query", *FOLDS)
    assert done.operators == ["linear"]
    assert done.outcomes == ["constants: its input is a constant, and so is its result"]


@needs_torch(2, 13, "batch norm refuses eps=0")
def test_a_norm_that_changes_nothing_goes_nowhere() -> None:
    module = capture_of(unchanging().double().eval(), (torch.randn(IMAGE).double(),)).module
    (outcome,) = fold_graph(MutableGraph(module), norm_calls(module))
    assert (outcome.outcome, outcome.fold, outcome.reason) == (
        "folded",
        "affine",
        "it changes nothing",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_folded_graph_has_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    layers = nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.SiLU(), nn.BatchNorm2d(3), nn.ReLU6()
    model = trained(nn.Sequential(*layers)).to(dtype)
    x = torch.randn(IMAGE).to(dtype)
    module = capture_of(model, (x,)).module
    fold_graph(MutableGraph(module), norm_calls(module))
    assert {tensor.dtype for tensor in module.state_dict().values()} == {dtype}
    assert module(x).dtype is dtype
    assert len(module.state_dict()) == 2 + 4


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda m, y: y * 9.9 + 0.1,
        lambda m, y: 1 - y * 2,
        lambda m, y: (y - m.a) / m.b,
        lambda m, y: y * m.a + m.b,
        lambda m, y: y + y * m.a - m.b,
    ],
)
def test_arithmetic_is_never_written_as_a_batch_norm(arithmetic: Callable[..., Tensor]) -> None:
    """The model had no norm there; quantizers leave one in floating point."""
    constants = {name: nn.Parameter(torch.rand(4, 1, 1) + 1) for name in "ab"}
    model = Applied(lambda m, x: arithmetic(m, torch.sigmoid(x)), **constants)
    module = capture_of(model, (torch.randn(IMAGE),)).module
    fold_graph(MutableGraph(module), [])
    assert not module.graph.find_nodes(op="call_function", target=aten.batch_norm.default)
    x = torch.randn(3, *IMAGE[1:])
    torch.testing.assert_close(module(x), model(x))
