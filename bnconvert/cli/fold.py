"""`bnconvert fold`: fold a model, and write the folded graph as a torch.export program."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnconvert.cli.model_options import ModelChoice, with_program_options
from bnconvert.cli.options import Input, output_file
from bnconvert.cli.report_options import with_report_options
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from bnconvert.folding.folding import Folded


@with_report_options
@with_program_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    inputs: Input = None,
    output: Annotated[Path | None, output_file("Write the folded program: .pt2.")] = None,
) -> None:
    """Fold MODEL's norms into its weights; with -o, write the folded graph (torch.export)."""
    import torch

    from bnconvert.cli.model_source import require_example
    from bnconvert.cli.presentation import Presentation
    from bnconvert.folding.folding import fold
    from bnconvert.reporting.whole_file import whole_file

    presentation = Presentation.of(context)
    with showing_progress(first="loading the model") as say:
        loaded, example = chosen.load(inputs)
        say(0, None, "capturing and folding")
        folded = fold(loaded, require_example(example))
        if output is not None:
            say(0, None, "writing")
            with whole_file(output) as draft:
                torch.export.save(_program(folded), draft)
    shown = presentation.show(folded.report)
    if output is not None:
        presentation.tell(
            f"\nwrote {output}; load it with torch.export.load({str(output)!r}).module()"
        )
    presentation.finish(shown)


def _program(folded: "Folded") -> "ExportedProgram":
    """Return the folded graph as a program with its example inputs, so that it is a MODEL too."""
    program = folded.program()
    if program is None:
        return _traced(folded)
    example = folded.captured.example
    program.example_inputs = (example.args, example.kwargs)
    return program


def _traced(folded: "Folded") -> "ExportedProgram":
    """Export the folded graph anew, where it holds more than operators."""
    from torch.export import export

    captured = folded.captured
    args, kwargs = captured.example.args, captured.example.kwargs
    return export(folded.module, args, kwargs, dynamic_shapes=captured.dynamic_shapes)
