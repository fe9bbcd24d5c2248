"""What each norm is for: one small run each on scikit-learn's digits, which draw_norms.py draws."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from tiny_digits import Data, digits, error, network, trained
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite

#: By the name of a curve: its points.
Curves = dict[str, list[tuple[float, float]]]


def pretrained() -> tuple[nn.Module, Data, Data]:
    """Return a network that knows the digits, and both parts of the data."""
    training, held_out = digits()
    return trained(training, network(0)), training, held_out


def faint(data: Data, contrast: float = 0.3) -> Data:
    """Return the digits with less contrast on a grey background: another domain."""
    return data[0] * contrast + 0.4, data[1]


def learn(
    model: nn.Module, batches: Sequence[Data], rate: float, domains: Sequence[str | None] = (None,)
) -> nn.Module:
    """Train a model in place by SGD, and return it in eval mode; the domains come in turn."""
    model.train()
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=rate, momentum=0.9)
    for step, (images, labels) in enumerate(batches):
        name = domains[step % len(domains)]
        optimizer.zero_grad()
        with nullcontext() if name is None else bnc.domain(model, name):
            F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def frozen() -> Curves:
    """Fine-tune on two images at a time; the error, which was small before, by steps."""
    ways: dict[str, Rewrite] = {
        "Keep()": bnc.Keep(),
        "Frozen()": bnc.Frozen(),
        'Frozen(affine="trainable")': bnc.Frozen(affine="trainable"),
    }
    start, training, held_out = pretrained()
    batches = in_batches(training, 2)
    found: Curves = {}
    for name, rewrite in ways.items():
        model = bnc.convert(start, rewrite)
        found[name] = [(0, error(model.eval(), held_out))]
        for step in range(0, 600, 60):
            learn(model, batches[step : step + 60], 0.0003)
            found[name].append((step + 60, error(model, held_out)))
    return found


def in_batches(data: Data, size: int, epochs: int = 1) -> list[Data]:
    """Return batches in the order of the data."""
    return list(zip(data[0].split(size), data[1].split(size), strict=True)) * epochs


def sync() -> Curves:
    """Train by ten ranks of which each has one of the digits, by epochs.

    Drawn in one process: to normalize per rank is to normalize the parts of a batch separately,
    and `Sync` is to normalize it whole.
    """
    training, held_out = digits()
    ranks = [(training[0][training[1] == d], training[1][training[1] == d]) for d in range(10)]
    parts = zip(*(in_batches(rank, 8)[:14] for rank in ranks), strict=True)
    batches = [tuple(map(torch.cat, zip(*step, strict=True))) for step in parts]
    found: Curves = {}
    for name, rewrite in (("each rank for itself", bnc.Ghost(8)), ("Sync()", bnc.Keep())):
        model, found[name] = bnc.convert(network(0), rewrite), []
        for epoch in range(1, 11):
            learn(model, [(images, labels) for images, labels in batches], 0.03)
            found[name].append((epoch, error(model, held_out)))
    return found


def ghost() -> Curves:
    """Train by large batches that are normalized in parts; the error by the size of the parts."""
    training, held_out = digits()
    found: Curves = {"running (EMA)": [], "recomputed": []}
    for size in (4, 8, 16, 32, 64, 320):
        model = learn(
            bnc.convert(network(0), bnc.Ghost(size)), in_batches(training, 320, epochs=16), 0.1
        )
        found["running (EMA)"].append((size, error(model, held_out)))
        bnc.recompute_statistics(model, training[0].split(256))
        found["recomputed"].append((size, error(model, held_out)))
    return found


def virtual() -> Curves:
    """How far a small batch's statistics are from all images', by the size of the reference."""
    start, training, _ = pretrained()
    found: Curves = {f"batch of {size}": [] for size in (2, 8, 32)}
    for images in (0, 8, 32, 128):
        rewrite = bnc.Virtual(training[0][-images:]) if images else bnc.Keep()
        model = bnc.convert(start, rewrite).train()
        for size in (2, 8, 32):
            found[f"batch of {size}"].append((images, spread(model, training[0][:512], size)))
    return found


@torch.no_grad()
def spread(model: nn.Module, images: Tensor, size: int) -> float:
    """Return how far logits by batch are from those by precise statistics, in percent of these."""
    precise = bnc.revert(model)
    bnc.recompute_statistics(precise, images.split(256))
    wanted = precise.eval()(images)
    with bnc.update_statistics(model, False):
        got = torch.cat([model(part) for part in images.split(size)])
    return float(100 * (got - wanted).norm() / wanted.norm())


def renorm() -> Curves:
    """The factor r of the first norm's first channel, by training step."""
    start, training, _ = pretrained()
    runs = {
        "a new network, 32 at once": (network(0), 32),
        "a trained one, 32 at once": (start, 32),
        "a trained one, 4 at once": (start, 4),
    }
    found: Curves = {}
    for name, (begun, size) in runs.items():
        model = bnc.convert(begun, bnc.Renorm())
        norm = next(m for m in model.modules() if isinstance(m, bnc.NORM_CLASSES))
        seen: list[float] = []

        def note(norm: nn.Module, x: tuple[Tensor, ...], seen: list[float] = seen) -> None:
            seen.append(float(factor(norm, x[0])[0]))

        norm.register_forward_pre_hook(note)
        learn(model, in_batches(training, size)[:40], 0.02)
        found[name] = list(enumerate(seen, 1))
    return found


