"""Norms after attention, and after convolutions whose weights are mixed for each sample."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.topologies.topology import Topology


class Attention(nn.Module):
    """Self-attention over the pixels of an image, its heads on the batch axis, then a norm."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.qkv, self.norm = heads, nn.Conv2d(4, 18, 1), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q, k, v = (part.reshape(n * self.heads, -1, h * w) for part in self.qkv(x).chunk(3, 1))
        mixed = self.weights(q.transpose(1, 2) @ k) @ v.transpose(1, 2)
        return F.silu(self.norm(mixed.transpose(1, 2).reshape(n, -1, h, w)))

    def weights(self, scores: Tensor) -> Tensor:
        """Return with which weights the values of all pixels are averaged for each pixel."""
        return scores.softmax(-1)


class SigmoidAttention(Attention):
    """Attention whose weights do not sum to one."""

    def weights(self, scores: Tensor) -> Tensor:
        return scores.sigmoid()


class MixedConvolution(nn.Module):
    """CondConv: every sample is convolved with its own mixture of a bank's weights."""

    def __init__(self, *, bias: bool = False) -> None:
        super().__init__()
        self.routing, self.norm = nn.Linear(4, 3), nn.BatchNorm2d(6)
        self.bank = nn.Parameter(torch.randn(3, 6 * 4 * 9))
        self.biases = nn.Parameter(torch.randn(3, 6)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        mixture = torch.sigmoid(self.routing(x.mean((2, 3))))
        weight = (mixture @ self.bank).view(n * 6, 4, 3, 3)
        bias = None if self.biases is None else (mixture @ self.biases).view(n * 6)
        y = F.conv2d(x.reshape(1, n * 4, h, w), weight, bias, padding=1, groups=n)
        y = y.permute(1, 0, 2, 3).view(n, 6, h, w)
        return F.silu(self.norm(y))


class OneMixture(nn.Module):
    """A convolution with one mixture for the whole batch, and a bias that is stored or none."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.bank, self.norm = nn.Parameter(torch.randn(3, 6 * 4)), nn.BatchNorm2d(6)
        self.bias = nn.Parameter(torch.randn(6)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = (x.mean((0, 2, 3))[:3] @ self.bank).view(6, 4, 1, 1)
        return F.silu(self.norm(F.conv2d(x, weight, self.bias)))


_ONE_SAMPLE = ((1, 4, 8, 8),)

TOPOLOGIES = (
    Topology("attention_heads_bn", Attention, arithmetic=1, dynamic=True),
    Topology("attention_one_head_bn", lambda: Attention(1), arithmetic=1, dynamic=True),
    Topology(
        "attention_sigmoid_bn_TRAP",
        SigmoidAttention,
        gone=0,
        standing=("a product of two matrices",),
        dynamic=True,
    ),
    Topology("condconv_bn", MixedConvolution, arithmetic=1, dynamic=True),
    Topology("condconv_bias_bn", lambda: MixedConvolution(bias=True), arithmetic=1, dynamic=True),
    Topology("condconv_one_sample_bn", MixedConvolution, _ONE_SAMPLE, arithmetic=1),
    Topology("mixed_weight_bn", lambda: OneMixture(bias=False), _ONE_SAMPLE, arithmetic=1),
    Topology("mixed_weight_bias_bn", lambda: OneMixture(bias=True), _ONE_SAMPLE, arithmetic=1),
)
