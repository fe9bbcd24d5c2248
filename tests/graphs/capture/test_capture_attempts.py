import pytest
import torch
from torch import Tensor, nn
from torch.export import export

from bnconvert.graphs.capture.capture_attempts import (
    Attempt,
    attempts_for,
    attempts_for_part,
    is_hopeless,
    probe_of,
)
from bnconvert.graphs.capture.capturing import capture
from bnconvert.graphs.example import Example

ONE, TWO = (Example.of((torch.randn(rows, 3),)) for rows in (1, 2))


class Branching(nn.Module):
    """A forward that asks for a number, or for one that it compares with a size."""

    def __init__(self, *, by_size: bool) -> None:
        super().__init__()
        self.by_size = by_size

    def forward(self, x: Tensor) -> Tensor:
        count = x.max().long().item()
        return x if count > (x.shape[0] if self.by_size else 3) else -x


def test_the_most_general_capture_is_tried_first_and_a_single_sample_is_doubled() -> None:
    attempts = list(attempts_for(nn.ReLU(), ONE, None))
    assert [(a.name, a.example.batch) for a in attempts] == [
        ("a dynamic batch size", 2),
        ("a fixed batch size", 1),
        ("a dynamic batch size and strict mode", 2),
        ("a fixed batch size and strict mode", 1),
    ]


def test_a_part_is_tried_with_all_sizes_dynamic_first_and_never_in_strict_mode() -> None:
    attempts = list(attempts_for_part(nn.ReLU(), TWO))
    assert [a.name for a in attempts] == [
        "all sizes dynamic",
        "a dynamic batch size",
        "a fixed batch size",
    ]


def test_a_part_that_gets_no_other_sizes_is_tried_with_its_own_first() -> None:
    attempts = attempts_for_part(nn.ReLU(), TWO, any_size=False)
    assert [a.name for a in attempts] == [
        "a fixed batch size",
        "all sizes dynamic",
        "a dynamic batch size",
    ]


@pytest.mark.parametrize("by_size", [False, True])
def test_what_fails_at_a_number_is_not_tried_with_other_sizes_unless_a_size_bears_on_it(
    by_size: bool,
) -> None:
    first, second, strict, strict_and_fixed = attempts_for(nn.ReLU(), TWO, None)
    model, failures = Branching(by_size=by_size).eval(), dict[Attempt, Exception]()
    assert not is_hopeless(first, failures)
    with pytest.raises(Exception, match="data-dependent") as failed:
        export(model, TWO.args, dynamic_shapes=first.dynamic_shapes, strict=False)
    failures[first] = failed.value
    assert is_hopeless(second, failures) is not by_size
    assert is_hopeless(strict, failures), "it branches on the same number"
    assert is_hopeless(strict_and_fixed, failures) is not by_size


def test_strict_mode_is_tried_where_it_makes_an_operator_of_what_asked() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + int(x.max())

    captured = capture(Counting().eval(), TWO)
    assert "strict mode" in captured.notes[0]


def test_a_probe_has_the_given_sizes_and_none_is_needed_where_these_are_tried() -> None:
    first, second, *_ = attempts_for(nn.ReLU(), ONE, None)
    probe = probe_of(first)
    assert probe is not None
    assert (probe.example, probe.dynamic_shapes) == (first.example, None)
    assert probe_of(second) is None


def test_any_other_failure_says_nothing_of_further_attempts() -> None:
    first, second, *_ = attempts_for(nn.ReLU(), TWO, None)
    assert not is_hopeless(second, {first: RuntimeError("Constraints violated (batch)")})


class SingleSample(nn.Module):
    """Asks for a number, but not of a single sample."""

    def forward(self, x: Tensor) -> Tensor:
        return -x if x.shape[0] > 1 and x.sum().item() > 0 else x


def test_a_single_sample_is_tried_although_two_of_them_failed() -> None:
    captured = capture(SingleSample().eval(), ONE)
    assert "captured with a fixed batch size" in captured.notes[0]
