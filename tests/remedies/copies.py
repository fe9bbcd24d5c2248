"""Rows for models of which no independent copy or no graph can be made, and how they say so."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing.onnx_tracing import FlatCall
from bnconvert.graphs.capture.state import why_stateful
from bnconvert.graphs.example import Example
from tests.disguises import Sliced
from tests.remedies.row import Row

X = torch.randn(4, 4, 5, generator=torch.Generator().manual_seed(0))
GLOBAL: dict[str, Any] = {}


class Layers(nn.Module):
    """A convolution and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class Registered(Layers):
    """Reads itself from a variable of its file."""

    def forward(self, x: Tensor) -> Tensor:
        GLOBAL["model"] = GLOBAL.get("model", self)
        y: Tensor = GLOBAL["model"].layers(x)
        return y


class Hidden(Layers):
    """Reads itself from a list of its class."""

    registry: ClassVar[list[Any]] = []

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.registry[0].layers(x)
        return y


def registered() -> nn.Module:
    GLOBAL["model"] = Registered()
    model: nn.Module = GLOBAL["model"]
    return model


def hidden() -> nn.Module:
    Hidden.registry[:] = [Hidden()]
    model: nn.Module = Hidden.registry[0]
    return model


class Holder:
    """Holds a part of a model, and what nobody can copy."""

    def __init__(self, run: Any) -> None:
        self.run, self.rows = run, (row for row in range(3))


def leading_back() -> nn.Module:
    """Return a model with an attribute that leads back to it and cannot be copied."""
    model = Layers()
    holder = Holder(model.layers)
    vars(model)["again"] = lambda x: holder.run(x)
    return model


class Plus(Layers):
    """Adds one."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y + 1


def with_forward_that_leads_back() -> nn.Module:
    """Return a model that adds one by a forward of its own, which leads back to it."""
    model = Layers()
    holder = Holder(model.layers)
    vars(model)["forward"] = lambda x: holder.run(x) + 1
    return model


def without(model: nn.Module, name: str) -> None:
    """Measure a model without an attribute, which is set again afterwards."""
    removed = vars(model).pop(name)
    bnc.recompute_statistics(model, [X])
    vars(model)[name] = removed


class Counting(Layers):
    """Multiplies by the number of its calls; in training mode only, it counts them."""

    def __init__(self, in_training_only: bool) -> None:
        super().__init__()
        self.in_training_only = in_training_only
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        calls = self.get_buffer("calls")
        if self.training or not self.in_training_only:
            calls.add_(1)
        return super().forward(x) * calls


def require_stateless(model: nn.Module) -> Any:
    if refusal := why_stateful(model.eval(), Example((X,), {})):
        raise ValueError(str(refusal))


class Listed(nn.Module):
    """Holds its norms in a list, or in a ModuleList."""

    def __init__(self, in_modules: bool) -> None:
        super().__init__()
        norms = [nn.BatchNorm1d(4)]
        self.norms: Any = nn.ModuleList(norms) if in_modules else norms

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = norm(x)
        return x


class Calling(nn.Module):
    """Holds a norm as the model that uses only its statistics, and calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(x)
        return y


class Picture:
    """Holds a tensor where torch does not look."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels


class Returning(nn.Module):
    """Returns what it takes, in a form."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Any) -> Any:
        return self.form(x)


def flat(form: Any, value: Any = X) -> Any:
    """Run a model as the tracer does."""
    FlatCall(Returning(form), Example((value,), {}))(X)


COPIES = (
    Row(
        "modules/copies/copying.py",
        "leads back to the model",
        lambda _: bnc.recompute_statistics(with_forward_that_leads_back(), [X]),
        lambda _: bnc.recompute_statistics(Plus(), [X]),
    ),
    Row(
        "modules/copies/copying.py",
        "leads back to the model",
        lambda _: bnc.recompute_statistics(leading_back(), [X]),
        lambda _: without(leading_back(), "again"),
    ),
    Row(
        "modules/copies/copying.py",
        "the forward of its class reads the model",
        lambda _: bnc.convert(registered(), bnc.Frozen()),
        lambda _: bnc.convert(registered(), bnc.Frozen(), inplace=True),
    ),
    Row(
        "modules/copies/copying.py",
        "the forward of its class reads the model",
        lambda _: bnc.recompute_statistics(registered(), [X]),
        lambda _: bnc.recompute_statistics(Layers(), [X]),
    ),
    Row(
        "modules/copies/preserving.py",
        "calls this module of the model itself",
        lambda _: bnc.recompute_statistics(hidden(), [X]),
        lambda _: bnc.recompute_statistics(Layers(), [X]),
    ),
    Row(
        "modules/survey.py",
        "{}",
        lambda _: bnc.convert(nn.Sequential(nn.DataParallel(Layers())), bnc.Frozen()),
        lambda _: nn.Sequential(nn.DataParallel(bnc.convert(Layers(), bnc.Frozen()))),
    ),
    Row(
        "modules/tracing/trace.py",
        "in a plain attribute",
        lambda _: bnc.convert(Listed(in_modules=False), bnc.Frozen()),
        lambda _: (
            bnc.convert(Listed(in_modules=True), bnc.Frozen()),
            bnc.convert(Listed(in_modules=False), bnc.Keep()),
        ),
    ),
    Row(
        "conversion/plan.py",
        "uses its statistics without calling it",
        lambda _: bnc.convert(nn.Sequential(Sliced()), bnc.Frozen()),
        lambda _: (
            bnc.convert(nn.Sequential(Calling()), bnc.Frozen()),
            bnc.convert(nn.Sequential(Sliced()), bnc.Keep()),
        ),
    ),
    Row(
        "graphs/capture/state.py",
        "{}; {}",
        lambda _: require_stateless(Counting(in_training_only=False)),
        lambda _: (
            require_stateless(Counting(in_training_only=True)),
            require_stateless(Counting(in_training_only=False).layers),
        ),
    ),
    Row(
        "graphs/opaque_objects.py",
        "its input is a {}",
        lambda _: flat(lambda x: x.pixels, Picture(X)),
        lambda _: [flat(lambda x: x, value) for value in ((X,), [X], {"x": X})],
    ),
    Row(
        "graphs/opaque_objects.py",
        "its forward returns a {}",
        lambda _: flat(Picture),
        lambda _: [flat(form) for form in (lambda x: (x,), lambda x: [x], lambda x: {"x": x})],
    ),
    Row(
        "graphs/opaque_objects.py",
        "its forward returns no tensor",
        lambda _: flat(lambda x: None),
        lambda _: flat(lambda x: x),
    ),
)
