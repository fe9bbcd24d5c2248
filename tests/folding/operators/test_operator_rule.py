from torch import nn

from bnconvert.folding.operators.operator_rule import input_of, sizes_of
from tests.excerpts import Excerpts, model

EXCERPTS = Excerpts({"conv": model(lambda: nn.Conv1d(3, 4, 2), (2, 3, 5))})


def test_the_sizes_of_a_value_are_numbers_or_symbols() -> None:
    (conv,) = EXCERPTS["conv"].graph.output_node().all_input_nodes
    batch, *rest = sizes_of(conv)
    assert not isinstance(batch, int)
    assert rest == [4, 4]
    assert sizes_of(input_of(conv))[1:] == [3, 5]
