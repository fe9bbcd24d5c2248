import gc
from pathlib import Path

import torch
from torch import nn

import bnconvert as bnc
from tests.cuda.models import (
    IMAGES,
    Deep,
    assert_close,
    needs_cuda,
    on_cuda,
    tensors_of,
)
from tests.zoo import trained

pytestmark = needs_cuda


def test_the_random_numbers_of_the_device_go_on_as_if_no_one_had_looked(tmp_path: Path) -> None:
    model = on_cuda(trained(Deep()))
    before = torch.cuda.get_rng_state()
    bnc.inspect(model, IMAGES.cuda())
    bnc.diagnose(model, [IMAGES.cuda()])
    bnc.export(model, (IMAGES.cuda(),), tmp_path / "m.onnx")
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_no_memory_of_the_device_stays_taken(tmp_path: Path) -> None:
    model = on_cuda(trained(Deep()))
    batches = [IMAGES.cuda()]
    bnc.recompute_statistics(model, batches)  # libraries take their own memory at first use
    bnc.export(model, (batches[0],), tmp_path / "m.onnx")
    gc.collect()
    before = torch.cuda.memory_allocated()
    bnc.recompute_statistics(model, batches)
    bnc.diagnose(model, batches)
    bnc.export(model, (batches[0],), tmp_path / "again.onnx")
    gc.collect()
    assert torch.cuda.memory_allocated() == before


def test_norms_are_restored_where_they_were_folded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    on_cpu = bnc.restore(model, [IMAGES])
    on_device = bnc.restore(on_cuda(model), [IMAGES.cuda()])
    assert {t.device.type for t in tensors_of(on_device)} == {"cuda"}
    assert_close([t.cpu() for t in tensors_of(on_device)], tensors_of(on_cpu), 1e-4)


def test_a_model_is_prepared_where_it_lies() -> None:
    model = on_cuda(trained(Deep())).train()
    prepared = bnc.prepare(model, bnc.Frozen())
    assert {t.device.type for t in tensors_of(prepared.model)} == {"cuda"}
