import pytest
from torch import nn
from torch.optim.swa_utils import AveragedModel

import bnconvert as bnc
from bnconvert.diagnosis.findings.wrappers import wrapper_findings
from bnconvert.modules.survey import survey
from tests.zoo import Net, trained


def found(model: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
    return [(f.id, f.paths) for f in wrapper_findings(survey(model))]


def test_averaged_weights_need_statistics_of_their_own() -> None:
    model = trained(Net())
    average = AveragedModel(model)
    assert found(average) == []  # it has averaged nothing yet
    average.update_parameters(model)
    assert found(average) == [("BN312", ("module.norm",))]
    assert found(bnc.convert(average, bnc.Frozen())) == []


@pytest.mark.parametrize("flag", ["grad_checkpointing", "use_checkpoint"])
def test_what_is_checkpointed_updates_twice(flag: str) -> None:
    model = nn.ModuleDict({"stem": nn.BatchNorm1d(4), "block": nn.Sequential(nn.BatchNorm1d(4))})
    assert found(model) == []
    vars(model["block"])[flag] = True
    assert found(model) == [("BN303", ("block.0",))]
    vars(model["block"])[flag] = False
    assert found(model) == []


def test_the_wrapper_of_torch_is_seen() -> None:
    wrapper = pytest.importorskip(
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper"
    ).checkpoint_wrapper
    model = nn.Sequential(nn.Linear(4, 4), wrapper(nn.Sequential(nn.BatchNorm1d(4))))
    ((id, (path,)),) = found(model)
    assert id == "BN303"
    assert path.startswith("1.")
    assert found(model.eval()) == []
