import pytest
from torch import nn

from bnconvert.conversion.restoring.restore_plan import RestoreDecision, RestorePlan, child_path
from bnconvert.errors import Refusal, RefusedError, UnsupportedModelError

LAYER = nn.Conv2d(3, 8, 1)
RESTORED = RestoreDecision("a", ("b",), LAYER, 1, "a.norm")
PLACED = RestoreDecision("c", (), LAYER, None, "bn")
LEFT = RestoreDecision("d", (), LAYER, 2, None, Refusal("x", "is called 2 times", "call it once"))


def test_a_norm_is_a_child_of_its_layer_where_nothing_marks_a_place() -> None:
    assert (child_path("a.b"), child_path("")) == ("a.b.norm", "norm")
    assert RESTORED.is_child
    assert not PLACED.is_child
    assert RESTORED.paths == ("a", "b")


def test_it_says_for_each_layer_where_its_norm_goes_or_why_it_gets_none() -> None:
    plan = RestorePlan(LAYER, (RESTORED, PLACED, LEFT))
    assert plan.restored == (RESTORED, PLACED)
    assert plan.refusals == ("d: is called 2 times; call it once",)
    lines = str(plan).splitlines()
    assert lines[0].split() == ["layer", "class", "channels", "calls", "norm", "remark"]
    assert lines[1].split() == ["a", "=", "b", "Conv2d", "8", "1", "a.norm"]
    assert lines[2].split() == ["c", "Conv2d", "8", "?", "bn"]
    assert lines[3].split()[:4] == ["d", "Conv2d", "8", "2"]
    assert lines[-1] == "2 of 3 layers get norms"
    plan.require_any()


def test_a_plan_without_a_norm_is_refused_with_the_reasons() -> None:
    with pytest.raises(RefusedError, match="d: is called 2 times; call it once"):
        RestorePlan(LAYER, (LEFT,)).require_any()
    with pytest.raises(UnsupportedModelError, match="no convolution and no linear layer"):
        RestorePlan(nn.ReLU(), ()).require_any()
    assert str(RestorePlan(LAYER, (RESTORED,))).endswith("1 of 1 layers gets a norm")
