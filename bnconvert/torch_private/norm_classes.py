"""What torch's norm classes share: the base of instance norms, the check of an input's dimensions.

Stands in for a public base class of instance norms, and a public form of the check that every
BatchNormNd makes. Known to work since torch 2.10. `_BatchNorm` and `_NormBase` may be used
anywhere: they are how every tool around torch recognizes a batch norm.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm


def is_instance_norm(module: nn.Module) -> bool:
    """Tell whether a module is one of torch's instance norms, lazy ones too."""
    return isinstance(module, _InstanceNorm)


def check_dimensions(origin: type[_BatchNorm], norm: _NormBase, x: Tensor) -> None:
    """Check the input of a norm as the class that it was before does.

    Raises:
        ValueError: such as "expected 4D input (got 3D input)".
    """
    check: Callable[[_NormBase, Tensor], None] = origin._check_input_dim
    check(norm, x)
