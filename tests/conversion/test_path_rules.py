"""A policy for given paths: each path gets its own alternatives, by few rules."""

import bnconvert as bnc
from bnconvert.conversion.path_rules import rules_for

FROZEN, GROUP = (bnc.Frozen(), bnc.Keep()), (bnc.Group(8), bnc.Group(4), bnc.Keep())


def test_one_wish_is_a_bare_rewrite() -> None:
    policy = rules_for({"a": FROZEN, "b.c": FROZEN}, {FROZEN: {bnc.Frozen()}})
    assert policy.is_bare
    assert repr(policy) == "Frozen(affine='frozen')"
    assert repr(rules_for({}, {})) == "Keep()"


def test_the_most_frequent_is_the_last_rule_and_whole_modules_are_named() -> None:
    wishes = {"a.0": FROZEN, "a.1": FROZEN, "a.2": FROZEN, "b.x.0": GROUP, "b.x.1": GROUP}
    policy = rules_for(wishes, {})
    assert [rule.pattern for rule in policy.rules] == ["b.*", "*"]
    for path, tried in wishes.items():
        assert policy.choices_for(path) == tried


def test_a_module_that_holds_others_too_is_not_named_whole() -> None:
    wishes = {"a.0": FROZEN, "a.1": GROUP, "a.2": FROZEN, "[b]": GROUP, "b": FROZEN}
    policy = rules_for(wishes, {})
    assert [rule.pattern for rule in policy.rules] == ["a.1", "[[]b]", "*"]
    for path, tried in wishes.items():
        assert policy.choices_for(path) == tried


def test_alternatives_that_nobody_takes_are_left_out() -> None:
    policy = rules_for({"a": GROUP, "b": FROZEN}, {GROUP: {bnc.Group(4)}, FROZEN: {bnc.Keep()}})
    assert policy.choices_for("a") == (bnc.Group(4),)
    assert policy.choices_for("b") == (bnc.Keep(),)
