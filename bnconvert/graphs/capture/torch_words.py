"""What torch.export says of a failure, as one line: its sentences and fixes, no advertising."""

import re
import textwrap

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


def reason_of(failure: BaseException) -> str:
    """Return the kind of a failure and all that torch says of it and suggests, in one line."""
    text = _POINTERS.sub("", _ADVICE.split(str(failure))[0])
    words = textwrap.shorten(" ".join(text.split()), _LENGTH, placeholder=" …").rstrip(".")
    name = type(failure).__name__
    return f"{name}: {words}" if words else name
