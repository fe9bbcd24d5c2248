"""`suggest`: legal for every model, agrees with the table of the norms, and says why."""

import itertools
import json
from typing import Any

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.conversion.choices import CHOICES, markdown_table
from bnconvert.conversion.situation import TASKS
from tests.document import ROOT
from tests.zoo import ZOO, Net, ZooModel, build, trained

SITUATIONS: tuple[dict[str, Any], ...] = (
    {"batch_size": 1},
    {"batch_size": 2048},
    {"batch_size": 8, "pretrained": False},
    {"batch_size": 2048, "pretrained": False},
    {"batch_size": 2, "task": "detection"},
    {"batch_size": 64, "task": "video", "pretrained": False},
    {"batch_size": 64, "task": "reinforcement-learning", "pretrained": False},
    {"batch_size": 64, "task": "gan"},
    {"batch_size": 4, "world_size": 8, "pretrained": False},
    {"batch_size": 4, "domains": 2},
    {"batch_size": 4, "world_size": 8, "domains": ("day", "night")},
)


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_what_is_suggested_is_legal_and_agrees_with_the_table(zoo: ZooModel) -> None:
    model, _ = build(zoo.name)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for situation in SITUATIONS:
        suggestion = bnc.suggest(model, **situation)
        assert suggestion.plan.refusals == (), situation
        texts = " ".join(reason.text for reason in suggestion.reasons)
        used = " ".join(choice.use for choice in CHOICES if f"{choice.case}: " in texts)
        for decision in suggestion.plan.decisions:
            assert decision.rewrite is not None
            name = type(decision.rewrite).__name__
            assert f"{name}(" in used or (name == "Keep" and "kept: " in texts), situation
        assert all(reason.text and reason.source for reason in suggestion.reasons)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


@pytest.mark.parametrize("situation", SITUATIONS[::4], ids=str)
def test_the_policy_is_what_the_plan_says(situation: dict[str, Any]) -> None:
    for name in ("residual", "branch_in_child", "functional", "frozen_elsewhere"):
        model, _ = build(name)
        suggestion = bnc.suggest(model, **situation)
        again = bnc.plan(model, suggestion.policy)
        assert again.refusals == ()
        assert str(again) == str(suggestion.plan)
        bnc.convert(model, suggestion.policy)


@pytest.mark.parametrize(
    ("situation", "policy"),
    [
        ({"batch_size": 16}, "Keep()"),
        ({"batch_size": 15}, "Frozen(affine='frozen')"),
        ({"batch_size": 15, "world_size": 8}, "Frozen(affine='frozen')"),
        ({"batch_size": 2, "pretrained": False}, "Group(groups=4)"),
        ({"batch_size": 2, "world_size": 7, "pretrained": False}, "Group(groups=4)"),
        ({"batch_size": 2, "world_size": 8, "pretrained": False}, "Sync(process_group=None)"),
        ({"batch_size": 1024, "pretrained": False}, "Ghost(size=32)"),
        ({"batch_size": 1024}, "Keep()"),
        ({"batch_size": 64, "task": "video"}, "Frozen(affine='frozen')"),
        ({"batch_size": 64, "task": "video", "pretrained": False}, "Group(groups=4)"),
        ({"batch_size": 64, "task": "gan", "pretrained": False}, "Keep()"),
        ({"batch_size": 4, "task": "gan", "pretrained": False}, "Group(groups=4)"),
        (
            {"batch_size": 64, "task": "reinforcement-learning", "pretrained": False},
            "Renorm(r_max=3.0, d_max=5.0, warmup_steps=0)",
        ),
        (
            {"batch_size": 64, "domains": ("day", "night")},
            "Separate(domains=('day', 'night'), affine='shared', each=Keep())",
        ),
    ],
    ids=str,
)
def test_a_situation_has_its_norm(situation: dict[str, Any], policy: str) -> None:
    assert repr(bnc.suggest(build("plain")[0], **situation).policy) == policy


def test_groups_are_those_that_all_norms_need_and_none_has_a_single_channel() -> None:
    model = nn.Sequential(nn.BatchNorm2d(64), nn.BatchNorm2d(24), nn.BatchNorm2d(16))
    suggestion = bnc.suggest(model, batch_size=2, pretrained=False)
    assert suggestion.policy.rules[0].choices == (bnc.Group(32), bnc.Group(8))
    with_32 = nn.Sequential(nn.BatchNorm2d(64), nn.BatchNorm2d(32))
    assert bnc.suggest(with_32, batch_size=2, pretrained=False).policy.rules[0].choices == (
        bnc.Group(16),
    )
    others = nn.Sequential(trained(nn.BatchNorm2d(32)), nn.BatchNorm2d(64))  # the first is frozen
    assert bnc.suggest(others, batch_size=2).policy.choices_for("1") == (bnc.Group(32),)


