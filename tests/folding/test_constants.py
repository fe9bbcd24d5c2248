import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from bnconvert.folding.constants import compute_constants
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Applied, Excerpts, Sketch, capture_of, function, model

ROWS, IMAGE = (2, 4), (2, 4, 5, 5)


def linear(weight: object, **parameters: Tensor) -> Sketch:
    """Sketch a linear layer whose weight is a function of parameters."""
    return model(
        lambda: Applied(
            lambda m, x: F.linear(x, weight(m)),  # type: ignore[operator]
            **{name: nn.Parameter(tensor) for name, tensor in parameters.items()},
        ),
        ROWS,
    )


SQUARE = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
COMPUTED = {
    "standardized": linear(
        lambda m: (m.w - m.w.mean(1, True)) / (m.w * m.w).mean(1, True), w=SQUARE
    ),
    "masked": linear(lambda m: m.w * (m.mask > 0), w=SQUARE, mask=SQUARE.t()),
    "stacked": linear(lambda m: torch.stack([m.a, m.b]), a=SQUARE[0], b=SQUARE[1]),
    "scaled": linear(lambda m: m.w * m.s, w=SQUARE, s=SQUARE[0, :1]),
    "part": linear(lambda m: m.w.split(2)[1], w=SQUARE),
    "low_rank": linear(lambda m: m.a @ m.b, a=SQUARE[:, :3], b=SQUARE[:3]),
    "weight_norm": model(lambda: parametrizations.weight_norm(nn.Linear(4, 3)), ROWS),
    "spectral_norm": model(lambda: parametrizations.spectral_norm(nn.Conv2d(4, 3, 3)), IMAGE),
}
EXCERPTS = Excerpts(
    {
        **COMPUTED,
        "growing": linear(lambda m: m.a[:, None] * m.b, a=SQUARE[0], b=SQUARE[1]),
        "random": linear(lambda m: m.w + torch.rand_like(m.w), w=SQUARE),
        "stored": model(lambda: nn.Linear(4, 3), ROWS),
        "input": function(lambda x: x.mean(0) * 2, ROWS),
        "read_twice": model(
            lambda: Applied(
                lambda m, x: F.linear(x, m.w.exp()) @ m.w.exp(), w=nn.Parameter(SQUARE)
            ),
            ROWS,
        ),
    }
)


def computed(name: str) -> tuple[MutableGraph, int]:
    """Compute an excerpt's constants; check that nothing else has changed."""
    module = EXCERPTS[name]
    x = torch.randn(EXCERPTS.sketches[name].shapes[0]).double()
    with torch.no_grad():
        before = module(x)
        graph = MutableGraph(module)
        count = compute_constants(graph)
        graph.commit()
        if name != "random":
            torch.testing.assert_close(module(x), before, rtol=1e-12, atol=1e-12)
    return graph, count


def operators(graph: MutableGraph) -> list[str]:
    nodes = [node for node in graph.fx_graph.nodes if node.op == "call_function"]
    return [str(node.target).removeprefix("aten.").partition(".")[0] for node in nodes]


@pytest.mark.parametrize("name", COMPUTED)
def test_a_weight_that_is_computed_from_parameters_alone_becomes_one(name: str) -> None:
    graph, count = computed(name)
    assert count == 1
    assert operators(graph) == ["conv2d" if name == "spectral_norm" else "linear"]


def test_it_is_named_as_the_weight_that_it_is() -> None:
    graph, _ = computed("weight_norm")
    assert set(graph.module.state_dict()) == {"weight", "bias"}


def test_a_result_that_is_larger_than_what_it_is_made_of_stays_an_expression() -> None:
    graph, count = computed("growing")
    assert count == 0
    assert "linear" in operators(graph)
    assert len(operators(graph)) > 1


def test_random_numbers_are_no_constants() -> None:
    graph, count = computed("random")
    assert count == 0
    assert len(operators(graph)) == 3


@pytest.mark.parametrize("name", ["stored", "input"])
def test_what_is_stored_or_comes_from_an_input_is_left_alone(name: str) -> None:
    before = operators(MutableGraph(EXCERPTS[name]))
    graph, count = computed(name)
    assert count == 0
    assert operators(graph) == before


def test_each_expression_is_computed_wherever_it_is_read() -> None:
    graph, count = computed("read_twice")
    assert count == 2
    assert operators(graph) == ["linear", "matmul"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_constants_are_rounded_once(dtype: torch.dtype) -> None:
    layer = Applied(
        lambda m, x: F.linear(x, m.w * m.s / m.t),
        **{name: nn.Parameter(torch.rand(4, 4) + 0.1) for name in ("w", "s", "t")},
    )
    layer = layer.to(dtype)
    w, s, t = (getattr(layer, name).detach().double() for name in ("w", "s", "t"))
    module = capture_of(layer.eval(), (torch.ones(ROWS).to(dtype),)).module
    graph = MutableGraph(module)
    assert compute_constants(graph) == 1
    graph.commit()
    (weight,) = module.parameters()
    assert torch.equal(weight, (w * s / t).to(dtype))


def test_a_check_of_a_constant_goes_with_it() -> None:
    layer = Applied(lambda m, x: F.linear(x, (m.w * 2).to(torch.float32)), w=nn.Parameter(SQUARE))
    graph = MutableGraph(capture_of(layer.eval(), (torch.ones(ROWS),)).module)
    assert compute_constants(graph) == 1
    graph.commit()
    assert operators(graph) == ["linear"]