@torch.no_grad()
def factor(norm: nn.Module, x: Tensor, r_max: float = 3.0) -> Tensor:
    """Return r: the batch's standard deviation over the running one, limited."""
    eps = float(getattr(norm, "eps", 0.0))
    own = x.var((0, 2, 3), correction=0) + eps
    return (own / (norm.get_buffer("running_var") + eps)).sqrt().clamp(1 / r_max, r_max)


def separate() -> Curves:
    """Train on clear and on faint digits in turn; the error on each of them."""
    training, held_out = digits()
    domains = {"clear": (training, held_out), "faint": (faint(training), faint(held_out))}
    turns = zip(*(in_batches(known, 64, epochs=6) for known, _ in domains.values()), strict=True)
    batches = [batch for turn in turns for batch in turn]
    found: Curves = {}
    for name, policy in (("Keep()", bnc.Keep()), ("Separate()", bnc.Separate(tuple(domains)))):
        names = domains if name == "Separate()" else (None,)
        model = learn(bnc.convert(network(0), policy), batches, 0.05, list(names))
        plain = [model if n is None else bnc.revert(model, domain=n) for n in names] * 2
        tests = enumerate(zip(plain, domains.values(), strict=False))
        found[name] = [(i, error(network.eval(), unseen)) for i, (network, (_, unseen)) in tests]
    return found


def adaptive() -> Curves:
    """The error on another domain, without labels, by how many test images come at once."""
    start, _, held_out = pretrained()
    other = faint(held_out)
    rewrites: dict[str, Rewrite] = {
        "Keep()": bnc.Keep(),
        "Adaptive(prior=0)": bnc.Adaptive(prior=0),
        "Adaptive(prior=16)": bnc.Adaptive(prior=16),
        'Adaptive(over="stream")': bnc.Adaptive(over="stream"),
    }
    found: Curves = {}
    for name, rewrite in rewrites.items():
        found[name] = []
        for size in (1, 4, 16, 64, 256):
            model = bnc.convert(start, rewrite).eval()
            found[name].append((size, error(model, other, size)))
    return found


def instance() -> Curves:
    """Train on clear digits; the error by the contrast of the test images."""
    training, (images, labels) = digits()
    found: Curves = {}
    for name, rewrite in (("Keep()", bnc.Keep()), ("Instance()", bnc.Instance())):
        model = trained(training, bnc.convert(network(0), rewrite), epochs=16)
        found[name] = [
            (percent, error(model, (images * percent / 100, labels)))
            for percent in (10, 20, 40, 60, 80, 100)
        ]
    return found


def precise() -> Curves:
    """The error after few steps, by EMA and by statistics recomputed over so many images."""
    training, held_out = digits()
    model = learn(network(0), in_batches(training, 160, epochs=2), 0.1)
    found: Curves = {"running (EMA)": [], "recomputed": []}
    for images in (8, 32, 128, 512):
        found["running (EMA)"].append((images, error(model, held_out)))
        result = bnc.recompute_statistics(model, training[0][:images].split(64))
        found["recomputed"].append((images, error(model, held_out)))
        result.undo()
    return found
