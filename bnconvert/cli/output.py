"""The output of commands: results on stdout, reports and weights in files, exit codes."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.reporting.report import Report


_RANK = ("info", "warning", "error")


def show(report: "Report", path: Path | None, picture: Path | None = None) -> None:
    """Print a report; write it, and its plot, to the files that the user named, if any."""
    typer.echo(str(report))
    save(report, path)
    if picture is not None:
        report.plot(picture)


def save(report: "Report", path: Path | None) -> None:
    """Write a report to `path`, if there is one: HTML by its suffix, else JSON."""
    if path is None:
        return
    if path.suffix in (".html", ".htm"):
        report.to_html(path)
    else:
        report.to_json(path)


@contextlib.contextmanager
def saved_on_failure(path: Path | None) -> Iterator[None]:
    """Write the report to `path` also where the verification inside fails, or proves nothing."""
    from bnconvert.errors import InconclusiveError, VerificationError

    try:
        yield
    except (InconclusiveError, VerificationError) as failure:
        save(failure.report, path)
        raise


def command_line(command: str, *arguments: str, **options: Any) -> str:
    """Return a bnconvert command as one would type it; options that are None are left out."""
    words = ["bnconvert", command, *arguments]
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            words += ["--" + name.replace("_", "-"), *map(str, values)]
    return shlex.join(words)


def exit_on(report: "Report", severity: str) -> None:
    """Exit with 1 if a finding has this severity or a higher one; "never" does not exit."""
    failing = _RANK[_RANK.index(severity) :] if severity in _RANK else ()
    if any(finding.severity in failing for finding in report.findings):
        raise typer.Exit(1)


def write_weights(model: "nn.Module", labels: Mapping[str, str], path: Path) -> None:
    """Write a model's state_dict, with labels where the format has any.

    Args:
        model: the model.
        labels: what was done to it.
        path: .safetensors, or anything else for torch's own format.

    Raises:
        OutputError: it cannot be written there.
    """
    import torch

    from bnconvert.reporting.whole_file import whole_file

    state = model.state_dict()
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        # Clones: safetensors refuses tensors that share memory, and tied weights do.
        state = {key: value.detach().clone() for key, value in state.items()}
        metadata = {**labels, "bnconvert.version": version("bnconvert")}
        with whole_file(path) as file:
            save_file(state, file, metadata=metadata)
    else:
        # Into an open file: torch's own writer does not say why it cannot write.
        with whole_file(path) as place, place.open("wb") as file:
            torch.save(state, file)
