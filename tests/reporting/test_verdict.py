from dataclasses import replace

import pytest

from bnconvert.reporting.records import Check, Contents, Finding, NormRow, Severity, StatisticsRow
from bnconvert.reporting.verdict import by_severity, farthest, judgement, with_same_code

NORM = NormRow("bn", "BatchNorm2d", 8, 1, "folded")
HELD = Check("a", "y", "norm", 1e-7, 1e-6, True)
BROKEN = Check("b", "y", "norm", 1.0, 1e-6, False)


def finding(id: str, severity: Severity) -> Finding:
    return Finding(id, severity, ("bn",), "fact", "fix")


def test_the_worst_finding_decides_and_is_where_to_begin() -> None:
    found = (finding("BN004", "info"), finding("BN005", "warning"), finding("BN201", "error"))
    assert str(judgement(Contents("Net", findings=found))) == (
        "FAIL  Net, 1 error, 1 warning, 1 info; begin with BN201"
    )
    assert str(judgement(Contents("Net", findings=found[:2]))) == (
        "WARN  Net, 1 warning, 1 info; begin with BN005"
    )
    assert str(judgement(Contents("Net", findings=found[:1]))) == "OK  Net, 1 info"
    assert [found.id for found in by_severity(found)] == ["BN201", "BN005", "BN004"]


def test_a_report_that_looked_and_found_nothing_says_so() -> None:
    looked = Contents("Net", norms=(NORM,), notes=("no findings",))
    assert str(judgement(looked)) == "OK  Net, no findings (1 norm: 1 folded)"
    assert str(judgement(Contents("Folded Net", norms=(NORM,)))) == (
        "OK  Folded Net (1 norm: 1 folded)"
    )


def test_a_file_is_judged_by_its_checks() -> None:
    good = Contents("m.onnx agrees with Net", "agrees", checks=(HELD, HELD))
    assert str(judgement(good)) == "OK  m.onnx agrees with Net (2 of 2 checks hold)"
    bad = Contents("m.onnx differs from Net", "differs", checks=(HELD, BROKEN))
    assert str(judgement(bad)) == "FAIL  m.onnx differs from Net (1 of 2 checks hold)"
    assert judgement(Contents("m.onnx", "cannot be judged")).level == "FAIL"


@pytest.mark.parametrize(("mean", "said"), [(0.5, "by 0.50 sigma, its sigma by 25%"), (None, "is")])
def test_statistics_are_judged_by_those_that_are_most_off(mean: float | None, said: str) -> None:
    near = StatisticsRow("a", "BatchNorm2d", 8, 64, 0.1, 0.1, 0.01, 32, "precise")
    far = StatisticsRow("b", "BatchNorm2d", 8, 64, mean, 0.25, 0.01, 32, "precise")
    text = judgement(Contents("Net", statistics=(near, far))).text
    assert text.startswith(f"Net (most off: the mean of b {said}")
    assert farthest((near, far)) == [far, near]


def test_a_finding_with_the_code_of_a_worse_one_names_that() -> None:
    given = (
        replace(finding("BN103", "warning"), code="f()"),
        finding("BN104", "warning"),
        replace(finding("BN201", "error"), code="f()"),
        finding("BN105", "info"),
        replace(finding("BN106", "info"), code="g()"),
    )
    assert [(found.id, same) for found, same in with_same_code(given)] == [
        *(("BN201", ""), ("BN103", "BN201"), ("BN104", ""), ("BN105", ""), ("BN106", "")),
    ]
