"""Hugging Face's hub: whether it can be reached is asked once, instead of five times a file.

Without a connection its library repeats every request for 23 seconds.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bnconvert.errors import first_line

_LONGEST = 5.0  # seconds for an answer; a name may be looked up for longer


@contextmanager
def hub_asked_once() -> Iterator[str | None]:
    """Ask the hub for an answer; where none comes, only what was downloaded before is looked at.

    Yields:
        Why it cannot be reached; None where it can, or where nobody asks because it is not
        installed or switched off (HF_HUB_OFFLINE).
    """
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        yield None
        return
    before = constants.HF_HUB_OFFLINE
    failure = None if before else _failure(constants.ENDPOINT)
    if failure is None:
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield failure
    finally:
        constants.HF_HUB_OFFLINE = before


def _failure(address: str) -> str | None:
    """Return why an address gives no answer in time; any answer is one."""
    hub: Any = importlib.import_module("huggingface_hub")
    said: list[str | None] = []

    def ask() -> None:
        try:
            hub.utils.get_session().head(address, timeout=_LONGEST)
        except Exception as failure:  # of whichever client it has
            said.append(f"{address}: {first_line(failure)}")
        else:
            said.append(None)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_LONGEST)
    return said[0] if said else f"{address}: no answer in {_LONGEST:g} seconds"
