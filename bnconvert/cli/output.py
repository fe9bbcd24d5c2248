"""What commands print: results on stdout, progress on stderr, reports into files."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.reporting.report import Report


@contextlib.contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on, on stderr, and only where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    # This very stream, since torch's exporters are silenced by redirecting sys.stderr.
    with Console(file=sys.stderr).status(first) as status:
        yield status.update


def show(report: "Report", path: Path | None) -> None:
    """Print a report, and write it to `path` if there is one: HTML by its suffix, else JSON."""
    typer.echo(str(report))
    save(report, path)


def save(report: "Report", path: Path | None) -> None:
    """Write a report to `path`, if there is one."""
    if path is None:
        return
    if path.suffix in (".html", ".htm"):
        report.to_html(path)
    else:
        report.to_json(path)


def write_weights(model: "nn.Module", policy: object, path: Path) -> None:
    """Write a converted model's state_dict, with the policy as a label where the format has any.

    Args:
        model: the converted model.
        policy: what it was converted by; its repr is the label.
        path: .safetensors, or anything else for torch's own format.
    """
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        # Clones: safetensors refuses tensors that share memory, and tied weights do.
        state = {key: value.detach().clone() for key, value in model.state_dict().items()}
        labels = {"bnconvert.policy": repr(policy), "bnconvert.version": version("bnconvert")}
        save_file(state, path, metadata=labels)
    else:
        torch.save(model.state_dict(), path)
