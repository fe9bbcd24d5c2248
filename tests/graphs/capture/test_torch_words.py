import pytest

from bnconvert.graphs.capture.torch_words import reason_of

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
