"""Which operators cannot jump: a smaller change of what they read changes their result by less.

All others may: they compare, choose, count or round, or divide by what may be close to zero.
"""

from typing import Any

from torch import Tensor

from bnconvert.torch_private.operators import base_name

_LINEAR = (
    *("convolution", "mkldnn_convolution", "cudnn_convolution", "linear", "addmm", "mm", "bmm"),
    *("baddbmm", "addbmm", "mv", "dot", "add", "sub", "rsub", "neg", "mul", "addcmul", "lerp"),
    *("mean", "sum", "cumsum", "embedding"),
)
_NORMS = (
    *("native_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training"),
    *("batch_norm_with_update", "cudnn_batch_norm", "native_layer_norm", "native_group_norm"),
    "fused_rms_norm",
)
_ACTIVATIONS = (
    *("relu", "leaky_relu", "prelu", "prelu_kernel", "hardtanh", "clamp", "clamp_min", "clamp_max"),
    *("elu", "silu", "gelu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh", "softplus"),
    *("softmax", "safe_softmax", "log_softmax", "abs", "maximum", "minimum", "amax", "amin"),
    "scaled_dot_product_flash_attention_for_cpu",
)
_POOLING = (
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool2d", "adaptive_avg_pool3d", "upsample_nearest1d", "upsample_nearest2d"),
    *("upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d"),
    "upsample_trilinear3d",
)
_COPIES = (
    *("view", "unsafe_view", "reshape_alias", "permute", "transpose", "t", "expand", "squeeze"),
    *("unsqueeze", "slice", "select", "split", "split_with_sizes", "unbind", "as_strided", "cat"),
    *("stack", "repeat", "constant_pad_nd", "reflection_pad2d", "replication_pad2d", "roll"),
    *("flip", "clone", "copy", "to_copy", "detach", "alias", "lift_fresh", "lift_fresh_copy"),
    *("pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle", "channel_shuffle", "unfold"),
)
#: Their results do not depend on numbers.
_MADE = ("zeros", "ones", "full", "arange", "zeros_like", "ones_like", "full_like", "scalar_tensor")
_CONTINUOUS = frozenset((*_LINEAR, *_NORMS, *_ACTIVATIONS, *_POOLING, *_COPIES, *_MADE))


def may_jump(operator: Any, args: tuple[Any, ...], result: Any) -> bool:
    """Tell whether a call may turn a small change of its inputs into a large one of its result."""
    name = base_name(operator).strip("_")
    if name == "div" and not isinstance(args[1], Tensor):
        return False
    if isinstance(result, Tensor) and not result.numel():
        return False
    if isinstance(result, Tensor) and not result.is_floating_point():  # it may round
        return name not in _CONTINUOUS or any(
            isinstance(value, Tensor) and value.is_floating_point() for value in args
        )
    return name not in _CONTINUOUS
