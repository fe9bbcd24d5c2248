import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

import bnconvert as bnc
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.surgery import inherit
from tests.zoo import Net, build, trained


def test_tools_that_reset_every_batch_norm_leave_it_alone() -> None:
    """torch's update_bn resets norms that eval() froze, and thaws them for good."""
    model = bnc.convert(trained(Net()), bnc.Frozen())
    before = [buffer.clone() for buffer in model.buffers()]
    update_bn([torch.randn(4, 3, 8, 8)], model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(model).norm) is type(model.norm)


def test_a_checkpoint_with_a_batch_counter_loads_into_a_norm_without_one() -> None:
    model = bnc.convert(build("frozen_elsewhere")[0], bnc.Frozen(affine="trainable"))
    assert "norm.num_batches_tracked" not in model.state_dict()
    plain = trained(Net(), seed=3)
    model.load_state_dict(plain.state_dict())
    assert torch.equal(model.get_buffer("norm.running_var"), plain.get_buffer("norm.running_var"))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*norm\.surprise"):
        model.load_state_dict(plain.state_dict() | {"norm.surprise": torch.zeros(1)})


def test_an_old_checkpoint_without_batch_counters_loads() -> None:
    model = bnc.convert(trained(Net()), bnc.Frozen())
    state = {k: v for k, v in trained(Net(), seed=3).state_dict().items() if "tracked" not in k}
    model.load_state_dict(state)


def test_a_norm_that_does_not_normalize_says_so() -> None:
    class Unfinished(Normalization):
        pass

    norm = inherit(nn.BatchNorm2d(4), Unfinished, origin=nn.BatchNorm2d, tail=())
    with pytest.raises(NotImplementedError, match="Unfinished does not say how"):
        norm(torch.randn(1, 4, 2, 2))
