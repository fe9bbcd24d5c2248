import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.statistics.captured_norms import call_functions
from tests.zoo import Net, trained

X = torch.randn(4, 3, 8, 8)
SIZES = ({0: torch.export.Dim("batch", min=2)},)


def captured(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (X,), dynamic_shapes=SIZES).module()


@pytest.mark.parametrize("method", ["layerwise", "aggregate"])
def test_a_captured_graph_has_the_statistics_of_the_model_that_it_was_captured_from(
    method: str,
) -> None:
    eager = trained(Net()).eval()
    graph = captured(eager)
    code = graph.code
    batches = [X, X[:2] * 2 + 1, X[1:]]
    for model in (eager, graph):
        bnc.recompute_statistics(model, batches, method=method)  # type: ignore[arg-type]
    for name, tensor in eager.state_dict().items():
        assert torch.allclose(graph.state_dict()[name], tensor, atol=1e-5), name
    assert graph.code == code  # only replicas call the function


def test_the_function_computes_what_the_operator_computed() -> None:
    graph = captured(trained(Net()).eval())
    with torch.no_grad():
        before = graph(X)
        call_functions(nn.ModuleDict({"inner": graph}))
        assert "aten.batch_norm" not in str(graph.code)
        assert torch.equal(graph(X), before)


def test_a_graph_in_training_mode_is_refused() -> None:
    with pytest.raises(bnc.StatisticsError, match=r"^\(root\): the graph was captured in training"):
        call_functions(captured(trained(Net()).train()))
