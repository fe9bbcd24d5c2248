import pytest
import torch
from torch import fx, nn

import bnconvert as bnc
from bnconvert.modules.folded_module import FoldedModule


def test_a_folded_module_is_for_inference() -> None:
    root = nn.Linear(2, 2)
    module = FoldedModule(root, fx.symbolic_trace(root).graph)
    assert not module.train(False).training
    with pytest.raises(bnc.FoldedTrainingError, match="fine-tune the unfolded model"):
        module.train()
    assert torch.equal(module(torch.ones(1, 2)), root(torch.ones(1, 2)))
