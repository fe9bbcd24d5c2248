"""One row of the table: a message, how it comes about, and what its reader then does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[Path], object]


@dataclass(frozen=True)
class Row:
    """A message whose advice is followed.

    Attributes:
        file: where the message stands, below bnconvert.
        part: a part of it that no other message of the file has; {} where a value stands.
        provoke: raises it; gets an empty folder.
        follow: does what it advises, and nothing else differently; gets the same folder.
        slow: whether it is tried only with the slow tests.
    """

    file: str
    part: str
    provoke: Step
    follow: Step
    slow: bool = False
