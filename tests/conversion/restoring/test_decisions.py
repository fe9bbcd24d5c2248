from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import bnconvert as bnc


def codes(model: nn.Module, layers: dict[str, bool] | None = None) -> dict[str, str]:
    """Return by layer where its norm goes, or the code of its refusal."""
    plan = bnc.plan_restore(model, layers=layers)
    return {d.path: d.place or str(getattr(d.refusal, "code", "")) for d in plan.decisions}


class Uses(nn.Module):
    """A layer of each sort."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(3, 4, 3)
        self.normed, self.norm = nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)
        self.plain = nn.Conv2d(4, 4, 1, bias=False)
        self.twice = nn.Conv2d(4, 4, 1)
        self.idle = nn.Conv2d(4, 4, 1)
        self.before, self.place = nn.Conv2d(4, 4, 1), nn.Identity()
        self.head, self.fc = nn.Conv2d(4, 2, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(self.normed(self.hidden(x).relu()))
        y = self.twice(self.twice(self.plain(y).relu()).relu())
        y = F.silu(self.place(self.before(y)))
        return F.interpolate(self.head(y), scale_factor=2.0).sigmoid(), self.fc(y.mean((2, 3)))


def test_by_default_hidden_convolutions_with_a_bias_and_no_norm_get_one() -> None:
    assert codes(Uses()) == {
        "hidden": "hidden.norm",
        "normed": "has-norm",
        "plain": "no-bias",
        "twice": "called-several-times",
        "idle": "not-called",
        "before": "place",
        "head": "output-layer",
        "fc": "linear",
    }


def test_rules_add_layers_and_leave_others_out_and_cannot_overrule_what_is_impossible() -> None:
    found = codes(Uses(), {"hidden": False, "fc": True, "*": True})
    assert found["hidden"] == "left-out"
    assert (found["fc"], found["head"], found["plain"]) == ("fc.norm", "head.norm", "plain.norm")
    assert (found["twice"], found["idle"]) == ("called-several-times", "not-called")


def test_a_rule_that_gets_no_norm_is_refused_with_all_reasons_and_one_without_layers_too() -> None:
    with pytest.raises(bnc.RefusedError, match="twice: is called 2 times in one forward"):
        bnc.plan_restore(Uses(), layers={"twice": True})
    with pytest.raises(bnc.PolicyError, match=r"'haed\.\*': matches none of 8 layers"):
        bnc.plan_restore(Uses(), layers={"haed.*": False})


def test_nothing_to_restore_is_an_error_that_says_why() -> None:
    with pytest.raises(bnc.RefusedError, match="0: is followed by the norm 1"):
        bnc.restore(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), [torch.randn(4, 3, 8, 8)])


def test_a_layer_in_a_forward_that_cannot_be_traced_waits_to_be_asked_for() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x).relu()
            return y if bool(y.detach().sum() > -1e9) else -y

    net, x = nn.Sequential(Closed(), nn.Conv2d(4, 4, 3), nn.ReLU()).eval(), torch.randn(4, 3, 8, 8)
    assert codes(net) == {"0.conv": "not-traced", "1": "1.norm"}
    again: Any = bnc.restore(net, [x], layers={"0.*": True})
    assert isinstance(again[0].conv.norm, nn.BatchNorm2d)
    torch.testing.assert_close(again(x), net(x))


def test_modules_that_cannot_become_another_class_are_refused() -> None:
    parametrized = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    replaced, named = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    replaced.forward = lambda x: x  # type: ignore[method-assign, assignment]
    named.norm = "l2"  # type: ignore[assignment]
    net = nn.Sequential(parametrized, nn.ReLU(), replaced, nn.ReLU(), named, nn.ReLU())
    expected = {"0": "parametrized", "2": "forward-replaced", "4": "name-taken"}
    assert codes(net) == expected


def test_a_layer_that_a_list_holds_too_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net.layers = [net[0]]  # type: ignore[assignment]
    assert codes(net) == {"0": "held-by-attribute"}


def test_a_layer_at_two_paths_is_one_decision_and_stays_one_module() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3)
            self.b = self.a

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(x).relu()
            return y

    again: Any = bnc.restore(Tied().eval(), [torch.randn(4, 3, 8, 8)])
    assert again.a is again.b
    assert isinstance(again.a.norm, nn.BatchNorm2d)


def test_looking_changes_nothing() -> None:
    net = Uses()
    before = repr(net)
    bnc.plan_restore(net)
    assert repr(net) == before
