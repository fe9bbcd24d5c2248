import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.diagnosis.findings.biases import bias_findings
from bnconvert.modules.survey import survey
from tests.zoo import (
    ConvCalledTwice,
    LinearOnSequences,
    Net,
    OutputReadElsewhere,
    WeightReadElsewhere,
    trained,
)


def found(model: nn.Module) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.id, f.severity, f.paths) for f in bias_findings(survey(model))]


class Biased(Net):
    """A network whose convolution adds a bias before the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        nn.init.normal_(self.conv.bias)  # type: ignore[arg-type]


def test_a_bias_is_taken_out_exactly() -> None:
    model, x = trained(Biased()).train(), torch.randn(8, 3, 6, 6)

    def outputs() -> tuple[Tensor, Tensor]:
        in_training = model.train()(x)
        return in_training, model.eval()(x)

    (finding,) = bias_findings(survey(model))
    assert (finding.id, finding.paths) == ("BN010", ("norm",))
    with bnc.update_statistics(model, False):
        before = outputs()
    model.train()
    exec(finding.code, {"model": model})
    assert model.conv.bias is None
    with bnc.update_statistics(model, False):
        after = outputs()
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-5)


def test_a_bias_that_does_something_else_too_is_none_of_them() -> None:
    for model in (OutputReadElsewhere(), ConvCalledTwice(), LinearOnSequences()):
        assert found(model.train()) == []
    assert found(trained(Biased()).eval()) == []  # folded, it is not wasted
    assert found(bnc.convert(Biased(), bnc.Frozen()).train()) == []
    assert [id for id, _, _ in found(WeightReadElsewhere().train())] == ["BN010"]
