"""Whatever is folded, converted, recomputed or exported of a random network is right or refused."""

import pytest

import bnconvert as bnc
from tests.random_networks import Drawn
from tests.random_networks.properties import PROPERTIES
from tests.random_networks.verdicts import WrongError, verdict_of

FEW = range(6)
MANY = range(100_000, 100_060)
#: Those that capture nothing, and take a moment.
CHEAP = ("convert", "statistics", "train", "look")
#: The last has loops of products, of which the factors leave the range of float32.
FOLDED = (0, 1, 2, 161)
FOLDED_TOO = range(100_000, 100_030)
EXPORTED = (1, 2)


def require(name: str, seed: int) -> None:
    """Fail where a property of a network is wrong; a refusal or an open question is none."""
    drawn = Drawn.of(seed)
    verdict = verdict_of(lambda: PROPERTIES[name](drawn))
    assert verdict.kind != "WRONG", f"{seed} ({drawn.traits}): {verdict.reason}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("seed", FEW)
def test_a_property_of_a_random_network_holds(name: str, seed: int) -> None:
    require(name, seed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", FOLDED)
def test_a_random_network_is_folded_right(seed: int) -> None:
    require("fold", seed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", EXPORTED)
def test_a_random_network_is_exported_and_proven(seed: int) -> None:
    require("export", seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHEAP)
def test_a_property_of_many_random_networks_holds(name: str) -> None:
    for seed in MANY:
        require(name, seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", FOLDED_TOO[::10])
def test_many_random_networks_are_folded_right(start: int) -> None:
    for seed in range(start, start + 10):
        require("fold", seed)


def test_a_property_that_does_not_hold_is_told_apart_from_a_refusal() -> None:
    def wrong() -> None:
        raise WrongError("off by one")

    def broken() -> None:
        raise KeyError("layers")

    def bare() -> None:
        raise bnc.ExportError("it failed")

    def refused() -> None:
        raise bnc.ExportError("layers.0: trains; call model.eval()")

    kinds = [verdict_of(ask).kind for ask in (wrong, broken, bare, refused, lambda: None)]
    assert kinds == ["WRONG", "WRONG", "WRONG", "refused", "ok"]
