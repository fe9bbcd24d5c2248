import pytest
from torch import nn

import bnconvert as bnc
from bnconvert.conversion.policy import Policy
from bnconvert.modules.rewrite import Alternatives, Rewrite
from tests.zoo import build


def model() -> nn.Module:
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(8)),
            "head": nn.Sequential(nn.BatchNorm2d(6)),
        }
    )


def outcomes(policy: Policy | Rewrite | Alternatives) -> dict[str, str]:
    return {d.site.path: d.outcome for d in bnc.plan(model(), policy).decisions}


def test_the_first_matching_rule_wins_and_the_rest_is_kept() -> None:
    assert outcomes(bnc.Policy({"backbone.0": bnc.Group(2), "backbone.*": bnc.Frozen()})) == {
        "backbone.0": "Group(groups=2)",
        "backbone.1": "Frozen(affine='frozen')",
        "head.0": "kept",
    }


def test_a_bare_rewrite_means_every_norm() -> None:
    assert set(outcomes(bnc.Group(2)).values()) == {"Group(groups=2)"}
    assert set(outcomes(bnc.Group(4) | bnc.Keep()).values()) == {"Group(groups=4)", "kept"}


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("bakcbone.*", "rule 'bakcbone.*': matches none of 3 norms; did you mean 'backbone'?"),
        ("backbone", "matches no norm, only a module around some; use 'backbone.*'"),
        ("zzzz", "rule 'zzzz': matches none of 3 norms; write paths like 'backbone.0'"),
    ],
)
def test_a_rule_without_a_norm_is_an_error_with_a_hint(pattern: str, hint: str) -> None:
    with pytest.raises(bnc.PolicyError) as error:
        bnc.plan(model(), bnc.Policy({pattern: bnc.Frozen(), "*": bnc.Keep()}))
    assert hint in str(error.value)


def test_every_rule_without_a_norm_is_listed() -> None:
    with pytest.raises(bnc.PolicyError) as error:
        bnc.plan(model(), bnc.Policy({"x.*": bnc.Keep(), "y.*": bnc.Keep()}))
    assert str(error.value).count("rule '") == 2


def test_a_rule_on_a_model_without_norms_is_an_error_and_a_bare_rewrite_is_not() -> None:
    empty, _ = build("no_norm")
    with pytest.raises(bnc.PolicyError, match="the model has no batch norm; remove the rule"):
        bnc.convert(empty, bnc.Policy({"*": bnc.Frozen()}))
    assert bnc.plan(empty, bnc.Frozen()).decisions == ()


def test_a_rule_may_name_any_alias() -> None:
    shared, _ = build("one_norm_two_names")
    (decision,) = bnc.plan(shared, bnc.Policy({"*": bnc.Frozen()})).decisions
    assert decision.outcome == "Frozen(affine='frozen')"


def test_what_is_no_rewrite_is_refused_in_words() -> None:
    with pytest.raises(bnc.PolicyError, match="Frozen is a class; use Frozen"):
        bnc.convert(model(), bnc.Frozen)  # type: ignore[arg-type]
    with pytest.raises(bnc.PolicyError, match=r"'frozen' is no policy; use Keep\(\), Frozen"):
        bnc.convert(model(), "frozen")  # type: ignore[arg-type]
    with pytest.raises(bnc.PolicyError, match="rule 'head': 3 is no rewrite"):
        bnc.Policy({"head": 3})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "policy",
    [
        bnc.Policy({"a.*": bnc.Frozen(affine="trainable"), "*": bnc.Group(8) | bnc.Keep()}),
        bnc.Policy({"head": bnc.Group(3)}),
    ],
)
def test_a_policy_can_be_written_parsed_and_printed(policy: Policy) -> None:
    texts = [f"{r.pattern}={' | '.join(map(repr, r.choices))}" for r in policy.rules]
    parsed = Policy.parse(texts)
    assert parsed.rules == policy.rules
    assert eval(repr(parsed), {n: getattr(bnc, n) for n in dir(bnc)}).rules == policy.rules


def test_a_rewrite_alone_is_parsed_for_every_norm() -> None:
    assert Policy.parse(['Frozen(affine="trainable")']).is_bare
    assert repr(Policy.parse(["Group(8) | Keep()"])) == "Group(groups=8) | Keep()"
    assert not Policy.parse(["*=Keep()"]).is_bare


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Gruop(3)", r"Gruop is no known rewrite; did you mean Group\(\)\?"),
        ("Nonsense()", r"Nonsense is no known rewrite; use Keep\(\)"),
        ("Group(", "is no rewrite; write it as"),
        ("Group", "is no rewrite; write it as"),
        ("Group(banana=3)", "banana"),
        ("Group(0)", "groups is 0"),
        ("Group(__import__('os').getpid())", "Group"),
        ("__import__('os')", "is no known rewrite"),
    ],
)
def test_text_that_is_no_rewrite_is_refused_and_never_run(text: str, hint: str) -> None:
    with pytest.raises(bnc.PolicyError, match=hint):
        Policy.parse([text])
