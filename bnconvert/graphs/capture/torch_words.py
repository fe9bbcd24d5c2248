"""What torch.export says of a failure, as one line: its sentences and fixes, no advertising."""

import re
import textwrap

from bnconvert.errors import first_line

_LENGTH = 600
#: Where the reason ends and general advice begins, which names tools and not the model.
_ADVICE = re.compile(
    r"\n*(The error above occurred when calling torch\.export"
    r"|The following call raised this error"
    r"|To (?:fix|debug) this|Potential framework code culprit|User Stack|User stack|from user code)"
)
_POINTERS = re.compile(
    r"\s*For more information(?: about this error)?,? ?(?:see: \S+|run with TORCH_LOGS=\S+)\.?"
)


#: A size that torch was told may vary, and that is a number to the forward.
_FIXED = re.compile(
    r"- You marked L\['(\w+)'\]((?:\[[^\]]+\])*)\.size\(\)\[(\d+)\] as dynamic but your code "
    r"specialized it to be a constant \((\d+)\)"
)
_POINT = re.compile(r"^\s*- ", re.MULTILINE)


def fixed_axes(failure: BaseException) -> str:
    """Return which axes can only have the size of the example, if that is all that torch says."""
    text = str(failure)
    found = [*dict.fromkeys(_FIXED.findall(text))]
    if not found or len(_POINT.findall(text)) != len(_FIXED.findall(text)):
        return ""
    return ", ".join(f"axis {axis} of {name}{key} can only be {n}" for name, key, axis, n in found)


def short_reason_of(failure: BaseException) -> str:
    """Return what torch says of a failure in a sentence: the first, or which axes are fixed."""
    return fixed_axes(failure) or first_line(failure)


def reason_of(failure: BaseException) -> str:
    """Return the kind of a failure and all that torch says of it and suggests, in one line."""
    if fixed := fixed_axes(failure):
        return f"{type(failure).__name__}: {fixed}"
    text = _POINTERS.sub("", _ADVICE.split(str(failure))[0])
    words = textwrap.shorten(" ".join(text.split()), _LENGTH, placeholder=" …").rstrip(".")
    name = type(failure).__name__
    return f"{name}: {words}" if words else name
