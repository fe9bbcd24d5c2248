"""`bnconvert fold`: the folded graph, as a torch.export program."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.options import Input, Model, ReportPath, Weights, output_file


def command(
    model: Model,
    weights: Weights = None,
    inputs: Input = None,
    output: Annotated[Path | None, output_file("Write the folded program: .pt2.")] = None,
    report: ReportPath = None,
) -> None:
    """Fold MODEL's norms away; with -o, write the folded graph as a torch.export program."""
    import torch

    from bnconvert.cli.model_source import load_model, require_example
    from bnconvert.cli.output import progress, show
    from bnconvert.folding import fold

    with progress("loading the model") as say:
        loaded, example = load_model(model, weights, inputs)
        say("capturing and folding")
        folded = fold(loaded, require_example(example))
        if output is not None:
            say("writing")
            captured = folded.captured
            program = torch.export.export(
                folded.module,
                captured.example.args,
                captured.example.kwargs,
                dynamic_shapes=captured.dynamic_shapes,
            )
            torch.export.save(program, output)
    show(folded.report, report)
    if output is not None:
        typer.echo(f"\nwrote {output}; load it with torch.export.load({str(output)!r}).module()")
