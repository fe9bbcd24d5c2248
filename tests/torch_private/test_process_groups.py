import pytest
from torch import distributed as dist

from bnconvert.torch_private.process_groups import process_group_named


def test_a_group_is_found_by_its_name(lone_process_group: dist.ProcessGroup) -> None:
    assert process_group_named(lone_process_group.group_name) is lone_process_group


def test_a_name_that_no_group_has_is_refused(lone_process_group: dist.ProcessGroup) -> None:
    with pytest.raises(RuntimeError, match="nobody"):
        process_group_named("nobody")
