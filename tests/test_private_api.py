"""Private torch API is used in `torch_private/` only; this also lists what may stay elsewhere."""

import pytest

from tests.private_names import private_uses, uses_of_package

#: What any file may use: stable for years, and much used outside torch. Each has a canary.
ALLOWED = {
    "torch.nn.Module._parameters": "there is no public way to replace or remove a parameter",
    "torch.nn.Module._buffers": "the same for buffers",
    "torch.nn.Module._modules": "the same for children",
    "torch.nn.modules.batchnorm._BatchNorm": "how every tool around torch recognizes a batch norm",
    "torch.nn.modules.batchnorm._NormBase": "our norms extend it, to have torch's own state",
    "torch.utils._pytree": "torch.export takes and gives its specs, and has no public name for it",
    "torch.ops.aten": "operators are data; an underscore in the name of one is no privacy",
    "torch.ops.higher_order": "the same for operators on graphs, of which none is documented",
    "collections.namedtuple._replace": "Python documents it",
}


def strangers(source: str) -> list[str]:
    """Return the private names in a source that may not stand outside of torch_private."""
    uses = private_uses(source)
    return [use.name for use in uses if not any(use.is_of(name) for name in ALLOWED)]


def test_private_api_is_used_in_its_room_only() -> None:
    outside = [
        f"bnconvert/{file}:{use.line}: {use.name} is private API of torch; it belongs in "
        "bnconvert/torch_private/"
        for file, use in uses_of_package()
        if not file.startswith("torch_private/") and not any(use.is_of(n) for n in ALLOWED)
    ]
    assert outside == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch._C._current_graph_task_id()", "torch._C._current_graph_task_id"),
        ("import torch._dynamo", "torch._dynamo"),
        ("import torch._dynamo as compiler", "torch._dynamo"),
        ("from torch._ops import OpOverload", "torch._ops.OpOverload"),
        ("def f():\n    from torch import _C", "torch._C"),
        (
            "from torch.nn.modules.instancenorm import _InstanceNorm",
            "torch.nn.modules.instancenorm._InstanceNorm",
        ),
        (
            "from torch.fx.experimental.symbolic_shapes import guard_or_true",
            "torch.fx.experimental.symbolic_shapes.guard_or_true",
        ),
        (
            "from torch import distributed as dist\nregistry = dist.distributed_c10d",
            "torch.distributed.distributed_c10d",
        ),
        ("import sys\nsys.modules.get('torch._dynamo')", "torch._dynamo"),
        ("def f(node): return node.target._schema", "._schema"),
        ("def f(size): return size.node.hint", ".hint"),
        ("def f(module): vars(module)['_forward_hooks'].clear()", "._forward_hooks"),
        ("class Norm:\n    def _load_from_state_dict(self): ...", "._load_from_state_dict"),
        ("class Norm:\n    def f(self): return self._get_name()", "._get_name"),
    ],
)
def test_a_private_name_elsewhere_is_seen(source: str, found: str) -> None:
    assert found in strangers(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.ops.aten._unsafe_view.default",
        "from bnconvert.graphs.aten import aten\naten._unsafe_view.default",
        "from torch.utils import _pytree as pytree\npytree.tree_leaves(1)",
        "def f(module): return module._parameters, module._buffers, module._modules",
        "class Sum:\n    def _add(self): ...\n    def f(self, other): other._add()",
        "class Sum:\n    def __init__(self): self._total = 0\n    def f(self): return self._total",
        "def _apply(): ...\n_apply()",
        "def f(x): return x.__dict__, x.__class__.__name__",
        "'_weight_norm', '_', 'a sentence on torch._C'",
    ],
)
def test_what_may_stay_and_what_is_ours_is_not_taken_for_private(source: str) -> None:
    assert strangers(source) == []
