"""scikit-learn's digits at 8 pixels and a small network with batch norm: for norm_effects.py."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPOCHS, STEP, TRAINED_ON, WIDTHS = 4, 32, 1280, (16, 32, 64)
Data = tuple[Tensor, Tensor]


def digits() -> tuple[Data, Data]:
    """Return images (N, 1, 8, 8) and labels: 1280 to train on, and 517 that are held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)[order] / 16
    labels = torch.as_tensor(data.target)[order]
    return (images[:TRAINED_ON], labels[:TRAINED_ON]), (images[TRAINED_ON:], labels[TRAINED_ON:])


def network(seed: int) -> nn.Sequential:
    """Return three blocks of convolution, batch norm and ReLU, a mean, and a classifier."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 10))


def trained(data: Data, model: nn.Module, epochs: int = EPOCHS, seed: int = 0) -> nn.Module:
    """Train a network in place by SGD with a rate that falls to 0; return it in eval mode."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    total = epochs * len(data[1]) // STEP
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=total)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(data[1]), generator=generator).split(STEP):
            optimizer.zero_grad()
            F.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
            optimizer.step()
            rates.step()
    return model.eval()


@torch.no_grad()
def error(model: nn.Module, data: Data, size: int = TRAINED_ON) -> float:
    """Return the share of wrong classes in percent; of the model as it is, in whatever mode."""
    parts = zip(data[0].split(size), data[1].split(size), strict=True)
    wrong = sum(int((model(images).argmax(1) != labels).sum()) for images, labels in parts)
    return 100 * wrong / len(data[1])
