"""A two-stage detector, two images a step: a policy by path, and a verified file.

torchvision's Faster R-CNN on the first blocks of EfficientNet-Lite0, with their ImageNet weights,
learns to find MNIST's zeros and ones that are drawn into photographs. Two images are few for the
backbone's norms, and the regions that the box head's norms see are of those two, related to each
other (Wu and Johnson, 2021, sections 4 and 6). The policy: the backbone frozen, group norm in the
head, and the result is written as a verified ONNX file. At this scale, one seed and 30 test
images, batch norm everywhere finds as much and is wrong about as often; what shows is the time of
a training step, and that 15 norms are folded away and 2 stand, with the reason.

    python samples/two_stage_detector.py --output out
"""

import sys
import time
from pathlib import Path

import torch
from small_detector import Scene, counted, detector, scenes
from small_digits import output_folder
from torch import nn

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite

STEPS, EVERY = 80, 16
Counts = list[tuple[float, float]]
WAYS: dict[str, Rewrite | bnc.Policy] = {
    "batch norm": bnc.Keep(),
    "frozen, group norm": bnc.Policy({"backbone.*": bnc.Frozen(), "*": bnc.Group(16)}),
}


def trained(way: str, seen: list[Scene], test: list[Scene]) -> tuple[nn.Module, Counts, float]:
    """Train one way; return the detector, what it finds by time, and the seconds of 100 steps."""
    prepared = bnc.prepare(detector(), WAYS[way], weight_decay=1e-4)
    optimizer = torch.optim.AdamW(prepared.parameter_groups, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    torch.manual_seed(0)
    found, seconds = [], 0.0
    for step in range(1, STEPS + 1):
        images, truths = zip(*seen[2 * step - 2 : 2 * step], strict=True)
        start = time.perf_counter()
        losses = prepared.model.train()(list(images), list(truths))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
        seconds += time.perf_counter() - start
        if step % EVERY == 0:
            found.append(counted(prepared.model, test))
    return prepared.model.eval(), found, 100 * seconds / STEPS


@torch.no_grad()
def draw(
    models: dict[str, nn.Module], found: dict[str, Counts], test: list[Scene], path: Path
) -> None:
    """Draw what both detectors find in three images, and their counts by time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from torchvision.utils import draw_bounding_boxes

    figure, panels = plt.subplots(
        2, 2, figsize=(10, 4.6), width_ratios=(1.5, 1), layout="constrained"
    )
    for row, color, (way, model) in zip(
        panels, ("#ee6677", "#4477aa"), models.items(), strict=True
    ):
        shown = []
        for image, _ in test[:3]:
            (boxes,) = model([image])
            names = [("zero", "one")[label - 1] for label in boxes["labels"]]
            shown.append(draw_bounding_boxes(image, boxes["boxes"], names, color, width=2))
        row[0].imshow(torch.cat(shown, 2).movedim(0, 2).numpy())
        row[0].set_axis_off()
        row[0].set_title(way, color=color)
        for axes, counts in zip(panels[:, 1], zip(*found[way], strict=True), strict=True):
            axes.plot(range(EVERY, STEPS + 1, EVERY), counts, "o-", color=color, label=way)
    panels[0, 1].set_ylabel("digits found, percent")
    panels[1, 1].set(ylabel="wrong boxes, percent", xlabel="steps of two images")
    panels[0, 1].legend(frameon=False)
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    """Train both ways, print, draw, export; return 0 where the file is verified."""
    folder = output_folder(arguments, __doc__)
    drawn = scenes(30 + 2 * STEPS, seed=0)
    test, seen = drawn[:30], drawn[30:]
    models: dict[str, nn.Module] = {}
    found: dict[str, Counts] = {}
    print("percent of the digits found   of the boxes wrong   seconds of 100 steps")
    for way in WAYS:
        models[way], found[way], seconds = trained(way, seen, test)
        right, wrong = found[way][-1]
        print(f"  {way:20s}{right:7.0f}{wrong:20.0f}{seconds:25.1f}", flush=True)
    draw(models, found, test, folder / "two_stage_detector.png")
    print(f"wrote {folder / 'two_stage_detector.png'}")
    report = bnc.export(models["frozen, group norm"], ([test[0][0]],), folder / "detector.onnx")
    print(f"{report.title}: {report.facts['checks']}; of {len(report.norms)} norms")
    print(f"{report.count('folded')} folded, {report.count('standing')} standing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
