import torch
from torch import nn

from bnconvert.statistics.batch_forward import BatchForward, Role, why_unusable
from bnconvert.statistics.batches import Batch
from bnconvert.statistics.estimate import measure
from bnconvert.statistics.interception import Interception, OnArrival, Watch
from bnconvert.statistics.targets import StatisticsTarget, find_targets
from bnconvert.statistics.unmeasured import UnmeasuredUses


def visit(role: Role, x: torch.Tensor) -> tuple[BatchForward, nn.BatchNorm1d]:
    norm = nn.BatchNorm1d(3).eval()
    watch = Watch(find_targets(norm).measured, UnmeasuredUses())

    def role_of(target: StatisticsTarget) -> Role:
        return role

    def intercept(on_arrival: OnArrival) -> Interception:
        return Interception(watch, norm, on_arrival)

    return BatchForward(Batch(0, x, 0), lambda: norm(x), intercept, role_of), norm


def test_it_waits_where_its_values_are_measured() -> None:
    x = torch.randn(8, 3)
    forward, norm = visit("measured", x)
    forward.resume()
    assert forward.waiting is not None
    target, found = forward.waiting
    assert (target.path, found.samples) == ("(root)", 8)
    assert torch.equal(norm.get_buffer("running_mean"), torch.zeros(3))
    forward.resume()
    assert forward.is_over
    assert forward.waiting is None
    assert forward.reached == [0]


def test_it_passes_what_is_final_and_shows_its_way_where_it_is_late() -> None:
    for role in ("final", "finished"):
        forward, _ = visit(role, torch.randn(8, 3))
        forward.resume()
        assert forward.is_over
        assert forward.is_late == (role == "finished")
        assert forward.reached == [0]


def test_where_it_is_collected_or_deferred_it_is_normalized_by_itself() -> None:
    x = torch.randn(8, 3) + 3
    for role in ("collected", "deferred"):
        forward, norm = visit(role, x)
        forward.resume()
        assert forward.is_over
        torch.testing.assert_close(norm.running_mean, x.mean(0))
        assert len(forward.collected) == (role == "collected")


def test_a_broken_batch_stops_for_good() -> None:
    forward, _ = visit("measured", torch.full((4, 3), float("nan")))
    forward.resume()
    assert forward.failure == "a NaN, an infinity or an overflow at (root)"
    assert not forward.is_over
    forward.cancel()
    assert forward.is_over


def test_one_value_per_channel_is_unusable_only_by_itself() -> None:
    found = measure(torch.randn(1, 3), 0)
    assert why_unusable(found, by_itself=False) is None
    assert why_unusable(found, by_itself=True) == "one value per channel"
