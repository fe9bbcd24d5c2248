import torch
from torch import nn

from bnconvert.torch_private.module_state import is_own_table, state_without


class Counter(nn.Module):
    """Holds one of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.note = "mine"
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("total", torch.zeros(2))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.inner = nn.ReLU()


def successor_of(module: nn.Module, names: set[str]) -> nn.Module:
    successor = nn.Module.__new__(nn.Module)
    vars(successor).update(state_without(module, names))
    return successor


def test_a_successor_has_the_same_tensors_children_and_attributes() -> None:
    source = Counter().eval()
    successor = successor_of(source, set())
    assert successor.note == "mine"
    assert not successor.training
    assert successor.weight is source.weight
    assert successor.inner is source.inner
    assert list(successor.state_dict()) == ["weight", "total"]  # scratch is still not persistent


def test_what_is_left_out_is_left_out_wherever_it_lies() -> None:
    successor = successor_of(Counter(), {"note", "weight", "scratch", "inner"})
    assert not hasattr(successor, "note")
    assert list(successor.children()) == []
    assert list(successor.state_dict()) == ["total"]
    successor.register_buffer("scratch", torch.zeros(2))
    assert "scratch" in successor.state_dict()


def test_changes_of_a_successor_leave_the_source_alone_but_hooks_are_shared() -> None:
    source = Counter()
    handle = source.register_forward_hook(lambda *_: None)
    successor = successor_of(source, set())
    del successor.weight, successor.inner
    assert isinstance(source.weight, nn.Parameter)
    assert isinstance(source.inner, nn.ReLU)
    assert successor._forward_hooks
    handle.remove()
    assert not successor._forward_hooks


def test_own_tables_are_torchs_and_not_the_authors() -> None:
    assert all(map(is_own_table, ("_modules", "_buffers", "_forward_hooks", "training")))
    assert not any(map(is_own_table, ("_norm_modules", "_my_hooks", "weight")))
