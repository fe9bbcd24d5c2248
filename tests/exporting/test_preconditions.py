import pytest

import bnconvert as bnc
from bnconvert.exporting.preconditions import require_exportable
from tests.zoo import build


def test_fixed_norms_may_be_deployed_also_of_a_model_in_training_mode() -> None:
    model, _ = build("plain")
    require_exportable(model)
    require_exportable(model.train())
    require_exportable(bnc.convert(model, bnc.Frozen()))


def test_a_norm_in_training_mode_inside_an_eval_model_is_refused() -> None:
    model, _ = build("plain")
    model.get_submodule("norm").train()
    with pytest.raises(bnc.ExportError, match="norm: in training mode inside an eval model"):
        require_exportable(model)


def test_a_norm_that_remembers_the_test_stream_is_refused() -> None:
    model, _ = build("plain")
    with pytest.raises(bnc.ExportError, match="norm: remember the test stream"):
        require_exportable(bnc.convert(model, bnc.Adaptive(over="stream")))
