from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

import bnconvert as bnc
from bnconvert.graphs.aten import aten
from bnconvert.graphs.example import Example
from tests.excerpts import capture_of
from tests.torch_release import needs_torch
from tests.zoo import IMAGE, ZOO, FrozenBatchNorm2d, Net, build, trained


@pytest.mark.parametrize("name", [model.name for model in ZOO])
def test_the_graph_computes_what_the_model_computes(name: str) -> None:
    model, inputs = build(name)
    with torch.no_grad():
        expected = pytree.tree_leaves(model(*inputs))
        actual = pytree.tree_leaves(capture_of(model, inputs).module(*inputs))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("rows", [1, 2])
def test_the_batch_size_may_vary_also_after_a_single_sample(rows: int) -> None:
    model, _ = build("residual")
    captured = capture_of(model, (IMAGE[0][:rows],))
    assert captured.notes == ()
    for size in (1, 3, 5):
        x = torch.randn(size, 3, 8, 8)
        torch.testing.assert_close(captured.module(x), model(x))


def test_keyword_inputs_are_taken() -> None:
    model, (image, vector) = build("two_inputs")
    module = capture_of(model, {"vector": vector, "image": image}).module
    torch.testing.assert_close(
        module(vector=vector, image=image), model(image=image, vector=vector)
    )


def test_a_forward_that_fixes_the_batch_is_captured_with_a_reason() -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).reshape(2, -1) if x.shape[0] == 2 else x

    inputs = (IMAGE[0].clone(),)
    captured = capture_of(trained(Fixed()), inputs)
    assert vars(inputs[0]) == {}  # torch.export marks the tensors that it is given
    (note,) = captured.notes
    assert note.startswith("captured with a fixed batch size, because a dynamic batch size: ")
    assert captured.dynamic_shapes is None
    with pytest.raises(AssertionError):
        captured.module(torch.randn(3, 3, 8, 8))


def test_given_dynamic_shapes_are_used() -> None:
    model, inputs = build("plain")
    height = torch.export.Dim("height", min=4, max=64)
    module = capture_of(model, inputs, ({2: height},)).module
    assert module(torch.randn(2, 3, 11, 8)).shape == (2, 4, 11, 8)


def test_a_model_that_cannot_be_captured_is_refused_with_every_attempt() -> None:
    class Placed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.data_ptr() % 2 == 0 else x

    with pytest.raises(bnc.CaptureError) as error:
        capture_of(trained(Placed()), IMAGE)
    text = str(error.value)
    for attempt in ("a dynamic batch size: ", "a fixed batch size: ", "and strict mode: "):
        assert attempt in text
    assert text.startswith("Placed: torch.export cannot capture it")
    assert "capture a submodule" in text


def test_where_a_number_decides_the_only_attempt_is_named() -> None:
    class Guarded(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(bnc.CaptureError, match=r"\(a dynamic batch size: GuardOnData") as error:
        capture_of(trained(Guarded()), IMAGE)
    assert "strict mode" not in str(error.value), "it branches on the same number"


def test_a_failed_capture_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """torch.export prints the whole graph on stderr: 3,430 lines for a Faster R-CNN."""

    class Guarded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 0] if x.sum() > 0 else x

    with pytest.raises(bnc.CaptureError):
        capture_of(Guarded(), IMAGE)
    assert capfd.readouterr() == ("", "")


def test_the_users_model_is_not_touched() -> None:
    model, inputs = build("cache_in_forward")
    model.train()
    random, state = torch.get_rng_state(), model.state_dict(keep_vars=True)
    before = {name: (id(t), t.detach().clone()) for name, t in state.items()}
    module = capture_of(model, inputs).module
    assert model.training
    assert model.cache == {}
    assert torch.equal(torch.get_rng_state(), random)
    module.double()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.fill_(0)
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert (id(tensor), tensor.dtype) == (before[name][0], before[name][1].dtype)
        assert torch.equal(tensor, before[name][1])


def test_nothing_in_the_graph_writes_in_place() -> None:
    module = capture_of(*build("residual")).module
    names = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    assert "aten.relu.default" in names
    assert not [name for name in names if name.removesuffix(".default").endswith("_")]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
