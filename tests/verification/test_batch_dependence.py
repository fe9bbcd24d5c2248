from torch import nn

import bnconvert as bnc
from bnconvert.reporting.records import Check
from bnconvert.verification.batch_dependence import dependence_findings, mixing_norms

DEPENDS = Check("row 0", "y", "rows", 0.5, 1e-5, False)
HOLDS = Check("row 0", "y", "rows", 0.0, 1e-5, True)


def test_norms_that_mix_samples_in_eval_are_named_by_their_paths() -> None:
    norm = bnc.convert(nn.BatchNorm1d(3), bnc.Adaptive(over="batch"))
    assert mixing_norms(norm) == ["(root)"]
    assert mixing_norms(nn.Sequential(norm, nn.BatchNorm1d(3), nn.ReLU())) == ["0"]
    (finding,) = dependence_findings(norm, ())
    assert (finding.id, finding.severity, finding.paths) == ("BN403", "info", ("(root)",))


def test_a_row_that_differs_in_another_batch_is_an_error_of_the_norms_without_statistics() -> None:
    untracked = nn.BatchNorm1d(3, track_running_stats=False)
    (of_norms,) = dependence_findings(nn.Sequential(nn.BatchNorm1d(3), untracked), (DEPENDS,))
    assert (of_norms.severity, of_norms.paths) == ("error", ("1",))
    (of_file,) = dependence_findings(nn.BatchNorm1d(3), (HOLDS, DEPENDS))
    assert (of_file.severity, of_file.paths) == ("error", ("(root)",))
    assert "the model's does not" in of_file.message
    assert [*dependence_findings(untracked, (HOLDS,))] == []
