import torch
from torch import nn

import bnconvert as bnc
from tests.folds.test_conv import assert_all_fold
from tests.zoo import trained


def test_every_setting_folds_on_rows_of_features() -> None:
    assert_all_fold(
        {
            "plain": (nn.Linear(5, 7), nn.BatchNorm1d(7)),
            "square": (nn.Linear(5, 5, bias=False), nn.BatchNorm1d(5)),
            "affine_free": (nn.Linear(5, 7), nn.BatchNorm1d(7, affine=False)),
            "no_beta": (nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7, bias=False)),
            "one_feature": (nn.Linear(5, 1), nn.BatchNorm1d(1)),
        },
        (6, 5),
    )


def test_sequences_are_refused_because_the_norm_takes_another_axis() -> None:
    model = trained(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(4)))
    x = torch.randn(2, 4, 5)
    folded = bnc.fold(model, (x,))
    (row,) = folded.report.norms
    assert row.reason == (
        "the linear layer's output has 3 axes: the norm normalizes axis 1, "
        "the features are the last axis"
    )
    torch.testing.assert_close(folded.module(x), model(x))