@pytest.mark.parametrize("training", [True, False])
def test_frozen_norms_are_captured_as_eval_batch_norm(norm: type, training: bool) -> None:
    """Without this a frozen norm shows no batch norm operator, and nothing folds it."""
    model = bnc.convert(trained(Net(norm)), bnc.Frozen())
    model.get_submodule("norm").train(training)  # it does not matter
    module = capture_of(model, IMAGE).module
    (node,) = (n for n in module.graph.nodes if n.target is aten.batch_norm.default)
    assert node.args[5] is False
    torch.testing.assert_close(module(*IMAGE), model(*IMAGE))


def test_a_model_in_training_mode_is_captured_in_eval_mode() -> None:
    model, inputs = build("plain")
    expected = model(*inputs)
    captured = capture_of(model.train(), inputs)
    assert captured.notes == ()
    torch.testing.assert_close(captured.module(*inputs), expected)


def test_keyword_inputs_beside_positional_ones_are_captured_with_a_dynamic_batch() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor, *, offset: Tensor) -> Tensor:
            result: Tensor = self.norm(x) + offset
            return result

    model = trained(Two())
    example = Example((torch.randn(4, 3),), {"offset": torch.randn(4, 3)})
    captured = capture_of(model, example)
    assert not captured.notes
    x, offset = torch.randn(7, 3), torch.randn(7, 3)
    torch.testing.assert_close(captured.module(x, offset=offset), model(x, offset=offset))


class Gathering(nn.Module):
    """Takes any number of inputs, by position and by name."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, *views: Tensor, scale: Tensor | None = None, **more: Tensor) -> Tensor:
        total: Tensor = sum(self.norm(x) for x in (*views, *more.values()))
        return total if scale is None else total * scale


@needs_torch(2, 14, "torch.export varies no size of what **inputs gather")
@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ()), (3, ()), (0, ("image",)), (0, ("b", "a")), (2, ("a",)), (1, ("a", "scale"))],
)
def test_gathered_inputs_are_captured_with_a_dynamic_batch(
    count: int, names: tuple[str, ...]
) -> None:
    def inputs(rows: int) -> Example:
        args = tuple(torch.randn(rows, 3) for _ in range(count))
        return Example(args, {name: torch.randn(rows, 3) for name in names})

    model = trained(Gathering())
    captured = capture_of(model, inputs(2))
    assert not captured.notes
    other = inputs(5)
    torch.testing.assert_close(
        captured.module(*other.args, **other.kwargs), model(*other.args, **other.kwargs)
    )


@needs_torch(2, 14, "strict mode does not capture this model")
def test_a_model_that_only_strict_mode_captures_keeps_its_dynamic_batch() -> None:
    """The other mode loses its way where a module raises and the forward goes on."""

    class Trying(Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor
            try:
                y = self.conv(x, lengths=None)
            except TypeError:
                y = self.norm(self.conv(x))
            return y

    model = trained(Trying())
    captured = capture_of(model, IMAGE)
    (note,) = captured.notes
    assert note.startswith("captured with a dynamic batch size and strict mode, because")
    x = torch.randn(5, *IMAGE[0].shape[1:])
    torch.testing.assert_close(captured.module(x), model(x))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (({0: 2.5},), "expected None, an int, a Dim, Dim.AUTO, Dim.STATIC, or Dim.DYNAMIC"),
        ({"image": {0: Dim("b")}}, "its top-level keys must be the arg names ['x']"),
        (({0: Dim("b"), 2: Dim("h", max=5)},), "8 not in range [2, 5]"),
        (({1: Dim("c")},), "Suggested fixes: c = 3"),
        (({0: 5},), "Static shape constraint of 5 does not match input size of 2"),
        (({0: Dim("b")}, {0: Dim("b")}), "`inputs` has 1 elements, but `dynamic_shapes` has 2"),
    ],
)
def test_shapes_that_cannot_vary_are_refused_in_torchs_own_words(shapes: Any, words: str) -> None:
    model, inputs = build("plain")
    with pytest.raises(bnc.CaptureError) as error:
        capture_of(model, (inputs[0][:2],), shapes)
    text = str(error.value)
    assert words in text
    assert "\n" not in text
    assert "draft_export" not in text
    assert text.endswith("or leave them out: then the batch size varies if it can")


def test_shapes_are_not_blamed_where_the_model_cannot_be_captured_at_all() -> None:
    class Guarded(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(bnc.CaptureError, match="neither with the given dynamic_shapes"):
        capture_of(trained(Guarded()), IMAGE, ({0: Dim.DYNAMIC},))
