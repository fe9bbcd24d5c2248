"""Small models around a norm: every case of the matrix of field/FOLD.md, and more."""

from tests.topologies import (
    affine,
    after_conv,
    after_linear,
    attention,
    before_layers,
    branches,
    libraries,
    networks,
    precision,
    shared,
    through,
    traps,
)
from tests.topologies.topology import Topology as Topology

TOPOLOGIES = tuple(
    topology
    for family in (
        after_conv,
        after_linear,
        before_layers,
        shared,
        through,
        attention,
        affine,
        branches,
        networks,
        traps,
        precision,
        libraries,
    )
    for topology in family.TOPOLOGIES
)
