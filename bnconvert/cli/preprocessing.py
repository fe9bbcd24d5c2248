"""--preprocess: how the file normalizes its raw inputs, read from text and written again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bnconvert.exporting.input_choice import Preprocess

_FORM = "write MEAN/STD, as 127/128 or 0.5,0.5,0.5/0.25,0.25,0.25, or NAME=MEAN/STD"
MeanAndStd = tuple[list[float], list[float]]


def parse_preprocess(texts: Sequence[str] | None) -> "Preprocess | None":
    """Return (mean, std), or a mapping of them by the names of inputs; None without texts.

    Raises:
        typer.BadParameter: a text is not of this form, or an input is named twice.
    """
    if not texts:
        return None
    named: dict[str, MeanAndStd] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        if name in named or (not name and len(texts) > 1):
            raise typer.BadParameter(f"{text}: name each input once, as NAME=MEAN/STD")
        named[name] = _mean_and_std(text, numbers)
    return named.get("", named)


def _mean_and_std(text: str, numbers: str) -> MeanAndStd:
    """Read numbers from MEAN/STD, each one or one per channel."""
    try:
        mean, std = ([float(n) for n in part.split(",")] for part in numbers.split("/"))
    except ValueError as failure:
        raise typer.BadParameter(f"{text}: {_FORM}") from failure
    return mean, std


def preprocess_words(preprocess: Any) -> list[str]:
    """Return the words of a command line that mean this; none where there is none."""
    if preprocess is None:
        return []
    named = preprocess if isinstance(preprocess, dict) else {"": preprocess}
    words: list[str] = []
    for name, numbers in named.items():
        text = "/".join(",".join(map(str, part)) for part in numbers)
        words += ["--preprocess", f"{name}={text}" if name else text]
    return words


PreprocessOption = Annotated[
    list[str] | None,
    typer.Option(
        "--preprocess",
        metavar="MEAN/STD",
        help="The ONNX file takes raw inputs and computes (x - MEAN) / STD itself. MEAN and STD "
        "are one number or one per channel: 127/128 or 0.5,0.5,0.5/0.25,0.25,0.25. Where several "
        "inputs may be meant, once for each that is raw: NAME=MEAN/STD.",
    ),
]
