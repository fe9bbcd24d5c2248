"""Every remedy that is printed works: where it is followed literally, the error is gone.

A message that is new needs a row in tests/remedies/, or a reason in tests/remedies/unprovoked.py.
"""

from pathlib import Path

import pytest

from tests.remedies.arguments import ARGUMENTS
from tests.remedies.command_line import COMMAND_LINE
from tests.remedies.conversion import CONVERSION
from tests.remedies.copies import COPIES
from tests.remedies.data import DATA
from tests.remedies.device import DEVICE
from tests.remedies.diagnosis import DIAGNOSIS
from tests.remedies.domain_names import DOMAIN_NAMES
from tests.remedies.domains import DOMAINS
from tests.remedies.equalizing import EQUALIZING
from tests.remedies.exports import EXPORTS
from tests.remedies.files import FILES
from tests.remedies.folds import FOLDS
from tests.remedies.image_folders import IMAGE_FOLDERS
from tests.remedies.messages import Message, messages
from tests.remedies.models import MODELS
from tests.remedies.modules import MODULES
from tests.remedies.norms import NORMS
from tests.remedies.policies import POLICIES
from tests.remedies.preprocess import PREPROCESS
from tests.remedies.reports import REPORTS
from tests.remedies.restoring import RESTORING
from tests.remedies.row import Row
from tests.remedies.runtime import RUNTIME
from tests.remedies.statistics import STATISTICS
from tests.remedies.unprovoked import UNPROVOKED

ROWS = (
    *ARGUMENTS,
    *COMMAND_LINE,
    *CONVERSION,
    *COPIES,
    *DATA,
    *DEVICE,
    *DIAGNOSIS,
    *DOMAIN_NAMES,
    *DOMAINS,
    *EQUALIZING,
    *EXPORTS,
    *FILES,
    *FOLDS,
    *IMAGE_FOLDERS,
    *MODELS,
    *MODULES,
    *NORMS,
    *POLICIES,
    *PREPROCESS,
    *REPORTS,
    *RESTORING,
    *RUNTIME,
    *STATISTICS,
)
MESSAGES = tuple(messages())


def parameter(row: Row) -> object:
    marks = pytest.mark.slow if row.slow else ()
    return pytest.param(row, id=f"{row.file}: {row.part}", marks=marks)


def of_row(row: Row) -> list[Message]:
    """Return the messages that a row is about: the one that is its part, or has it."""
    of_file = [message for message in MESSAGES if message.file == row.file]
    whole = [message for message in of_file if message.template == row.part]
    return whole or [message for message in of_file if is_in(row.part, message.template)]


def is_in(part: str, template: str) -> bool:
    """Tell whether a part is of a template; one without words is the whole template."""
    has_words = any(character.isalpha() for character in part)
    return part in template if has_words else part == template


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("row", [parameter(row) for row in ROWS])
def test_its_advice_works(row: Row, tmp_path: Path) -> None:
    with pytest.raises(Exception) as failure:  # noqa: PT011  (of any class, with this message)
        row.provoke(tmp_path)
    assert any(message.fits(str(failure.value)) for message in of_row(row)), failure.value
    row.follow(tmp_path)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: f"{m.file}:{m.line}")
def test_every_message_is_tried_or_says_why_not(message: Message) -> None:
    tried = any(message in of_row(row) for row in ROWS)
    excuses = UNPROVOKED.get(message.file, {})
    excused = any(is_in(part, message.template) for part in excuses)
    assert tried or excused, f"{message.file}:{message.line}: {message.template}"


def test_no_row_and_no_reason_is_left_over() -> None:
    about = {f"{row.file}: {row.part}": {m.template for m in of_row(row)} for row in ROWS}
    assert [row for row, found in about.items() if len(found) != 1] == []
    left = [
        f"{file}: {part}"
        for file, parts in UNPROVOKED.items()
        for part in parts
        if not any(m.file == file and is_in(part, m.template) for m in MESSAGES)
    ]
    assert left == []
