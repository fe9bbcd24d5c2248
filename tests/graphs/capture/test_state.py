from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.capture.state import why_stateful
from bnconvert.graphs.example import Example
from tests.zoo import CacheInForward, Net, trained

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Stateful(Net):
    """Changes what it keeps by `change`, and multiplies its output by `factor`."""

    def __init__(self, change: Callable[["Stateful"], None]) -> None:
        super().__init__()
        self.register_buffer("seen", torch.ones(()))
        self.kept = torch.ones(())
        self.calls = 1
        self.history: list[int] = []
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        self.change(self)
        y = super().forward(x)
        return y * self.get_buffer("seen") * self.kept * self.calls * (1 + len(self.history))


def count_in_buffer(model: Stateful) -> None:
    model.get_buffer("seen").add_(1)


def rebind_buffer(model: Stateful) -> None:
    model.seen = model.get_buffer("seen") + 1


def count_in_attribute(model: Stateful) -> None:
    model.kept.add_(1)


def rebind_attribute(model: Stateful) -> None:
    model.kept = model.kept + 1


def replace_attribute(model: Stateful) -> None:
    """The new tensor may well lie where the old one lay."""
    number = float(model.kept)
    del model.kept
    model.kept = torch.tensor(number + 1)


def count_in_python(model: Stateful) -> None:
    model.calls += 1


def remember(model: Stateful) -> None:
    model.history.append(1)


CHANGES = {
    "seen": [count_in_buffer, rebind_buffer],
    "kept": [count_in_attribute, rebind_attribute, replace_attribute],
    "calls": [count_in_python],
    "history": [remember],
}


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, some in CHANGES.items() for change in some]
)
def test_a_forward_that_changes_what_it_depends_on_is_refused_by_name(
    name: str, change: Callable[[Stateful], None]
) -> None:
    model = trained(Stateful(change))
    refusal = why_stateful(model, Example.of((X,)))
    assert refusal is not None
    assert refusal.text.startswith(f"{name}: the eval forward changes it")
    assert model.get_buffer("seen") == model.kept == model.calls == 1
    assert model.history == []


def test_what_is_kept_and_never_read_or_the_same_each_time_is_no_state() -> None:
    class Keeping(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            self.activation, self.shape = y, y.shape
            return y

    class Dropping(Net):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(super().forward(x))

    for model in (trained(Keeping()), trained(Dropping()), trained(CacheInForward())):
        assert why_stateful(model, Example.of((X,))) is None


def test_a_fold_of_its_parts_computes_on_and_an_export_is_refused(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.get_buffer("count").add_(1)
            y: Tensor = self.net(x) * self.get_buffer("count")
            return y

    model = trained(Scaled())
    folded = bnc.fold(model, (X,))
    assert any("count: the eval forward changes it" in note for note in folded.report.notes)
    with torch.no_grad():
        for step in range(1, 4):
            torch.testing.assert_close(folded.module(X), model.net(X) * step)
    with pytest.raises(bnc.ExportError, match="count: the eval forward changes it"):
        bnc.export(model, (X,), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(bnc.CaptureError, match="seen: the eval forward changes it"):
        bnc.export(
            trained(Stateful(count_in_buffer)),
            (X,),
            tmp_path / "model.onnx",
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )


def test_a_stream_that_a_norm_remembers_is_state_too() -> None:
    model = bnc.convert(trained(Net()), bnc.Adaptive(over="stream"))
    refusal = why_stateful(model, Example.of((X,)))
    assert refusal is not None
    assert "norm." in refusal.text


def test_an_instance_norm_left_in_training_mode_is_told_from_what_a_forward_does() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True)).eval()
    model[1].train()
    with pytest.raises(
        bnc.CaptureError, match=r"in training mode inside .*; call model\.eval\(\)$"
    ):
        bnc.fold(model, (X,))
    assert len(bnc.fold(model.eval(), (X,)).module.state_dict()) == 2, "a weight and a bias"


def test_what_counts_in_either_mode_is_not_told_to_call_eval() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.get_buffer("count").add_(1)
            return x + self.get_buffer("count")

    model = nn.Sequential(Net(), Counter()).eval()
    model[1].train()
    refusal = why_stateful(model, Example.of((X,)))
    assert refusal is not None
    assert refusal.text.startswith("1.count: the eval forward changes it")
    assert "in training mode" not in refusal.text
    assert refusal.remedy.startswith("change it in training mode only")
    assert model[1].training
    assert model[1].count == 0
