import re
from pathlib import Path

import bnconvert as bnc
from bnconvert.folding.standing_norms import REASONS, standing_findings
from bnconvert.reporting.records import NormRow

PACKAGE = Path(bnc.__path__[0])
#: What findings of their own are about.
ELSEWHERE = {"weight-overflows", "batch-statistics", "training-mode"}
#: What only these refuse, no fold.
OTHERS = {"graft_plan", "grafting", "equalizing"}


def row(path: str, *codes: str, outcome: str = "standing") -> NormRow:
    return NormRow(path, "BatchNorm2d", 3, 1, outcome, "a reason", codes=codes)


def test_every_reason_for_which_a_norm_may_stand_has_words() -> None:
    files = [*(PACKAGE / "folding").rglob("*.py"), PACKAGE / "graphs" / "aten.py"]
    files += [PACKAGE / "graphs" / "subgraphs.py"]
    texts = [path.read_text() for path in files if not {path.stem, path.parent.name} & OTHERS]
    codes = {code for text in texts for code in re.findall(r'Refusal\(\s*"([\w-]+)"', text)}
    assert codes - ELSEWHERE == set(REASONS)


def test_norms_with_the_same_reason_are_one_finding() -> None:
    rows = (
        row("a", "border"),
        row("b", "other-consumers", "border"),
        row("c", "border"),
        row("a", "border"),
        row("d", outcome="folded"),
        row("e", "weight-overflows"),
    )
    findings = [*standing_findings(rows)]
    assert [(f.id, f.severity, f.paths) for f in findings] == [
        ("BN401", "info", ("a", "c")),
        ("BN401", "info", ("b",)),
    ]
    assert (
        "other operators read their input too; downstream, at the border of" in findings[1].message
    )


def test_norms_that_normalize_by_the_batch_are_a_warning_of_their_own() -> None:
    (untracked,) = standing_findings((row("0", "batch-statistics"),))
    (training,) = standing_findings((row("1", "training-mode"),))
    assert (untracked.id, untracked.severity, untracked.paths) == ("BN402", "warning", ("0",))
    assert untracked.message.startswith("without running statistics: ")
    assert training.message.startswith("in training mode: ")
    rows = (row("0", "batch-statistics"), row("", "training-mode"))
    (both,) = standing_findings(rows)
    assert both.message.startswith("without running statistics or in training mode: ")
    assert both.paths == ("0", "")
