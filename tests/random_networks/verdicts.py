"""What came of asking a property of a network: it holds, it is refused, or something is wrong."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import bnconvert as bnc

Kind = Literal["ok", "refused", "cannot be judged", "not asked", "WRONG"]
_NUMBERS = re.compile(r"\d[\d.,e+-]*")


class WrongError(AssertionError):
    """A property does not hold."""


class NotAskedError(Exception):
    """The network has nothing that the property is about."""


@dataclass(frozen=True)
class Verdict:
    """What came of a property, and the reason."""

    kind: Kind
    reason: str = ""

    def __str__(self) -> str:
        """Return both in a line."""
        return f"{self.kind} {self.reason}".strip()


def verdict_of(ask: Callable[[], None]) -> Verdict:
    """Ask a property, and return what came of it; nothing but a network's own fault is let by."""
    try:
        ask()
    except WrongError as failure:
        return Verdict("WRONG", str(failure)[:600])
    except NotAskedError as failure:
        return Verdict("not asked", str(failure))
    except bnc.InconclusiveError as failure:
        ids = sorted({f"{f.id} {f.message}" for f in failure.report.findings if f.id > "BN412"})
        return Verdict("cannot be judged", "; ".join(ids)[:300])
    except bnc.VerificationError as failure:
        return Verdict("WRONG", f"VerificationError: {failure}"[:1500])
    except bnc.BnconvertError as failure:
        return _refusal(failure)
    except Exception as failure:  # a traceback in place of a sentence
        return Verdict("WRONG", f"raised {type(failure).__name__}: {failure}"[:600])
    return Verdict("ok")


def _refusal(failure: bnc.BnconvertError) -> Verdict:
    """Return a refusal; one without a fact and a remedy is wrong."""
    text = str(failure)
    said = f"{type(failure).__name__}: {_NUMBERS.sub('#', text)[:300]}"
    if ";" not in text or not re.search(r"[:;,] ", text):
        return Verdict("WRONG", f"no remedy: {said}")
    return Verdict("refused", said)
