"""The catalogue of findings: what every id means, one family per file.

It says in words what the code decides; a test holds that both know the same ids and severities.
`docs/findings.md` is written from it.
"""

import difflib

from bnconvert.diagnosis.catalogue.channels import CHANNELS
from bnconvert.diagnosis.catalogue.configuration import CONFIGURATION
from bnconvert.diagnosis.catalogue.explanation import Explanation
from bnconvert.diagnosis.catalogue.folding import FOLDING
from bnconvert.diagnosis.catalogue.measured_data import MEASURED_DATA
from bnconvert.diagnosis.catalogue.norm_samples import NORM_SAMPLES
from bnconvert.diagnosis.catalogue.onnx_files import ONNX_FILES
from bnconvert.diagnosis.catalogue.settings import SETTINGS
from bnconvert.diagnosis.catalogue.stored_tensors import STORED_TENSORS
from bnconvert.diagnosis.catalogue.training import TRAINING
from bnconvert.errors import ReportError

#: Every finding that bnconvert reports, by id.
CATALOGUE: tuple[Explanation, ...] = tuple(
    sorted(
        (
            *CONFIGURATION,
            *SETTINGS,
            *STORED_TENSORS,
            *CHANNELS,
            *MEASURED_DATA,
            *NORM_SAMPLES,
            *TRAINING,
            *FOLDING,
            *ONNX_FILES,
        ),
        key=lambda explanation: explanation.id,
    )
)


def explain(id: str) -> Explanation:
    """Return what a finding means: its rule, why it matters, the fix, sources and an example.

    Args:
        id: of the finding, such as "BN203"; upper or lower case.

    Raises:
        ReportError: no finding has this id.

    Examples:
        >>> print(bnc.explain("BN004"))
        BN004: A norm without running statistics
        info; reported by inspect, diagnose
        ...
        >>> bnc.explain("BN2002")
        Traceback (most recent call last):
        bnconvert.errors.ReportError: BN2002: no finding has this id; did you mean BN202?
    """
    wanted = id.strip().upper()
    for explanation in CATALOGUE:
        if explanation.id == wanted:
            return explanation
    ids = [explanation.id for explanation in CATALOGUE]
    near = difflib.get_close_matches(wanted, ids, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else "`bnconvert rules` lists them"
    raise ReportError(f"{id}: no finding has this id; {hint}")
