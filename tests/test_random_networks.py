"""Whatever is folded, converted, recomputed or exported of a random network is right or refused."""

import pytest

from tests.random_networks import Drawn
from tests.random_networks.properties import PROPERTIES
from tests.random_networks.verdicts import verdict_of

FEW = range(6)
MANY = range(100_000, 100_120)
_CHEAP = ("fold", "convert", "statistics")
EXPORTED = range(3)


def require(name: str, seed: int) -> None:
    """Fail where a property of a network is wrong; a refusal or an open question is none."""
    drawn = Drawn.of(seed)
    verdict = verdict_of(lambda: PROPERTIES[name](drawn))
    assert verdict.kind != "WRONG", f"{seed} ({drawn.traits}): {verdict.reason}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", _CHEAP)
@pytest.mark.parametrize("seed", FEW)
def test_a_property_of_a_random_network_holds(name: str, seed: int) -> None:
    require(name, seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", MANY[::20])
def test_the_properties_of_many_random_networks_hold(start: int) -> None:
    for seed in range(start, start + 20):
        for name in _CHEAP:
            require(name, seed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", EXPORTED)
def test_a_random_network_is_exported_and_proven(seed: int) -> None:
    require("export", seed)
