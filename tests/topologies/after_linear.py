"""A norm behind a linear layer, a product of matrices, and what looks like one."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.topologies.layers import Apply, With, normed
from tests.topologies.topology import Shape, Topology

ROWS: tuple[Shape, ...] = ((2, 5),)
SQUARE: tuple[Shape, ...] = ((2, 6, 6),)
TURN = Apply(lambda x: x.transpose(1, 2))


def _product(function: object, *shapes: Shape) -> nn.Module:
    values = [torch.randn(shape) for shape in shapes]
    return nn.Sequential(With(function, *values), nn.BatchNorm1d(7))  # type: ignore[arg-type]


def _turned() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), TURN, nn.BatchNorm1d(7), TURN)


def _levit() -> nn.Module:
    class LinearNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.bn = nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.linear(x)
            result: torch.Tensor = self.bn(x.flatten(0, 1)).reshape_as(x)
            return result

    return nn.Sequential(LinearNorm(), nn.ReLU())


class DynamicProduct(nn.Module):
    """A product of two inputs: no weight to fold into."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(x @ y)
        return result


TOPOLOGIES = (
    Topology("linear_bn", lambda: normed(nn.Linear(5, 7)), ROWS, arithmetic=0, dynamic=True),
    Topology("linear_sq_bn", lambda: normed(nn.Linear(5, 5)), ROWS, arithmetic=0),
    Topology("linear_nobias_bn", lambda: normed(nn.Linear(5, 7, bias=False)), ROWS, arithmetic=0),
    Topology(
        "linear_affineless_bn", lambda: normed(nn.Linear(5, 7), affine=False), ROWS, arithmetic=0
    ),
    Topology("linear_one_feature_bn", lambda: normed(nn.Linear(5, 1)), ROWS, arithmetic=0),
    Topology("functional_linear_bn", lambda: _product(F.linear, (7, 5), (7,)), ROWS, arithmetic=0),
    Topology(
        "addmm_bn",
        lambda: _product(lambda x, w, b: torch.addmm(b, x, w), (5, 7), (7,)),
        ROWS,
        arithmetic=0,
    ),
    Topology(
        "addmm_scaled_bn",
        lambda: _product(lambda x, w, b: torch.addmm(b, x, w, beta=0.5, alpha=2), (5, 7), (7,)),
        ROWS,
        gone=0,
        standing=("addmm",),
    ),
    Topology(
        "addmm_transposed_bn",
        lambda: _product(lambda x, w, b: torch.addmm(b, x, w.t()), (7, 5), (7,)),
        ROWS,
        arithmetic=0,
    ),
    Topology("matmul_bn", lambda: _product(torch.matmul, (5, 7)), ROWS, arithmetic=0),
    Topology(
        "matmul_add_bn",
        lambda: _product(lambda x, w, b: x @ w + b, (5, 7), (7,)),
        ROWS,
        arithmetic=0,
    ),
    Topology(
        "matmul_turned_bn",
        lambda: nn.Sequential(With(torch.matmul, torch.randn(5, 7)), TURN, nn.BatchNorm1d(7)),
        ((2, 6, 5),),
        arithmetic=0,
        dynamic=True,
    ),
    Topology(
        "matmul_dynamic_bn",
        DynamicProduct,
        ((2, 6, 5), (2, 5, 4)),
        gone=0,
        standing=("a product of two matrices",),
    ),
    Topology("linear_perm_bn", _turned, ((2, 6, 5),), arithmetic=0, dynamic=True),
    Topology(
        "linear_image_perm_bn",
        lambda: nn.Sequential(
            nn.Linear(5, 8), Apply(lambda x: x.permute(0, 3, 1, 2)), nn.BatchNorm2d(8)
        ),
        ((2, 4, 4, 5),),
        arithmetic=0,
        dynamic=True,
    ),
    Topology("linear_levit_bn", _levit, ((2, 4, 6),), arithmetic=0, dynamic=True),
    Topology(
        "linear3d_bn_TRAP",
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)),
        SQUARE,
        gone=0,
        standing=("axis",),
    ),
    Topology(
        "linear3d_nobias_bn_TRAP",
        lambda: nn.Sequential(nn.Linear(6, 6, bias=False), nn.BatchNorm1d(6)),
        SQUARE,
        gone=0,
        standing=("axis",),
    ),
    Topology(
        "linear3d_one_position_bn",
        lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(1)),
        ((2, 1, 5),),
        arithmetic=0,
    ),
    Topology(
        "conv_bn1d_unbatched_linear1",  # (C, 1) for the convolution is (N, 1) for the norm
        lambda: nn.Sequential(nn.Conv1d(5, 7, 3), nn.BatchNorm1d(1)),
        ((5, 3),),
        arithmetic=0,
    ),
    Topology(
        "conv_bn1d_unbatched_TRAP",
        lambda: nn.Sequential(nn.Conv1d(5, 7, 1), nn.BatchNorm1d(7)),
        ((5, 7),),
        gone=0,
        standing=("batch axis",),
    ),
    Topology(
        "relu_linear_bn_relu",
        lambda: nn.Sequential(nn.ReLU(), *normed(nn.Linear(5, 7)), nn.ReLU()),
        ROWS,
        arithmetic=0,
    ),
)
