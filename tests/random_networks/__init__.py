"""Networks that are drawn at random: layers, norms, and what may lie between them.

Nobody thought of these: a layer or a norm may be called twice, a value read by anything, a norm
lie after a pooling after a sum. The same seed draws the same network.
"""

from tests.random_networks.interfaces import Drawn as Drawn, RandomNetwork as RandomNetwork
from tests.random_networks.traits import Traits as Traits

SHAPE = (3, 4, 8, 8)
