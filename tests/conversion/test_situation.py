"""Situation: its values are checked, and its domains have names."""

from typing import Any

import pytest

from bnconvert.conversion.situation import Situation


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0; use the samples per device, 1 or more"),
        ({"batch_size": 1, "world_size": 0}, "world_size is 0; use the number of processes"),
        ({"batch_size": 1, "task": "gans"}, "task is 'gans'; use one of detection, video, "),
        ({"batch_size": 1, "domains": 0}, "domains is 0; use the number of sources"),
        ({"batch_size": 1, "domains": "day"}, "domains is 'day'; use the number of sources"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Situation(**values)


def test_domains_have_names_where_there_are_several() -> None:
    assert Situation(1).domain_names == ()
    assert Situation(1, domains=2).domain_names == ("domain1", "domain2")
    assert Situation(1, domains=["day", "night"]).domain_names == ("day", "night")
    assert Situation(1, domains=("day",)).domain_names == ()


def test_devices_help_where_together_their_batch_is_not_small() -> None:
    assert Situation(4, world_size=4).devices_help
    assert not Situation(4, world_size=3).devices_help
    assert not Situation(64).devices_help
