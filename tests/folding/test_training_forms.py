import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.folding.training_forms import training_form_findings
from bnconvert.modules.site import sites_in
from bnconvert.reporting.records import Finding
from tests.zoo import Net


def findings(model: nn.Module) -> list[Finding]:
    return [*training_form_findings(model, sites_in(model))]


def test_a_plain_model_in_eval_mode_has_none() -> None:
    assert findings(Net().eval()) == []


def test_a_model_in_training_mode_is_said_to_be_with_the_line_that_ends_it() -> None:
    model = Net().train()
    (finding,) = findings(model)
    assert (finding.id, finding.severity, finding.code) == ("BN409", "info", "model.eval()")


@pytest.mark.parametrize(
    ("rewrite", "said"),
    [
        (bnc.Ghost(2), "1 GhostNorm: in eval mode batch norm by the running statistics"),
        (bnc.Sync(), "1 SyncNorm: in eval mode batch norm by the running statistics"),
        (bnc.Group(4), "1 GroupedNorm: no fixed scale and shift in eval mode"),
    ],
)
def test_it_says_what_a_norm_of_ours_is_in_the_graph(rewrite: object, said: str) -> None:
    (finding,) = findings(bnc.convert(Net().eval(), rewrite))  # type: ignore[arg-type]
    assert (finding.id, finding.paths) == ("BN408", ("norm",))
    assert finding.message.startswith(said)


def test_it_says_whose_statistics_the_graph_has() -> None:
    model = bnc.convert(Net().eval(), bnc.Separate(domains=("day", "night")))
    (first,) = findings(model)
    assert "the statistics of 'day', one of several domains" in first.message
    with bnc.domain(model, "night"):
        (second,) = findings(model)
    assert "the statistics of 'night'" in second.message


def test_a_captured_program_has_no_mode_to_change() -> None:
    program = torch.export.export(Net().eval(), (torch.randn(2, 3, 8, 8),)).module()
    assert program.training  # as torch leaves it; its eval() raises
    assert findings(program) == []
