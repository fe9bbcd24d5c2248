"""Sick models whose findings need no data: `inspect` reports them."""

import math

import torch

from tests.doctor.patients import (
    BiasBeforeNorm,
    Idle,
    KeptInEval,
    Masked,
    Uncalled,
    UntracedNorm,
    anew,
    asked_to_train,
    collapsed,
    different_eps,
    folding,
    frozen_norm,
    frozen_parameters,
    in_eval,
    in_eval_without_momentum,
    norm,
    of,
    one_nan,
    partly_loaded,
    scripted,
    statistics_lost,
    switched_off,
    two_norms,
    untrained_with_batches,
    usual,
    with_norm,
    with_values,
)
from tests.doctor.sick_model import SickModel
from tests.zoo import NormCalledTwice, ScaledBatchNorm2d, build, trained

FREEZE = "bnc.convert(model, bnc.Frozen(), inplace=True)"
HEALTHY = of(usual)
SICK_STATIC = (
    SickModel("BN001", frozen_parameters, frozen_norm, FREEZE),
    SickModel("BN002", switched_off, frozen_norm, FREEZE),
    SickModel("BN003", in_eval, frozen_norm, FREEZE, "warning"),
    SickModel("BN003", of(lambda: trained(KeptInEval()).train()), frozen_norm, "", "info"),
    SickModel("BN004", norm(track_running_stats=False), HEALTHY),
    SickModel("BN005", norm(momentum=0.9), norm(momentum=None), "min(1 - m.momentum, 0.1)"),
    SickModel("BN006", norm(momentum=0.0), norm(momentum=1e-4), "'momentum', 0.1", "error"),
    SickModel("BN006", in_eval_without_momentum, HEALTHY, "'momentum', 0.1", "warning"),
    SickModel("BN007", anew, norm(momentum=None), "'momentum', 0.1"),
    SickModel("BN008", norm(eps=0.0), norm(eps=1e-3), "", "warning"),
    SickModel("BN008", different_eps, norm(eps=1e-3), "", "info"),
    SickModel("BN009", of(NormCalledTwice), HEALTHY, 'Separate(domains="calls")'),
    SickModel("BN010", of(BiasBeforeNorm), HEALTHY, "'bias', None"),
    SickModel("BN012", with_norm(ScaledBatchNorm2d), HEALTHY, "", "error"),
    SickModel("BN012", of(Idle), HEALTHY, "", "warning"),
    SickModel("BN015", of(lambda: usual().half()), HEALTHY, "m.float()"),
    SickModel("BN019", of(lambda: build("functional")[0]), HEALTHY),
    SickModel("BN020", of(UntracedNorm), HEALTHY, "", "info"),
    SickModel("BN020", scripted, HEALTHY, "", "warning"),
    SickModel("BN021", asked_to_train, frozen_norm),
    SickModel("BN022", of(lambda: Uncalled().train()), HEALTHY, "", "warning"),
    SickModel("BN022", of(lambda: Uncalled().eval()), HEALTHY, "", "info"),
    SickModel("BN101", statistics_lost({"running_var": math.nan}), HEALTHY, "recompute"),
    SickModel("BN102", partly_loaded(True), untrained_with_batches, "recompute", "error"),
    SickModel("BN102", partly_loaded(False), untrained_with_batches, "recompute", "warning"),
    SickModel("BN104", with_values({"running_var": 1e-9}), HEALTHY),
    SickModel("BN105", with_values({"weight": 1e-7, "bias": 0.0}), HEALTHY),
    SickModel("BN106", collapsed, HEALTHY),
    SickModel("BN107", with_values({"running_var": 1e-7}, all_channels=True), HEALTHY),
    SickModel("BN110", two_norms(100, 100, 200), two_norms(100, 100, 100), "", "warning"),
    SickModel("BN110", two_norms(100, 100, 130), two_norms(100, 100, 0), "", "info"),
    SickModel("BN112", one_nan, HEALTHY),
    SickModel("BN113", of(lambda: Masked(-math.inf)), of(lambda: Masked(1.0))),
    SickModel("BN114", untrained_with_batches, HEALTHY, "recompute"),
    SickModel("BN405", folding(1e5), folding(10.0)),
    SickModel("BN406", folding(1e3, torch.float16), folding(10.0, torch.float16)),
)
