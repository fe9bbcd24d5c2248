import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from tests.zoo import build, trained


def test_all_refusals_come_at_once_and_nothing_has_changed() -> None:
    model = nn.Sequential(nn.BatchNorm2d(6), nn.BatchNorm2d(8), nn.BatchNorm2d(9))
    before = list(model)
    with pytest.raises(bnc.RefusedError) as refused:
        bnc.convert(model, bnc.Group(4), inplace=True)
    assert [r.partition(":")[0] for r in refused.value.refusals] == ["0", "2"]
    assert list(model) == before


def test_the_table_names_every_norm_and_what_it_becomes() -> None:
    model = trained(nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8)))
    text = str(bnc.plan(model, bnc.Policy({"0": bnc.Frozen(), "2": bnc.Group(4)})))
    lines = text.splitlines()
    assert lines[0].split() == ["norm", "class", "channels", "calls", "becomes", "remark"]
    assert lines[1].split()[:5] == ["0", "BatchNorm2d", "6", "1", "Frozen(affine='frozen')"]
    assert lines[2].split()[:5] == ["2", "BatchNorm2d", "8", "1", "Group(groups=4)"]
    assert "2 norms: 1 Frozen(affine='frozen'), 1 Group(groups=4)" in lines


def test_a_remark_that_repeats_becomes_a_footnote() -> None:
    model = nn.Sequential(*(nn.BatchNorm2d(8) for _ in range(5)))
    text = str(bnc.plan(model, bnc.Group(4)))
    assert text.count("CHANGES THE FUNCTION") == 1
    assert text.count("(1)") == 6


def test_a_refused_plan_is_printed_too_with_the_tried_alternatives() -> None:
    model = nn.Sequential(nn.BatchNorm2d(6))
    planned = bnc.plan(model, bnc.Group(4) | bnc.Group(5))
    text = " ".join(str(planned).split())
    assert "REFUSED" in text
    assert "Group(groups=4): 6 channels do not divide into 4 groups" in text
    assert "Group(groups=5): 6 channels do not divide into 5 groups" in text
    assert "convert() would raise RefusedError and change nothing" in text


def test_a_plan_names_the_alternatives_that_were_refused_before_one_was_taken() -> None:
    planned = bnc.plan(nn.Sequential(nn.BatchNorm2d(6)), bnc.Group(4) | bnc.Group(3))
    (decision,) = planned.decisions
    assert decision.rewrite == bnc.Group(3)
    assert [refusal.code for refusal in decision.refusals] == ["channels-not-divisible"]
    assert "Group(groups=4): 6 channels do not divide into 4 groups" in decision.remark
    assert planned.refusals == ()


def codes(model: nn.Module, policy: bnc.Policy | Rewrite) -> list[str]:
    decisions = bnc.plan(model, policy).decisions
    return [refusal.code for decision in decisions for refusal in decision.refusals]


def test_one_situation_has_one_code_whatever_was_asked_for() -> None:
    for rewrite in (bnc.Frozen(), bnc.Adaptive(), bnc.Renorm(), bnc.Separate()):
        assert codes(build("without_statistics")[0], rewrite) == ["no-running-statistics"]
        assert codes(build("own_forward")[0], rewrite) == ["own-forward"]
        assert codes(build("held_in_list")[0], rewrite) == ["held-by-attribute"]


def test_other_situations_have_other_codes() -> None:
    assert codes(nn.BatchNorm2d(6), bnc.Group(4)) == ["channels-not-divisible"]
    assert codes(nn.BatchNorm1d(6), bnc.Group(6)) == ["one-value-per-group"]
    twice = build("norm_called_twice")[0]
    assert codes(twice, bnc.Virtual(torch.ones(2, 3, 8, 8))) == ["called-several-times"]
    closed = bnc.Policy({"closed.*": bnc.Separate(domains="calls")})
    assert codes(build("branch_in_child")[0], closed) == ["calls-unknown"]
    separate = bnc.convert(nn.BatchNorm2d(6), bnc.Separate())
    assert codes(separate, bnc.Frozen()) == ["loses-domains"]
    shared = bnc.Policy({"left.*": bnc.Frozen(), "right.*": bnc.Group(2)})
    assert codes(build("one_norm_two_parents")[0], shared) == ["rules-conflict"]


def test_one_module_at_two_paths_may_not_get_two_rules() -> None:
    model, _ = build("one_norm_two_parents")
    policy = bnc.Policy({"left.*": bnc.Frozen(), "right.*": bnc.Group(2)})
    (refusal,) = bnc.plan(model, policy).refusals
    assert refusal == (
        "left.1: one module at 2 paths: left.1 gets Frozen(affine='frozen'), "
        "right.1 gets Group(groups=2); give all of them one rule"
    )
    same = bnc.Policy({"left.*": bnc.Frozen(), "right.*": bnc.Frozen()})
    assert bnc.plan(model, same).refusals == ()


def test_a_norm_in_a_plain_list_is_refused_with_its_holder() -> None:
    model, _ = build("held_in_list")
    (refusal,) = bnc.plan(model, bnc.Frozen()).refusals
    assert refusal.startswith("norm: is also held by the plain attribute norms, where it cannot")
    assert bnc.plan(model, bnc.Keep()).refusals == ()


def test_what_the_trace_could_not_see_is_said() -> None:
    closed = " ".join(str(bnc.plan(build("branch_in_child")[0], bnc.Frozen())).split())
    assert "closed: could not be traced (TraceError: symbolically traced variables" in closed
    functional = str(bnc.plan(build("functional")[0], bnc.Frozen()))
    assert "No batch normalization found" in functional
    assert "(root): calls F.batch_norm in its forward" in functional
    standardized = str(bnc.plan(build("standardized_conv")[0], bnc.Frozen()))
    assert "F.batch_norm" not in standardized


def test_a_plan_is_a_report_too() -> None:
    report = bnc.plan(build("one_norm_two_names")[0], bnc.Frozen()).report
    (row,) = report.to_dict()["norms"]
    assert (row["path"], row["aliases"], row["calls"]) == ("first", ("second",), 2)
    assert row["outcome"] == "Frozen(affine='frozen')"
