import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bnconvert.cli.device import beside, device_of_option, moved
from bnconvert.cli.models.model_source import load_model
from bnconvert.cli.models.program_file import load_program
from bnconvert.cli.sources.scores import loss_of
from bnconvert.errors import LoadError, UsageError
from tests.cli.conftest import Run

META = torch.device("meta")
Plant = Callable[[str | None, int], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Let torch say that so many accelerators of a kind are here."""

    def planted(kind: str | None, count: int) -> None:
        found = None if kind is None else torch.device(kind)
        monkeypatch.setattr("torch.accelerator.is_available", lambda: count > 0)
        monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: found)
        monkeypatch.setattr("torch.accelerator.device_count", lambda: count)

    return planted


def loader() -> Iterator[Tensor]:
    yield from torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)).split(32)


@pytest.mark.parametrize(
    ("asked", "kind", "count", "there"),
    [
        ("cuda", None, 0, "cpu"),
        ("cuda:2", "cuda", 2, "cpu, cuda:0, cuda:1"),
        ("mps", "cuda", 1, "cpu, cuda:0"),
        ("graphics", "cuda", 1, "cpu, cuda:0"),
    ],
)
def test_one_that_is_not_there_is_refused_with_those_that_are(
    run: Run, factory: str, plant: Plant, asked: str, kind: str | None, count: int, there: str
) -> None:
    plant(kind, count)
    result = run("fold", f"{factory}:broken", "--device", asked)  # which is not even called
    assert result.code == 2
    assert result.err == f"error: --device {asked}: is not there; there is {there}\n"


def test_one_without_float64_is_refused(plant: Plant) -> None:
    plant("mps", 1)
    if torch.backends.mps.is_built():
        pytest.skip("what torch says of it depends on the machine")
    with pytest.raises(UsageError, match="--device mps: holds no numbers in float64, in which"):
        device_of_option("mps")


def test_files_are_the_same_as_without(run: Run, factory: str) -> None:
    Path("batches.py").write_text("from tests.cli.test_device import loader\n")
    data = "--data", "batches.py:loader"
    for name, device in (("bare", ()), ("named", ("--device", "cpu"))):
        model = f"{factory}:plain", *device
        assert run("convert", *model, "--policy", "Frozen()", "-o", f"{name}.pt").code == 0
        assert run("recompute", *model, *data, "-o", f"{name}.safetensors").code == 0
        assert run("fold", *model, "-o", f"{name}.pt2").code == 0
        assert run("export", *model, "-o", f"{name}.onnx").code == 0
        assert run("verify", *model, f"{name}.onnx").code == 0
    assert Path("named.onnx").read_bytes() == Path("bare.onnx").read_bytes()
    for one, other in (
        [torch.load(f"{name}.pt", weights_only=True) for name in ("bare", "named")],
        [load_file(f"{name}.safetensors") for name in ("bare", "named")],
    ):
        assert all(torch.equal(one[key], other[key]) for key in {*one, *other})
    programs = [torch.export.load(f"{name}.pt2") for name in ("bare", "named")]
    first, second = (program.module()(*program.example_inputs[0]) for program in programs)
    assert torch.equal(first, second)


def test_a_command_that_is_advised_runs_there_too(run: Run, factory: str) -> None:
    given = f"{factory}:classifier", "--device", "cpu"
    Path("batches.py").write_text("from tests.cli.test_device import loader\n")
    result = run("diagnose", *given, "--data", "batches.py:loader")
    advised = shlex.split(result.out.splitlines()[-1].partition(": ")[2])
    assert advised[:5] == ["bnconvert", "recompute", *given]
    assert run("export", f"{factory}:plain", "--device", "cpu").out.endswith("--device cpu\n")


def test_a_file_takes_none(run: Run, factory: str) -> None:
    run("export", f"{factory}:plain", "-o", "m.onnx")
    result = run("verify", "m.onnx", "m.onnx", "--device", "cpu")
    assert result.code == 2
    assert "--device: m.onnx is a file and is as it is; leave it out" in result.err


def test_inputs_and_batches_follow_the_model() -> None:
    x = torch.ones(2, 3)
    model, example = moved(nn.Linear(3, 3), {"x": x, "scale": 2.0}, META)
    assert {tensor.device for tensor in model.parameters()} == {META}
    assert isinstance(example, dict)
    assert (example["x"].device, example["scale"]) == (META, 2.0)
    batch = beside((x, {"boxes": [x]}, "name"), META)
    assert (batch[0].device, batch[1]["boxes"][0].device, batch[2]) == (META, META, "name")
    assert beside(batch, META) is batch


def test_the_inputs_of_input_follow_where_a_factory_has_put_its_model(factory: str) -> None:
    with Path(factory).open("a") as file:
        file.write("\ndef elsewhere(): return torch.nn.BatchNorm2d(3, device='meta')\n")
    _, example = load_model(f"{factory}:elsewhere", None, ["1,3,8,8"])
    assert isinstance(example, tuple)
    assert example[0].device == META


def test_a_named_score_gets_its_batch_there(factory: str) -> None:
    with Path(factory).open("a") as file:
        file.write("\ndef loss(output, batch): return float(batch.is_meta)\n")
    for device, there in ((None, 0.0), ("meta", 1.0)):
        score = loss_of(f"{factory}:loss", None, device)
        assert score is not None
        assert float(score(torch.ones(2), torch.ones(2))) == there


def test_a_program_runs_there_whatever_its_operators_say(tmp_path: Path) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            counts = torch.arange(3, dtype=torch.float32, device="cpu")
            y: Tensor = self.layer(x) + counts
            return y

    program = torch.export.export(Counts(), (torch.ones(2, 3),))
    torch.export.save(program, tmp_path / "counts.pt2")
    module, example = load_program(tmp_path / "counts.pt2", META)
    assert isinstance(example, tuple)
    assert example[0].device == META
    assert module(*example).device == META


def test_a_model_that_cannot_be_moved_is_said() -> None:
    class Stays(nn.Module):
        def to(self, *_: object, **__: object) -> "Stays":
            raise RuntimeError("out of memory")

    with pytest.raises(LoadError) as said:
        moved(Stays(), None, META)
    assert str(said.value) == (
        "--device meta: Stays cannot be moved there (RuntimeError: out of memory); "
        "leave it out, or name another"
    )
