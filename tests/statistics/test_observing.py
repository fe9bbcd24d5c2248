import torch

from bnconvert.statistics.observing import observing


def test_nothing_is_recorded_and_the_random_state_stays() -> None:
    random = torch.get_rng_state()
    with observing():
        torch.randn(3)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
