"""Norms in captured graphs (torch.export, PT2E): operators that are called as functions instead.

A forward cannot be paused inside the call of an operator (`torch.ops`): pybind11 aborts the process
where calls of several forwards do not end in the order in which they began. torch.batch_norm takes
the same arguments and has no such frame.
"""

import torch
from torch import fx, nn

from bnconvert.errors import StatisticsError

_OPERATOR = torch.ops.aten.batch_norm.default
_TRAINING = 5  # the position of the flag


def call_functions(replica: nn.Module) -> None:
    """Let the captured graphs of a replica call torch.batch_norm; its graphs are its own.

    Raises:
        StatisticsError: a graph was captured in training mode.
    """
    for path, module in replica.named_modules():
        if not isinstance(module, fx.GraphModule):
            continue
        nodes = [node for node in module.graph.nodes if node.target is _OPERATOR]
        for node in nodes:
            if node.args[_TRAINING]:
                raise StatisticsError(
                    f"{path or '(root)'}: the graph was captured in training mode, in which it "
                    "normalizes by each batch; capture model.eval(), or for PT2E call "
                    "move_exported_model_to_eval(model) first"
                )
            node.target = torch.batch_norm
        if nodes:
            module.recompile()
