import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.reporting.records import Finding
from tests.zoo import IMAGE, NormCalledTwice


class Closed(nn.Module):
    """Checks its input, which torch.fx cannot trace; calls one norm twice, and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.spare = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 4:
            raise ValueError("four channels")
        x = self.norm(self.layer(x))
        return torch.as_tensor(self.norm(x))


class Deciding(nn.Module):
    """Reads a number to decide, which no capture can."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.abs() + 1)
        return torch.as_tensor(self.norm(x) if float(x.sum()) > 0 else x)


def model_of(part: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), part).eval()


def found(model: nn.Module, inputs: tuple[Tensor, ...] | None = IMAGE) -> dict[str, Finding]:
    wanted = ("BN009", "BN020", "BN022")
    return {f.id: f for f in bnc.inspect(model, inputs).findings if f.id in wanted}


def test_without_inputs_it_is_said_what_would_count_the_calls() -> None:
    findings = found(model_of(Closed()), None)
    assert findings.keys() == {"BN020"}
    assert findings["BN020"].fix == "inspect the model with example inputs to see them"


def test_with_inputs_the_shared_and_the_idle_norm_of_a_closed_part_are_found() -> None:
    findings = found(model_of(Closed()))
    assert findings.keys() == {"BN009", "BN022"}
    shared = findings["BN009"]
    assert (shared.severity, shared.paths) == ("warning", ("1.norm",))
    assert shared.message.startswith("called twice in one forward with the example inputs")
    assert findings["BN022"].paths == ("1.spare",)


def test_a_norm_for_each_call_is_the_way_out() -> None:
    class Mended(Closed):
        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.spare(self.norm(self.layer(x)))) if x.shape[1] == 4 else x

    assert found(model_of(Mended())) == {}


def test_a_closed_root_is_looked_into_as_well() -> None:
    model = Closed().eval()
    assert found(model, (torch.zeros(2, 4, 8, 8),)).keys() == {"BN009", "BN022"}


def test_what_traces_is_said_once() -> None:
    class Open(Closed):
        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.norm(self.norm(self.layer(x))))

    report = bnc.inspect(model_of(Open()), IMAGE)
    assert sorted(f.id for f in report.findings if f.id in ("BN009", "BN022")) == ["BN009", "BN022"]


def test_a_part_that_no_graph_has_is_counted_by_the_forward() -> None:
    report = bnc.inspect(model_of(Deciding()), IMAGE)
    (row,) = report.norms
    assert row.calls == 2
    assert [f.paths for f in report.findings if f.id == "BN009"] == [("1.norm",)]
    assert "BN020" not in {f.id for f in report.findings}


def test_inputs_that_the_forward_does_not_take_answer_nothing() -> None:
    findings = found(model_of(Closed()), (torch.zeros(2, 5, 8, 8),))
    assert findings.keys() == {"BN020"}
    assert findings["BN020"].fix.endswith("the notes say why")


def test_one_set_of_statistics_for_each_call_is_no_shared_norm() -> None:
    inside = bnc.convert(NormCalledTwice(), bnc.Separate(domains="calls"))

    class Checked(nn.Module):
        def __init__(self, inside: nn.Module) -> None:
            super().__init__()
            self.inside = inside

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] != 3:
                raise ValueError("three channels")
            return torch.as_tensor(self.inside(x))

    assert found(Checked(inside).eval()) == {}
    assert found(Checked(NormCalledTwice()).eval()).keys() == {"BN009"}
