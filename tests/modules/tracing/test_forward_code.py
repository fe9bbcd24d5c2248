from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.modules.tracing.forward_code import names_in_forward


def normalize(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


class Calling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def inner(self, x: Tensor) -> Tensor:
        return normalize(x)


class Inheriting(Calling):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else x


def test_methods_functions_and_base_classes_are_followed() -> None:
    for module in (Calling(), Inheriting()):
        assert "batch_norm" in names_in_forward(module)
    assert "batch_norm" not in names_in_forward(nn.Sequential(Calling()))


def test_torchs_own_modules_are_not_read() -> None:
    assert names_in_forward(nn.BatchNorm2d(3)) == frozenset()
