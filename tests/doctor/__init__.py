"""Sick and healthy models: for each finding one that has it, and one that has not."""

from tests.doctor.sick_data import SICK_DATA
from tests.doctor.sick_files import SICK_FILES, SICK_GRAPHS
from tests.doctor.sick_model import SickModel
from tests.doctor.sick_samples import SICK_SAMPLES
from tests.doctor.sick_static import SICK_STATIC
from tests.doctor.sick_training import SICK_TRAINING

#: One row for each finding, and each severity of it.
SICK_MODELS: tuple[SickModel, ...] = (
    *SICK_STATIC,
    *SICK_TRAINING,
    *SICK_DATA,
    *SICK_SAMPLES,
    *SICK_GRAPHS,
    *SICK_FILES,
)
