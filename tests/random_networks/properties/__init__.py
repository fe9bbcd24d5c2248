"""What must hold of every random network: one function for each, which raises what broke."""

from collections.abc import Callable

from tests.random_networks.interfaces import Drawn
from tests.random_networks.properties.converting import converts
from tests.random_networks.properties.exporting import exports
from tests.random_networks.properties.folding import folds
from tests.random_networks.properties.looking import looks
from tests.random_networks.properties.measuring import measures
from tests.random_networks.properties.training import trains

PROPERTIES: dict[str, Callable[[Drawn], None]] = {
    "fold": folds,
    "convert": converts,
    "statistics": measures,
    "train": trains,
    "look": looks,
    "export": exports,
}
