"""Draws graphs before and after folding, as torch.export and `bnc.fold` give them.

python docs/draw_graphs.py --output docs/images
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

import bnconvert as bnc

#: By an operator's name, the color of its box; others are white.
COLORS = {"batch_norm": "#ee9988", "conv2d": "#99bbdd", "mul": "#eedd99", "add": "#eedd99"}


class ConvNormRelu(nn.Sequential):
    """A convolution, its norm, an activation."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())


class NormAfterConcat(nn.Module):
    """Two convolutions, concatenated; one norm for both."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate, then normalize."""
        return torch.relu(self.norm(torch.cat((self.left(x), self.right(x)), 1)))


class Branches(nn.Module):
    """RepVGG's block: 3 x 3, 1 x 1 and the identity, each with a norm."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.wide, self.wide_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.point, self.point_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.identity = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branches."""
        wide, point = self.wide_norm(self.wide(x)), self.point_norm(self.point(x))
        return torch.relu(wide + point + self.identity(x))


class Apart(nn.Module):
    """A pre-activation block: the input is read twice, so the norm cannot go up."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, activate, convolve, and add the input."""
        total: Tensor = x + self.conv(torch.relu(self.norm(x)))
        return total


PICTURES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "direct": (ConvNormRelu, 3),
    "through": (NormAfterConcat, 3),
    "branches": (Branches, 8),
    "apart": (Apart, 8),
}


def trained(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Give the norms positive weights and statistics of their own, and return it in eval mode."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
    model(inputs)
    return model.eval()


def operators(graph: fx.Graph) -> list[fx.Node]:
    """Return the inputs, the operators and the output, without the weights and torch's guards."""
    shown = ("placeholder", "call_function", "output")
    return [node for node in graph.nodes if node.op in shown]


def label(node: fx.Node) -> str:
    """Return what a box says."""
    if node.op == "output":
        return "output"
    if node.op == "placeholder":
        return "input"
    name = str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))
    return name.partition(".")[0].removesuffix("_")


def places(nodes: list[fx.Node]) -> dict[fx.Node, tuple[float, float]]:
    """Return where each box is: down by the longest path, across below its inputs."""
    level: dict[fx.Node, int] = {}
    for node in nodes:
        level[node] = 1 + max((level[s] for s in node.all_input_nodes if s in level), default=-1)
    at: dict[fx.Node, tuple[float, float]] = {}
    for depth in range(max(level.values()) + 1):
        row = [node for node in nodes if level[node] == depth]
        above = [[at[s][0] for s in node.all_input_nodes if s in at] or [0.0] for node in row]
        wanted = [sum(xs) / len(xs) for xs in above]
        spread = [1.5 * place for place in range(len(row))]
        start = (sum(wanted) - sum(spread)) / len(row)
        at |= {node: (start + x, -depth) for node, x in zip(row, spread, strict=True)}
    return at


def draw_graph(axes: Any, graph: Any, title: str, names: dict[str, str]) -> None:
    """Draw the operators of a graph from top to bottom, and what flows between them."""
    nodes = operators(graph)
    at = places(nodes)
    for node in nodes:
        for source in filter(at.__contains__, node.all_input_nodes):
            (x, y), (to_x, to_y) = at[source], at[node]
            bend = 0.4 if x == to_x and y - to_y > 1 else 0.0  # around what lies between
            style: dict[str, Any] = {"arrowstyle": "-|>", "color": "#555555"}
            style |= {"shrinkA": 14, "shrinkB": 14, "connectionstyle": f"arc3,rad={bend}"}
            axes.annotate("", (to_x, to_y), (x, y), arrowprops=style)
        name = label(node)
        color = COLORS.get(name, "white")
        box = {"boxstyle": "round,pad=0.35", "facecolor": color, "edgecolor": "#555555"}
        text = names.get(name, name)
        axes.text(*at[node], text, ha="center", va="center", fontsize=15, bbox=box)
    across, down = zip(*at.values(), strict=True)
    axes.set_xlim(min(across) - 0.9, max(across) + 0.9)
    axes.set_ylim(min(down) - 0.5, 0.5)
    axes.set_title(title, fontsize=16)
    axes.axis("off")


def draw(name: str, path: Path) -> None:
    """Draw a model's graph as torch.export gives it, and as `fold` leaves it, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    model_class, channels = PICTURES[name]
    torch.manual_seed(0)
    inputs = torch.randn(2, channels, 8, 8)
    model = trained(model_class(), inputs)
    exported = torch.export.export(model, (inputs,)).module()
    assert isinstance(exported, fx.GraphModule)
    after = bnc.fold(model, (inputs,)).module.graph
    rows = 1 - min(y for _, y in places(operators(exported.graph)).values())
    figure, both = plt.subplots(1, 2, figsize=(7.0, 0.78 * rows + 0.6), width_ratios=(1.4, 1))
    names = {"batch_norm": "norm", "conv2d": "conv", "cat": "concat"}
    for axes, graph, title in zip(both, (exported.graph, after), ("before", "after"), strict=True):
        draw_graph(axes, graph, title, names)
    figure.tight_layout()
    figure.savefig(path, dpi=115)
    plt.close(figure)


def main() -> None:
    """Draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        draw(name, folder / f"fold_{name}.png")


if __name__ == "__main__":
    main()
