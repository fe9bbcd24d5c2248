"""The catalogue of findings: what every id means, one family per file.

It says in words what the code decides; a test holds that both know the same ids and severities.
`docs/findings.md` is written from it.
"""

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
