import pytest
from torch import nn

import bnconvert as bnc
from bnconvert.diagnosis.findings.training_mode import (
    momentum_of,
    normalizes_by_batch,
    tracks_batch,
    uses_statistics,
)
from bnconvert.modules.survey import survey
from tests.zoo import FrozenBatchNorm2d, trained


@pytest.mark.parametrize(
    ("norm", "uses", "by_batch", "tracks"),
    [
        (nn.BatchNorm2d(4), True, True, True),
        (nn.BatchNorm2d(4, track_running_stats=False), True, True, False),
        (trained(FrozenBatchNorm2d(4)), True, False, False),
        (bnc.convert(nn.BatchNorm2d(4), bnc.Frozen()), True, False, False),
        (bnc.convert(nn.BatchNorm2d(4), bnc.Ghost(2)), True, True, True),
        (bnc.convert(nn.BatchNorm2d(4), bnc.Group(2)), False, False, False),
        (bnc.convert(nn.BatchNorm2d(4), bnc.Instance()), False, False, False),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("training", [True, False])
def test_what_a_norm_does_in_training_mode_whatever_its_mode_is(
    norm: nn.Module, uses: bool, by_batch: bool, tracks: bool, training: bool
) -> None:
    (site,) = survey(nn.Sequential(norm).train(training)).sites
    assert (uses_statistics(site), normalizes_by_batch(site), tracks_batch(site)) == (
        uses,
        by_batch,
        tracks,
    )
    assert (momentum_of(site) is None) == (not tracks)
