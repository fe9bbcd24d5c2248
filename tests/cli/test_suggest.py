"""`bnconvert suggest`: the policy, the reasons, and the command that shows what it does."""

import json
import shlex

from bnconvert.cli.suggest import TaskName
from bnconvert.conversion.situation import TASKS
from tests.cli.conftest import Run


def test_it_prints_the_verdict_first_and_a_command_that_works(run: Run, factory: str) -> None:
    result = run("suggest", f"{factory}:plain", "--batch-size", "2")
    assert (result.code, result.err) == (0, "")
    first, *rest = result.out.splitlines()
    assert first == "use Frozen(affine='frozen'); 1 norm: 1 Frozen(affine='frozen')"
    assert any(line.startswith("because: fine-tuning") for line in rest)
    assert rest[-1].startswith("to see what each norm is converted to: bnconvert convert ")
    words = shlex.split(rest[-1].partition("bnconvert ")[2])
    assert "1 norm: 1 Frozen(affine='frozen')" in run(*words).out


def test_its_options_are_those_of_the_function(run: Run, factory: str) -> None:
    where = ("suggest", f"{factory}:plain", "--batch-size", "4", "--json")
    found = json.loads(run(*where, "--from-scratch", "--world-size", "8").out)
    assert found["policy"] == "Sync(process_group=None)"
    assert found["situation"]["world_size"] == 8
    found = json.loads(run(*where, "--domain", "day", "--domain", "night").out)
    assert found["policy"].startswith("Separate(domains=('day', 'night')")
    assert json.loads(run(*where, "--task", "video").out)["situation"]["task"] == "video"


def test_the_tasks_are_those_of_the_function() -> None:
    assert tuple(TaskName) == TASKS


def test_what_is_wrong_is_a_sentence_and_exit_code_2(run: Run, factory: str) -> None:
    where = ("suggest", f"{factory}:plain")
    assert run(*where).code == 2
    assert run(*where, "--batch-size", "0").code == 2
    twice = run(*where, "--batch-size", "4", "--domain", "a", "--domain", "a")
    assert twice.code == 2
    assert "use different names without a dot" in twice.err