def test_a_new_head_is_not_frozen_and_the_policy_names_it() -> None:
    model = nn.ModuleDict({"backbone": trained(Net()), "head": Net()})
    suggestion = bnc.suggest(model, batch_size=2, task="detection")
    assert repr(suggestion.policy) == (
        "Policy({'head.*': Group(groups=4), '*': Frozen(affine='frozen')})"
    )
    assert "head.norm: has mean 0 and variance 1, of no training" in str(suggestion)


def test_norms_that_see_all_devices_see_a_larger_batch() -> None:
    model = trained(Net(nn.SyncBatchNorm))
    assert repr(bnc.suggest(model, batch_size=4, world_size=4).policy) == "Keep()"
    assert repr(bnc.suggest(model, batch_size=2, world_size=4).policy).startswith("Frozen")
    domains = bnc.suggest(model, batch_size=4, world_size=4, domains=2)
    assert "each=Sync(process_group=None)" in repr(domains.policy)


def test_what_stays_says_why() -> None:
    own = bnc.suggest(build("own_forward")[0], batch_size=2)
    assert "norm: kept: ScaledBatchNorm2d has a forward of its own" in str(own)
    fixed = bnc.suggest(build("frozen_elsewhere")[0], batch_size=2, pretrained=False)
    assert "norm: kept: it is frozen already" in str(fixed)
    without = bnc.suggest(build("without_statistics")[0], batch_size=2)
    assert "norm: kept: it has no running statistics" in str(without)
    functional = bnc.suggest(build("functional")[0], batch_size=2)
    assert "(root): calls F.batch_norm in its forward, which cannot be" in str(functional)
    assert bnc.suggest(build("no_norm")[0], batch_size=2).verdict.startswith("nothing to convert")


@pytest.mark.parametrize(
    "policy", [bnc.Separate(), bnc.Separate("calls"), bnc.Group(2), bnc.Renorm(), bnc.Frozen()]
)
def test_what_is_suggested_is_legal_for_norms_that_are_converted_already(policy: Any) -> None:
    model = bnc.convert(build("residual")[0], policy)
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 8, 8))
    for situation in SITUATIONS:
        assert bnc.suggest(model, **situation).plan.refusals == ()


def test_a_group_norm_is_not_untrained_by_statistics_that_it_does_not_read() -> None:
    grouped = bnc.convert(Net(), bnc.Group(4))  # its buffers are those of a new batch norm
    assert "of no training" not in str(bnc.suggest(grouped, batch_size=2))
    assert "norm: has mean 0 and variance 1" in str(bnc.suggest(Net(), batch_size=2))


def test_a_lazy_norm_is_kept_and_says_why() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.LazyBatchNorm2d())
    suggestion = bnc.suggest(model, batch_size=2, pretrained=False)
    assert "1: kept: is lazy and has not seen an input" in str(suggestion)


def test_it_reads_verdict_first_and_is_json() -> None:
    suggestion = bnc.suggest(build("plain")[0], batch_size=1)
    first, *rest = str(suggestion).splitlines()
    assert first == "use Frozen(affine='frozen'); 1 norm: 1 Frozen(affine='frozen')"
    assert rest[0].startswith("because: fine-tuning, fewer than 16 images per device: ")
    assert rest[0].endswith("[paper, section 4; samples/finetune_small_batch.py]")
    assert "each norm sees 1 sample in a forward" in rest[1]
    assert any(line.startswith("besides: ") for line in rest)
    plain = json.loads(json.dumps(suggestion.to_dict()))
    assert plain["norms"] == {"norm": "Frozen(affine='frozen')"}
    assert plain["policy"] == "Frozen(affine='frozen')"
    assert plain["reasons"][0]["source"] == "paper, section 4; `samples/finetune_small_batch.py`"


def test_the_page_of_the_norms_has_the_same_table() -> None:
    assert markdown_table() in (ROOT / "docs" / "norms.md").read_text()


def test_the_names_in_patterns_are_taken_literally() -> None:
    parts = nn.ModuleDict({"a[1]": trained(Net()), "a1": Net(), "b": Net()})
    suggestion = bnc.suggest(parts, batch_size=2)
    assert [d.outcome for d in suggestion.plan.decisions] == [
        "Frozen(affine='frozen')",
        "Group(groups=4)",
        "Group(groups=4)",
    ]


def test_every_pair_of_task_and_batch_has_a_reason_from_the_table() -> None:
    model = build("plain")[0]
    for task, size in itertools.product((None, *TASKS), (1, 15, 16, 1024)):
        reasons = bnc.suggest(model, batch_size=size, task=task).reasons  # type: ignore[arg-type]
        assert any(reasons[0].source == choice.source for choice in CHOICES)
