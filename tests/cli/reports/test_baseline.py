from pathlib import Path

import pytest

from bnconvert.cli.reports.baseline import Baseline
from bnconvert.errors import UsageError
from bnconvert.reporting.records import Finding

OLD = Finding("BN005", "warning", ("a.bn", "b.bn"), "fact", "fix")
ROOT = Finding("BN413", "error", (), "fact", "fix")
HERE = "inspect net.py:factory"


def test_only_what_is_new_is_left_with_the_paths_at_which_it_is_new(tmp_path: Path) -> None:
    Baseline().knowing(HERE, [OLD, ROOT]).write(tmp_path / "known.json")
    known = Baseline.read(tmp_path / "known.json")
    assert known.new(HERE, [OLD, ROOT]) == ()
    wider = Finding("BN005", "warning", ("b.bn", "c.bn"), "fact", "fix")
    (new,) = known.new(HERE, [wider])
    assert new.paths == ("c.bn",)
    other = Finding("BN009", "warning", ("a.bn",), "fact", "fix")
    assert known.new(HERE, [OLD, other]) == (other,)


def test_what_is_known_of_one_command_and_model_is_new_for_another() -> None:
    known = Baseline().knowing(HERE, [OLD])
    assert known.new("inspect other.py:factory", [OLD]) == (OLD,)
    assert known.new("diagnose net.py:factory", [OLD]) == (OLD,)


def test_writing_again_forgets_what_is_gone_and_keeps_the_other_models() -> None:
    known = Baseline().knowing(HERE, [OLD]).knowing("inspect other.py:factory", [OLD])
    known = known.knowing(HERE, [])
    assert known.known == {HERE: {}, "inspect other.py:factory": {"BN005": ["a.bn", "b.bn"]}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"baseline_version": 2, "findings": {}}', "3"])
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "known.json").write_text(text)
    with pytest.raises(UsageError, match=r"known.json: is no baseline \(.*at another place"):
        Baseline.read(tmp_path / "known.json")
    with pytest.raises(UsageError, match=r"none.json: there is no such baseline"):
        Baseline.read(tmp_path / "none.json")
