import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.torch_private.silence import quiet


def network(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_two_exports_in_two_threads_write_their_own_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, x = [network(seed) for seed in range(2)], torch.rand(2, 3)
    state, streams = torch.get_rng_state(), (sys.stdout, sys.stderr)
    in_threads(2, lambda i: bnc.export(models[i], (x,), tmp_path / f"{i}.onnx"))
    assert torch.equal(torch.get_rng_state(), state)
    assert (sys.stdout, sys.stderr) == streams
    for i in range(2):
        session = onnxruntime.InferenceSession(tmp_path / f"{i}.onnx")
        (y,) = session.run(None, {"input": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), models[i](x))


VERBS: dict[str, Callable[[nn.Module], object]] = {
    "fold": lambda model: bnc.fold(model, (torch.rand(2, 3),)),
    "plan": lambda model: bnc.plan(model, bnc.Frozen()),
    "convert": lambda model: bnc.convert(model, bnc.Frozen()),
    "convert in place": lambda model: bnc.convert(model, bnc.Frozen(), inplace=True),
    "revert": bnc.revert,
    "prepare": lambda model: bnc.prepare(model, bnc.Frozen()),
    "inspect": bnc.inspect,
    "diagnose": lambda model: bnc.diagnose(model, [torch.rand(8, 3)]),
    "recompute": lambda model: bnc.recompute_statistics(model, [torch.rand(8, 3)]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_waits_until_another_thread_is_done(verb: str) -> None:
    model, began = network(0), threading.Event()

    def run() -> None:
        began.set()
        VERBS[verb](model)

    other = threading.Thread(target=run)
    with one_at_a_time():
        other.start()
        assert began.wait(10)
        other.join(0.02)
        assert other.is_alive()
    other.join(30)
    assert not other.is_alive()


def test_conversions_of_one_model_in_many_threads_all_succeed() -> None:
    model = network(0)
    made = in_threads(8, lambda i: bnc.convert(model, bnc.Frozen() if i % 2 else bnc.Group(2)))
    assert [type(m[1]).__name__ for m in made] == ["GroupedNorm", "FrozenNorm"] * 4
    in_threads(4, lambda i: bnc.convert(model, bnc.Frozen(), inplace=True))
    assert bnc.plan(model, bnc.Frozen()).edits() == {}


def test_a_model_can_run_in_another_thread_while_one_is_traced() -> None:
    """torch.fx replaces the call of every module in the process, and their attributes."""
    other = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    seen: SimpleQueue[Tensor] = SimpleQueue()  # a list would be as it was before

    class Meanwhile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.BatchNorm1d(3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            ours = [p for p in weights if p.shape == (3, 3)]
            runs = (lambda: other(torch.ones(1, 3)), lambda: ours[0] @ torch.ones(3))
            with ThreadPoolExecutor(1) as pool:
                for run in runs:
                    seen.put(pool.submit(run).result())
            y: Tensor = self.norm(self.linear(x))
            return y

    model = Meanwhile().eval()
    weights = list(model.parameters())
    plan = bnc.plan(model, bnc.Frozen())
    assert plan.decisions[0].site.observed_calls == 1
    assert [type(seen.get_nowait()) for _ in range(2)] == [Tensor, Tensor]


def test_other_threads_may_print_while_one_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("mine")
        other = threading.Thread(target=lambda: print("of the other"))
        other.start()
        other.join()
    assert capsys.readouterr().out == "of the other\n"


def test_a_failure_lets_the_next_thread_in() -> None:
    with pytest.raises(RuntimeError), one_at_a_time():
        raise RuntimeError
    assert in_threads(1, lambda _: len(bnc.inspect(network(0)).norms)) == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_process_forked_while_another_thread_works_does_not_wait_for_it() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with one_at_a_time():
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        child = os.fork()
    if not child:
        os._exit(0 if bnc.plan(network(0), bnc.Frozen()).decisions else 1)
    done.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
