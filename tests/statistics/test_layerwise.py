"""Data-dependent paths, shared norms, a memory limit, and what cannot be measured so."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from tests.precise import farthest, layer_by_layer, statistics_of
from tests.statistics.float64_batches import data
from tests.zoo import Net, trained


class Paths(nn.Module):
    """Batches of four go by `left`, others by `right`, all through `shared`.

    `shared` is registered first, so that it would finish first if the order were the model's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.BatchNorm2d(4)
        self.left, self.right = Net(), Net()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shared(self.left(x) if len(x) == 4 else self.right(x) * 2)
        return y


def test_batches_that_take_different_paths_meet_again() -> None:
    model = trained(Paths()).double()
    wanted: dict[str, tuple[Tensor, Tensor]] = {}
    twin = copy.deepcopy(model)
    for path, batches in (("left", data()[:1]), ("right", data()[1:])):
        part = statistics_of_part(twin, path, batches)
        wanted |= part
    values = torch.cat(
        [twin.left(data()[0])] + [twin.right(batch) * 2 for batch in data()[1:]]
    ).detach()
    result = bnc.recompute_statistics(model, data())
    measured = statistics_of(model)
    assert farthest(measured, wanted) < 1e-12
    torch.testing.assert_close(measured["shared"][0], values.mean((0, 2, 3)))
    assert "2 passes over the data were needed" in result.report.notes


def statistics_of_part(
    model: Paths, path: str, batches: list[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    part = model.get_submodule(path)
    found = layer_by_layer(part, batches)
    with torch.no_grad():
        for name, (mean, var) in found.items():
            part.get_buffer(f"{name}.running_mean").copy_(mean)
            part.get_buffer(f"{name}.running_var").copy_(var)
    return {f"{path}.{name}": pair for name, pair in found.items()}


def test_a_batch_that_never_comes_blocks_nobody() -> None:
    class Exit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            output: Tensor = y if len(x) == 2 else self.second(y.relu())
            return output

    model = trained(Exit()).double()
    report = bnc.recompute_statistics(model, data()).report
    assert [row.samples for row in report.statistics] == [12, 10]
    assert report.notes == ()


def test_paths_that_cross_are_inseparable() -> None:
    class Crossing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.a(self.b(x).relu()) if len(x) == 2 else self.b(self.a(x).relu())
            return y

    report = bnc.recompute_statistics(trained(Crossing()).double(), data()).report
    assert any(note.startswith("a, b: called several times in one") for note in report.notes)


class SharedHead(nn.Module):
    """A norm of its own, one that three levels share, and one behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.last = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        levels = [self.head(self.conv(F.adaptive_avg_pool2d(x, size))) for size in (8, 4, 2)]
        first, second, third = (F.interpolate(level, 8) for level in levels)
        y: Tensor = self.last((first + second + third).relu())
        return y


def test_a_shared_norm_is_measured_over_its_calls_and_what_follows_by_its_final_statistics() -> (
    None
):
    model = trained(SharedHead()).double()
    batches = data()
    report = bnc.recompute_statistics(model, batches).report
    measured = statistics_of(model)

    whole = torch.cat(batches)
    with torch.no_grad():
        stem = F.batch_norm(
            whole,
            *population(whole),
            model.get_parameter("stem.weight"),
            model.get_parameter("stem.bias"),
        ).relu()
        calls = [
            model.conv(F.adaptive_avg_pool2d(part, size))
            for part in stem.split([4, 2, 6])
            for size in (8, 4, 2)
        ]
        flat = torch.cat([c.transpose(0, 1).flatten(1) for c in calls], 1)
        torch.testing.assert_close(measured["head"][0], flat.mean(1))
        torch.testing.assert_close(measured["head"][1], flat.var(1, correction=0))
        behind: list[Tensor] = []
        hook = model.get_submodule("last").register_forward_pre_hook(
            lambda m, inputs: behind.append(inputs[0])
        )
        model(whole)
        hook.remove()
    torch.testing.assert_close(measured["last"][0], population(behind[0])[0])
    torch.testing.assert_close(measured["last"][1], population(behind[0])[1])
    (advice,) = (note for note in report.notes if note.startswith("head: called several times"))
    assert 'convert with Separate(domains="calls")' in advice
    remarks = {row.path: row.remark for row in report.statistics}
    assert remarks == {"stem": "", "head": "over its calls, by mini-batches", "last": ""}


def population(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)


@functools.lru_cache
def grid(size: int) -> Tensor:
    """A tensor that the first forward makes and all others use."""
    return torch.arange(size * size * 64, dtype=torch.float64).reshape(1, 1, size * 8, size * 8)


class Gridded(nn.Module):
    """Reads a tensor that is cached for the whole process, and changes tensors in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x + grid(4) / 1000).relu_()
        z = y * 2
        z += x
        output: Tensor = self.b(z * grid(4).numpy().max() + y)
        return output


def test_under_a_memory_limit_it_is_the_same_to_the_bit() -> None:
    grid.cache_clear()
    for model, shape in ((Gridded(), (3, 32, 32)), (trained(SharedHead()), (3, 8, 8))):
        model = trained(model).double()
        batches = data((4, 2, 6, 5), *shape)
        kept = [batch.clone() for batch in batches]
        result = bnc.recompute_statistics(model, batches)
        free = statistics_of(model)
        result.undo()
        for limit in (0, 400_000):
            report = bnc.recompute_statistics(model, batches, memory_limit=limit).report
            limited = statistics_of(model)
            for path, pair in free.items():
                assert torch.equal(limited[path][0], pair[0])
                assert torch.equal(limited[path][1], pair[1])
            assert any("MB were moved to a file" in note for note in report.notes)
        assert all(map(torch.equal, batches, kept))
    assert grid(4).untyped_storage().nbytes() == 1024 * 8


def test_a_forward_that_changes_its_input_is_refused_where_the_data_are_needed_again() -> None:
    class Scaling(SharedHead):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    model = trained(Scaling()).double()
    before = statistics_of(model)
    with pytest.raises(bnc.StatisticsError, match=r"changes its input in place.*batch\.clone"):
        bnc.recompute_statistics(model, data())
    assert farthest(statistics_of(model), before) == 0
    bnc.recompute_statistics(model, data(), forward=lambda m, x: m(x.clone()))


def test_compiled_parts_run_uncompiled() -> None:
    model = trained(nn.Sequential(Net(), nn.BatchNorm2d(4))).double()
    wanted = layer_by_layer(model, data())
    model.get_submodule("0").compile(backend="aot_eager")
    bnc.recompute_statistics(model, data())
    assert farthest(statistics_of(model), wanted) < 1e-12
