import torch
from torch import nn

from bnconvert.measuring.feeding import Batch
from bnconvert.measuring.measured import measure
from bnconvert.measuring.slots import Slot, slots_of
from bnconvert.measuring.visitor import Role, Visitor, why_unusable


def visit(role: Role, x: torch.Tensor) -> tuple[Visitor, nn.Module]:
    norm = nn.BatchNorm1d(3).eval()
    slots = {id(slot.mean): slot for slot in slots_of(norm).measured}

    def role_of(slot: Slot) -> Role:
        return role

    return Visitor(Batch(0, x, 0), lambda: norm(x), slots, role_of), norm


def test_it_waits_where_its_values_are_measured() -> None:
    x = torch.randn(8, 3)
    visitor, norm = visit("wait", x)
    visitor.forward.resume()
    assert visitor.waiting is not None
    slot, found = visitor.waiting
    assert (slot.path, found.samples) == ("(root)", 8)
    assert torch.equal(norm.running_mean, torch.zeros(3))
    visitor.forward.resume()
    assert visitor.forward.is_over
    assert visitor.waiting is None
    assert visitor.visited == [0]


def test_it_passes_what_is_final_and_shows_its_way_where_it_is_late() -> None:
    for role in ("final", "late"):
        visitor, _ = visit(role, torch.randn(8, 3))  # type: ignore[arg-type]
        visitor.forward.resume()
        assert visitor.forward.is_over
        assert visitor.is_late == (role == "late")
        assert visitor.visited == [0]


def test_aside_it_is_normalized_by_itself() -> None:
    x = torch.randn(8, 3) + 3
    for role in ("aside", "later"):
        visitor, norm = visit(role, x)  # type: ignore[arg-type]
        visitor.forward.resume()
        assert visitor.forward.is_over
        torch.testing.assert_close(norm.running_mean, x.mean(0))
        assert len(visitor.aside) == (role == "aside")


def test_a_broken_batch_stops_for_good() -> None:
    visitor, _ = visit("wait", torch.full((4, 3), float("nan")))
    visitor.forward.resume()
    assert visitor.failure == "a NaN, an infinity or an overflow at (root)"
    assert not visitor.forward.is_over
    visitor.forward.cancel()
    assert visitor.forward.is_over


def test_one_value_per_channel_is_unusable_only_by_itself() -> None:
    found = measure(torch.randn(1, 3), 0)
    assert why_unusable(found, alone=False) is None
    assert why_unusable(found, alone=True) == "one value per channel"
