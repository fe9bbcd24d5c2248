"""Arrays of JAX's vision transformers, as timm's own models read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bnconvert.cli.checkpoints import load_checkpoint
from bnconvert.errors import LoadError, UsageError
from tests.cli.checkpoints.test_checkpoints import network, same

timm = pytest.importorskip("timm")


def transformer(classes: int = 5) -> nn.Module:
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    model: nn.Module = timm.models.VisionTransformer(num_classes=classes, **sizes)
    return model


def arrays(path: Path) -> Path:
    """Write random weights under the names and in the shapes that Google published."""
    block = "Transformer/encoderblock_0/"
    shapes = {
        "embedding/kernel": (4, 4, 3, 8),
        "embedding/bias": (8,),
        "cls": (1, 1, 8),
        "Transformer/posembed_input/pos_embedding": (1, 5, 8),
        "Transformer/encoder_norm/scale": (8,),
        "Transformer/encoder_norm/bias": (8,),
        "head/kernel": (8, 5),
        "head/bias": (5,),
        f"{block}MlpBlock_3/Dense_0/kernel": (8, 32),
        f"{block}MlpBlock_3/Dense_0/bias": (32,),
        f"{block}MlpBlock_3/Dense_1/kernel": (32, 8),
        f"{block}MlpBlock_3/Dense_1/bias": (8,),
        f"{block}MultiHeadDotProductAttention_1/out/kernel": (2, 4, 8),
        f"{block}MultiHeadDotProductAttention_1/out/bias": (8,),
    }
    for part in ("query", "key", "value"):
        shapes[f"{block}MultiHeadDotProductAttention_1/{part}/kernel"] = (8, 2, 4)
        shapes[f"{block}MultiHeadDotProductAttention_1/{part}/bias"] = (2, 4)
    for part in ("LayerNorm_0", "LayerNorm_2"):
        shapes |= {f"{block}{part}/scale": (8,), f"{block}{part}/bias": (8,)}
    draw = np.random.default_rng(0)
    held: Any = {n: draw.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    np.savez(path, **held)
    return path


def test_they_are_loaded_as_timm_loads_them(tmp_path: Path) -> None:
    path = arrays(tmp_path / "vit.npz")
    model, theirs = transformer(), transformer()
    load_checkpoint(model, path)
    timm.models.load_checkpoint(theirs, str(path))
    assert same(model, theirs)
    assert not same(model, transformer())


def test_a_head_that_is_skipped_in_silence_there_is_refused_here(tmp_path: Path) -> None:
    path = arrays(tmp_path / "vit.npz")
    message = r"fills all but 2 of .* \(head\.weight, head\.bias\); .*--model-kwargs num_classes=N"
    with pytest.raises(LoadError, match=message):
        load_checkpoint(transformer(classes=7), path, classes="num_classes")


def test_what_no_model_reads_is_refused(tmp_path: Path) -> None:
    path = arrays(tmp_path / "vit.npz")
    with pytest.raises(LoadError, match="holds NumPy arrays, which Sequential cannot load; give"):
        load_checkpoint(network(), path)
    np.savez(tmp_path / "other.npz", a=torch.zeros(3).numpy())
    with pytest.raises(LoadError, match=r"the model does not load it .*; give the arrays of this"):
        load_checkpoint(transformer(), tmp_path / "other.npz")
    (tmp_path / "pointer.npz").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(LoadError, match=r"pointer\.npz: is a Git LFS pointer"):
        load_checkpoint(transformer(), tmp_path / "pointer.npz")


def test_arrays_are_not_taken_for_averaged_weights(tmp_path: Path) -> None:
    path = arrays(tmp_path / "vit.npz")
    with pytest.raises(UsageError, match=r"--ema: of averaged weights, .*vit\.npz holds none"):
        load_checkpoint(transformer(), path, ema=True)
