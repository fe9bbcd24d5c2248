from pathlib import Path

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
        ("bakcbone.*", "rule 'bakcbone.*': matches none of 3 norms; did you mean 'backbone.*'?"),
        ("backbone", "matches no norm, but a module that holds some; use 'backbone.*'"),
        ("zzzz", "rule 'zzzz': matches none of 3 norms; write paths like 'backbone.0'"),
    ],
)
def test_a_rule_without_a_norm_is_an_error_with_a_hint(pattern: str, hint: str) -> None:
    with pytest.raises(bnc.PolicyError) as error:
        bnc.plan(model(), bnc.Policy({pattern: bnc.Frozen(), "*": bnc.Keep()}))
    assert hint in str(error.value)


def test_a_rule_on_a_model_that_is_itself_the_norm_is_told_how_to_name_it() -> None:
    norm = nn.BatchNorm2d(4)
    with pytest.raises(bnc.PolicyError, match=r"is itself the only norm; write '\*'"):
        bnc.plan(norm, bnc.Policy({"head.*": bnc.Frozen(), "*": bnc.Keep()}))
    assert "1 Frozen" in str(bnc.plan(norm, bnc.Policy({"*": bnc.Frozen()})))


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
    with pytest.raises(bnc.PolicyError, match=r"'frozen' is not a policy; use Keep\(\), Frozen"):
        bnc.convert(model(), "frozen")  # type: ignore[arg-type]
    with pytest.raises(bnc.PolicyError, match="rule 'head': 3 is not a rewrite"):
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
        ("Gruop(3)", r"Gruop is not a rewrite that bnconvert knows; did you mean Group\(\)\?"),
        ("Unheard()", r"Unheard is not a rewrite that bnconvert knows; use Keep\(\)"),
        ("Group(", "is not a rewrite; write it as"),
        ("Group", "is not a rewrite; write it as"),
        ("Group(banana=3)", "banana"),
        ("Group(0)", "groups is 0"),
        ("Group(__import__('os').getpid())", "Group"),
        ("__import__('os')", "is not a rewrite that bnconvert knows"),
    ],
)
def test_text_that_is_no_rewrite_is_refused_and_never_run(text: str, hint: str) -> None:
    with pytest.raises(bnc.PolicyError, match=hint):
        Policy.parse([text])


SHADOWED = {
    "everything first": (
        {"*": bnc.Frozen(), "head.*": bnc.Keep()},
        "'head.*'",
        "move it before '\\*'",
    ),
    "a wider glob": (
        {"backbone.*": bnc.Frozen(), "backbone.0": bnc.Keep()},
        "'backbone.0'",
        "move it before 'backbone",
    ),
    "the same norms": ({"*": bnc.Frozen(), "?*": bnc.Keep()}, r"'\?\*'", "move it before"),
    "the same twice": ({"?*": bnc.Frozen(), "**": bnc.Keep()}, r"'\*\*'", "remove it"),
    "several together": (
        {"*.0": bnc.Frozen(), "*.1": bnc.Keep(), "backbone.*": bnc.Ghost()},
        r"'backbone\.\*'",
        "remove it",
    ),
}


@pytest.mark.parametrize(("rules", "rule", "remedy"), SHADOWED.values(), ids=SHADOWED)
def test_a_rule_that_no_norm_gets_is_an_error_whose_advice_works(
    rules: dict[str, Rewrite], rule: str, remedy: str
) -> None:
    with pytest.raises(bnc.PolicyError, match=f"rule {rule}: every norm .* {remedy}") as error:
        bnc.plan(model(), bnc.Policy(rules))
    (pattern,) = (name for name in rules if f"rule {name!r}" in str(error.value))
    others = {name: rewrite for name, rewrite in rules.items() if name != pattern}
    moved = {pattern: rules[pattern], **others} if remedy.startswith("move") else others
    bnc.plan(model(), bnc.Policy(moved))


def test_a_last_rule_for_all_other_norms_may_find_none() -> None:
    rules = {"backbone.*": bnc.Frozen(), "head.*": bnc.Group(2), "*": bnc.Keep()}
    assert "kept" not in outcomes(bnc.Policy(rules)).values()


def test_a_rule_that_is_given_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('"head" = {norm = "keep"}')
    for texts in (
        ["head=Keep()", "head=Frozen()"],
        ["Keep()", "Frozen()"],
        ["head=Keep()", str(file)],
    ):
        with pytest.raises(bnc.PolicyError, match=r"rule '.*': is given twice; remove one of them"):
            bnc.Policy.parse(texts)
        bnc.Policy.parse(texts[:1])


def test_an_alternative_that_can_never_be_reached_is_an_error() -> None:
    with pytest.raises(bnc.PolicyError, match=r"after Keep\(\), which is never refused; put Keep"):
        bnc.Policy({"*": bnc.Keep() | bnc.Group(8)})
    bnc.Policy({"*": bnc.Group(8) | bnc.Keep()})
