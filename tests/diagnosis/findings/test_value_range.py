from dataclasses import replace

import torch

from bnconvert.diagnosis.findings.value_range import range_findings
from bnconvert.diagnosis.norm_samples import NormSamples

NORM = NormSamples("norm", {0: torch.zeros(2, 3)}, 10.0, torch.float32, ())


def test_values_that_are_not_finite_are_named_where_they_came_first() -> None:
    broken = {3: ("a", torch.float16), 5: ("a", torch.float16), 6: ("b", torch.float32)}
    (finding,) = range_findings([NORM], broken)
    assert (finding.id, finding.severity, finding.paths) == ("BN211", "error", ("a", "b"))
    assert finding.message.startswith("a NaN or an infinity arrives at a (float16, batch 3)")
    assert "bfloat16 or float32" in finding.fix
    (finding,) = range_findings([], {6: ("b", torch.float32)})
    assert "look for what overflows" in finding.fix


def test_values_that_float16_cannot_hold_are_worth_knowing() -> None:
    large = replace(NORM, path="large", peak=7e4)
    (finding,) = range_findings([NORM, large], {})
    assert (finding.severity, finding.paths) == ("info", ("large",))
    assert "values up to 7e+04 arrive at large" in finding.message
    assert [*range_findings([NORM, replace(large, dtype=torch.bfloat16)], {})] == []
