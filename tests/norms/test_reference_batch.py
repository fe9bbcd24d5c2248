import copy
import io

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.norms.reference_batch import ReferenceBatch
from tests.zoo import Net, trained

IMAGES = torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0))
INDICES = torch.arange(6)


def test_floating_tensors_take_the_dtype_of_the_inputs_and_others_keep_theirs() -> None:
    batch = ReferenceBatch((IMAGES, INDICES))
    placed = batch.like((IMAGES.double(), INDICES.double()), None)
    assert [t.dtype for t in placed] == [torch.float64, torch.int64]


def test_a_tensor_without_an_input_goes_to_the_model() -> None:
    (placed,) = ReferenceBatch((IMAGES,)).like((), torch.empty(1, device="meta"))
    assert (placed.device.type, placed.dtype) == ("meta", torch.float32)
    (placed,) = ReferenceBatch((IMAGES,)).like(({"x": 1},), None)
    assert placed is IMAGES


def test_it_is_moved_once_and_not_rounded_twice() -> None:
    batch = ReferenceBatch((IMAGES,))
    half = batch.like((IMAGES.half(),), None)
    assert batch.like((IMAGES.half() + 1,), None)[0] is half[0]
    torch.testing.assert_close(batch.like((IMAGES.double(),), None)[0], IMAGES.double())


def test_a_file_and_a_copy_hold_the_tensors_once() -> None:
    batch, sizes = ReferenceBatch((IMAGES,)), []
    for _ in range(2):
        file = io.BytesIO()
        torch.save(batch, file)
        sizes.append(file.tell())
        batch.like((IMAGES.double(),), None)
    assert sizes[0] == sizes[1]
    (placed,) = copy.deepcopy(batch).like((IMAGES,), None)
    assert torch.equal(placed, IMAGES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_that_changes_its_precision_after_it_was_converted_trains_on(
    dtype: torch.dtype,
) -> None:
    model = bnc.convert(trained(Net()), bnc.Virtual(IMAGES)).train()
    model(IMAGES)
    y = model.to(dtype)(IMAGES.to(dtype))
    assert y.dtype == dtype


class Centered(nn.Module):
    """It subtracts in place, from the tensor that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained(Net())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x.sub_(0.5))
        return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_changes_its_inputs_leaves_the_reference(dtype: torch.dtype) -> None:
    images = IMAGES.clone()
    model = bnc.convert(Centered(), bnc.Virtual(images)).to(dtype).train()
    x = IMAGES.to(dtype)
    first = model(x.clone())
    assert torch.equal(model(x.clone()), first)
    assert torch.equal(images, IMAGES)
