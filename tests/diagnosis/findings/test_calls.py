from torch import nn

import bnconvert as bnc
from bnconvert.diagnosis.findings.calls import call_findings
from bnconvert.modules.survey import survey
from tests.zoo import Net, NormCalledTwice, OneNormTwoParents, build


def found(model: nn.Module) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.id, f.severity, f.paths) for f in call_findings(survey(model))]


def test_one_norm_of_several_calls_has_one_set_of_statistics() -> None:
    assert found(NormCalledTwice()) == [("BN009", "warning", ("norm",))]
    assert found(OneNormTwoParents()) == [("BN009", "warning", ("left.1",))]
    separate = bnc.convert(NormCalledTwice(), bnc.Separate(domains="calls"))
    assert found(separate) == []


def test_the_number_of_calls_stands_in_the_message() -> None:
    (finding,) = call_findings(survey(NormCalledTwice()))
    assert finding.message.startswith("called twice in one forward")


class Spare(Net):
    """A network with a norm that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.BatchNorm2d(8)


def test_a_norm_that_is_never_called_is_worse_in_training() -> None:
    assert found(Spare().train()) == [("BN022", "warning", ("spare",))]
    assert found(Spare().eval()) == [("BN022", "info", ("spare",))]


def test_calls_that_are_hidden_are_not_missed() -> None:
    for name in ("branch_in_root", "branch_in_child"):
        assert found(build(name)[0]) == []
