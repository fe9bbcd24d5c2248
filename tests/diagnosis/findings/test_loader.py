from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

import bnconvert as bnc
from bnconvert.diagnosis.findings.loader import BatchSizes, batch_findings
from bnconvert.diagnosis.norm_inputs import NormInput
from bnconvert.modules.survey import survey
from tests.zoo import Net, trained

FLAT = {"norm": NormInput(images=2, values=2)}


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        yield torch.zeros(3)


def found(
    sizes: BatchSizes | None,
    model: nn.Module | None = None,
    inputs: Mapping[str, NormInput] | None = None,
) -> list[tuple[str, str]]:
    surveyed = survey(trained(Net()).train() if model is None else model)
    return [(f.id, f.severity) for f in batch_findings(surveyed, inputs or {}, sizes)]


@pytest.mark.parametrize(
    ("loader", "sizes"),
    [
        (DataLoader(range(64), 16), BatchSizes(16, None)),  # type: ignore[arg-type]
        (DataLoader(range(65), 16), BatchSizes(16, 1)),  # type: ignore[arg-type]
        (DataLoader(range(65), 16, drop_last=True), BatchSizes(16, None)),  # type: ignore[arg-type]
        (DataLoader(range(3)), BatchSizes(1, None)),  # type: ignore[arg-type]
        (DataLoader(Stream(), 16), BatchSizes(16, None)),
        (
            DataLoader(range(9), batch_sampler=BatchSampler(SequentialSampler(range(9)), 4, False)),  # type: ignore[arg-type]
            BatchSizes(4, 1),
        ),
        (DataLoader(range(9), batch_size=None), None),  # type: ignore[arg-type]
        ([torch.zeros(3)], None),
    ],
)
def test_the_sizes_are_read_without_loading_anything(
    loader: object, sizes: BatchSizes | None
) -> None:
    assert BatchSizes.of(loader) == sizes


def test_only_images_count() -> None:
    assert found(BatchSizes(16, None)) == []
    assert found(BatchSizes(15, None)) == [("BN203", "warning")]
    assert found(BatchSizes(3, None)) == [("BN203", "error")]


def test_norms_that_do_not_normalize_by_a_batch_alone_are_not_meant() -> None:
    model = trained(Net()).train()
    for rewrite in (bnc.Frozen(), bnc.Group(4), bnc.Renorm(), bnc.Sync(), bnc.Instance()):
        assert found(BatchSizes(2, 1), bnc.convert(model, rewrite)) == []
    assert found(BatchSizes(4, None), nn.SyncBatchNorm.convert_sync_batchnorm(model)) == []
    model.norm.eval()
    assert found(BatchSizes(2, 1), model) == []


def test_the_normalization_batch_stands_in_the_message() -> None:
    inputs = {"norm": NormInput(images=1, values=49)}
    (finding,) = batch_findings(survey(trained(Net())), inputs, BatchSizes(2, None))
    assert finding.message.startswith("training normalizes by 2 images (98 to 98 values")


def test_a_last_batch_of_one_stops_a_training_only_where_it_has_one_value() -> None:
    assert found(BatchSizes(16, 1)) == [("BN205", "warning")]
    assert found(BatchSizes(16, 1), inputs=FLAT) == [("BN205", "error")]
    assert found(BatchSizes(16, 3)) == [("BN311", "info")]
    assert found(BatchSizes(16, 4)) == []


def test_one_value_per_image_is_worth_knowing_and_harms_in_small_batches() -> None:
    assert found(None, inputs=FLAT) == [("BN013", "info")]
    assert ("BN013", "warning") in found(BatchSizes(8, None), inputs=FLAT)
    assert found(BatchSizes(32, None), inputs=FLAT) == []


def test_a_loader_that_does_not_say_its_sizes_is_a_note() -> None:
    report = bnc.inspect(trained(Net()), loader=[torch.zeros(3)])
    assert report.notes == ("no findings", *report.notes[1:])
    assert report.notes[1].startswith("the loader does not say how large its batches are")
