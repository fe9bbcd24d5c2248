import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.statistics.interception import Interception, Watch
from bnconvert.statistics.targets import StatisticsTarget, find_targets
from bnconvert.statistics.unmeasured import UnmeasuredUses
from tests.zoo import build


def test_every_way_to_normalize_by_a_target_is_seen() -> None:
    norm, x = nn.BatchNorm1d(3).eval(), torch.randn(4, 3)
    seen: list[tuple[str, Tensor]] = []
    watch = Watch(find_targets(norm).measured, UnmeasuredUses())
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    with Interception(watch, norm, lambda target, values: seen.append((target.path, values))):
        norm(x)
        F.batch_norm(x, mean, var)
        F.batch_norm(input=x, running_mean=mean, running_var=var)
        torch.batch_norm(x, None, None, mean, var, False, 0.1, 1e-5, False)
        norm.forward(x)
        F.batch_norm(x, mean.detach(), var)
        F.batch_norm(x, mean[:], var.view(-1))
        F.batch_norm(x, mean.clone(), var)  # by other statistics
    assert [path for path, _ in seen] == ["(root)"] * 7
    assert all(values is x for _, values in seen)


def test_what_a_subclass_does_before_the_norm_is_part_of_what_is_seen() -> None:
    class Doubled(nn.BatchNorm1d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 2) - 1

    norm, x = Doubled(3).eval(), torch.randn(4, 3)
    seen: list[Tensor] = []
    watch = Watch(find_targets(norm).measured, UnmeasuredUses())
    with Interception(watch, norm, lambda target, values: seen.append(values)):
        norm(x)
    assert torch.equal(seen[0], x * 2)


def test_statistics_may_be_changed_on_arrival() -> None:
    model, inputs = build("plain")
    watch = Watch(find_targets(model).measured, UnmeasuredUses())

    def forget(target: StatisticsTarget, values: Tensor) -> None:
        target.set_values(values.mean((0, 2, 3)), values.var((0, 2, 3), correction=0))

    with torch.no_grad(), Interception(watch, model, forget):
        measured = model(*inputs)
    with torch.no_grad():
        model.get_submodule("norm").train()
        torch.testing.assert_close(measured, model(*inputs))


def test_a_call_that_trains_changes_no_statistics_while_they_are_measured() -> None:
    norm, x = nn.BatchNorm1d(3), torch.randn(4, 3) + 5
    watch = Watch(find_targets(norm).measured, UnmeasuredUses())
    with Interception(watch, norm, lambda target, values: None):
        norm(x)
    assert torch.equal(norm.get_buffer("running_mean"), torch.zeros(3))
