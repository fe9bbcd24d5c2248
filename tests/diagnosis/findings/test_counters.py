import pytest
from torch import nn

from bnconvert.diagnosis.findings.counters import counter_findings
from bnconvert.modules.survey import survey
from tests.zoo import FrozenBatchNorm2d, NormCalledTwice, trained


def counted(*counts: int) -> nn.Sequential:
    norms = [trained(nn.BatchNorm2d(4)) for _ in counts]
    for norm, count in zip(norms, counts, strict=True):
        norm.get_buffer("num_batches_tracked").fill_(count)
    return nn.Sequential(*norms)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((100, 100, 100), []),
        ((100, 100, 0), []),  # a new head
        ((100, 100, 200), [("warning", ("2",))]),
        ((100, 100, 300, 200), [("warning", ("2", "3"))]),
        ((100, 100, 130), [("info", ("2",))]),
        ((1, 1, 2), [("info", ("2",))]),  # chance
        ((100, 100, 200, 90), [("warning", ("2",)), ("info", ("3",))]),
    ],
)
def test_the_most_frequent_number_is_the_usual_one(
    counts: tuple[int, ...], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    findings = counter_findings(survey(counted(*counts)))
    assert [(finding.severity, finding.paths) for finding in findings] == expected


def test_several_calls_explain_a_multiple() -> None:
    model = nn.Sequential(NormCalledTwice(), counted(100, 100))
    model.get_buffer("0.norm.num_batches_tracked").fill_(200)
    assert list(counter_findings(survey(model))) == []
    for path, count in (("1.0", 1), ("1.1", 1), ("0.norm", 2)):
        model.get_buffer(f"{path}.num_batches_tracked").fill_(count)
    assert list(counter_findings(survey(model))) == []


def test_norms_that_do_not_count_are_passed_over() -> None:
    others = (trained(FrozenBatchNorm2d(4)), nn.LazyBatchNorm2d(), nn.BatchNorm2d(4, device="meta"))
    assert list(counter_findings(survey(nn.Sequential(*others, *counted(100, 100))))) == []
