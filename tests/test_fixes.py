"""Every finding is seen in a sick model, not in a healthy one, and its line of code mends it.

A new finding needs a row in tests/doctor/.
"""

import pytest

from bnconvert.diagnosis.catalogue import CATALOGUE
from tests.doctor import SICK_MODELS
from tests.doctor.sick_files import SICK_FILES
from tests.doctor.sick_model import SickModel

#: To write and to compare a file takes a second.
EVERY = pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=pytest.mark.slow if row in SICK_FILES else ()) for row in SICK_MODELS],
    ids=lambda row: row.name,
)


def test_every_finding_has_a_sick_model_with_each_severity() -> None:
    reported = {
        (entry.id, severity if len(entry.severities) > 1 else "")
        for entry in CATALOGUE
        for severity in entry.severities
    }
    assert {(row.id, row.severity) for row in SICK_MODELS} == reported


@EVERY
def test_a_healthy_model_does_not_have_it(row: SickModel) -> None:
    found = row.healthy().findings(row.id)
    assert [f for f in found if row.severity in ("", f.severity)] == []


@pytest.mark.filterwarnings("ignore:`torch.jit")
@EVERY
def test_a_sick_model_has_it_and_its_line_of_code_mends_it(row: SickModel) -> None:
    patient = row.sick()
    found = [f for f in patient.findings(row.id) if row.severity in ("", f.severity)]
    assert len(found) == 1
    (finding,) = found
    assert finding.message
    assert finding.fix
    assert "\n" not in finding.code
    assert row.code in finding.code
    assert bool(row.code) == bool(finding.code), finding.code
    if finding.code:
        assert patient.treated(finding.code).findings(row.id) == []
