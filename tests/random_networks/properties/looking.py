"""Verbs that only look at a model leave it as it is."""

import bnconvert as bnc
from tests.random_networks.interfaces import Drawn
from tests.random_networks.properties.measuring import batches_of, forward
from tests.random_networks.snapshot import Snapshot


def looks(drawn: Drawn) -> None:
    """Inspect, prepare and diagnose; the model is as it was."""
    model = drawn.model()
    before = Snapshot.of(model)
    str(bnc.inspect(model))
    before.require(model, "inspect")
    str(bnc.plan(model, bnc.Group(2) | bnc.Frozen() | bnc.Keep()))
    before.require(model, "plan")
    bnc.prepare(model, bnc.Frozen() | bnc.Keep(), weight_decay=0.1, accumulate=2)
    before.require(model, "prepare")
    try:
        str(bnc.diagnose(model, batches_of(drawn), forward=forward))
    finally:
        before.require(model, "diagnose")
