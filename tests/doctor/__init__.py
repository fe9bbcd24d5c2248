"""Sick and healthy models: for each finding one that has it, and one that has not."""

from tests.doctor.sick_data import SICK_DATA
from tests.doctor.sick_model import SickModel
from tests.doctor.sick_samples import SICK_SAMPLES
from tests.doctor.sick_static import SICK_STATIC
from tests.doctor.sick_training import SICK_TRAINING

#: One row for each finding that `inspect` or `diagnose` reports.
SICK_MODELS: tuple[SickModel, ...] = (*SICK_STATIC, *SICK_TRAINING, *SICK_DATA, *SICK_SAMPLES)
