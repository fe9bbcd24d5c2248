"""`bnconvert fold`: fold a model, and write the folded graph as a torch.export program."""

from pathlib import Path
from typing import Annotated

import typer

from bnconvert.cli.file_options import Dynamic
from bnconvert.cli.models.model_options import ModelChoice, with_program_options
from bnconvert.cli.options import Input, output_file
from bnconvert.cli.reports.report_options import with_report_options
from bnconvert.reporting.progress import showing_progress


@with_report_options
@with_program_options
def command(
    context: typer.Context,
    chosen: ModelChoice,
    inputs: Input = None,
    output: Annotated[Path | None, output_file("Write the folded program: .pt2.")] = None,
    dynamic: Dynamic = None,
) -> None:
    """Fold MODEL's norms into its weights; with -o, write the folded graph (torch.export)."""
    from bnconvert.cli.dynamic_axes import dynamic_shapes
    from bnconvert.cli.models.model_source import require_example
    from bnconvert.cli.models.program_file import move_to_main_memory
    from bnconvert.cli.reports.presentation import Presentation
    from bnconvert.folding.folding import fold

    presentation = Presentation.of(context)
    with showing_progress(first="loading the model") as say:
        loaded, example = chosen.load_in_eval(inputs)
        say(0, None, "capturing and folding")
        example = require_example(example)
        shapes = dynamic_shapes(loaded, example, dynamic)
        folded = fold(loaded, example, dynamic_shapes=shapes)
        if output is not None:
            say(0, None, "writing")
            folded.save(output)
            if chosen.device is not None:
                move_to_main_memory(output)
    shown = presentation.show(folded.report)
    if output is not None:
        presentation.tell(
            f"\nwrote {output}; load it with torch.export.load({str(output)!r}).module()"
        )
    presentation.finish(shown)
