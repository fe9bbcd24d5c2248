import torch

from bnconvert.statistics.thread_state import ThreadState


def test_a_state_is_put_back_and_then_what_was_found() -> None:
    outside = ThreadState.now()
    with torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.float16):
        torch.set_default_dtype(torch.float64)
        try:
            inside = ThreadState.now()
            assert inside != outside
            with outside.restored():
                assert ThreadState.now() == outside
                assert torch.empty(1).dtype is torch.float32
                assert not torch.empty(1).is_inference()
            assert ThreadState.now() == inside
        finally:
            torch.set_default_dtype(torch.float32)
    assert ThreadState.now() == outside


def test_an_exception_undoes_it_too() -> None:
    outside = ThreadState.now()
    with torch.no_grad():
        try:
            with outside.restored():
                raise KeyError
        except KeyError:
            assert not torch.is_grad_enabled()
