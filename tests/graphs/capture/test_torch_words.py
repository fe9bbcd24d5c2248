import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from bnconvert.graphs.capture.torch_words import fixed_axes, reason_of, short_reason_of

ADVICE = (
    "\n\nThe error above occurred when calling torch.export.export. If you would like to view some "
    "more information about this error, you can replace your `export()` call."
)
VIOLATED = """Constraints violated (w)! For more information, run with TORCH_LOGS="+dynamic".
  - solving the guards generated for w = L['x'].size()[3] resulted in a specialized value of 16.

Suggested fixes:
  w = 16
"""


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("16 not in range [2, 9]" + ADVICE, "16 not in range [2, 9]"),
        (
            VIOLATED + ADVICE,
            "Constraints violated (w)! - solving the guards generated for w = L['x'].size()[3] "
            "resulted in a specialized value of 16. Suggested fixes: w = 16",
        ),
        ("it is 2. For more information about this error, see: https://a.b/c.html#d", "it is 2"),
        ("no\n\nUser stack:\n  File a.py", "no"),
    ],
)
def test_sentences_and_fixes_are_kept_and_advice_is_not(said: str, kept: str) -> None:
    assert reason_of(ValueError(said)) == f"ValueError: {kept}"


def test_a_failure_without_words_is_named() -> None:
    assert reason_of(AssertionError()) == "AssertionError"


def test_very_long_words_are_cut() -> None:
    assert len(reason_of(ValueError("word " * 1000))) < 650


class Sizes(nn.Module):
    """Takes two of its sizes for numbers, of an input and inside another."""

    def forward(self, x: Tensor, state: list[dict[str, Tensor]]) -> Tensor:
        return x.view(3, 4, -1).sum() + state[0]["h"].view(-1, 2)


def test_axes_that_torch_finds_fixed_are_named_in_both_modes() -> None:
    x, h, free = torch.randn(3, 4, 5), torch.randn(6, 2), Dim.DYNAMIC
    shapes = {"x": {1: free, 2: free}, "state": [{"h": {1: free}}]}
    said = "axis 1 of x can only be 4, axis 1 of state[0]['h'] can only be 2"
    for strict in (False, True):
        with pytest.raises(Exception, match="Constraints violated") as failure:
            export(Sizes(), (x, [{"h": h}]), dynamic_shapes=shapes, strict=strict)
        assert fixed_axes(failure.value) == short_reason_of(failure.value) == said
        assert reason_of(failure.value) == f"UserError: {said}"


def test_where_torch_says_more_its_words_are_kept() -> None:
    fixed = (
        "  - You marked L['x'].size()[1] as dynamic but your code specialized it to be a constant "
        "(4)."
    )
    assert fixed_axes(ValueError(fixed)) == "axis 1 of x can only be 4"
    assert fixed_axes(ValueError(f"{fixed}\n  - The values of a and b must be equal.")) == ""
    assert short_reason_of(ValueError("first\nsecond")) == "ValueError: first"
