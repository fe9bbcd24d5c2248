"""`bnconvert verify`: compare a model, or another file, with an ONNX file."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bnconvert.cli.judgement import ONNX_RUNTIME, Agreement, Providers, RuntimeName, Tolerance
from bnconvert.cli.models.model_options import ModelChoice, with_model_options
from bnconvert.cli.options import AllowNonfinite, Input
from bnconvert.cli.preprocessing import PreprocessOption, parse_preprocess, preprocess_words
from bnconvert.cli.reference_file import ModelOrFile, file_inputs, is_file
from bnconvert.cli.reports.report_options import with_report_options
from bnconvert.errors import UsageError
from bnconvert.reporting.progress import showing_progress


@with_report_options
@partial(with_model_options, argument=ModelOrFile)
def command(
    context: typer.Context,
    chosen: ModelChoice,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    inputs: Input = None,
    preprocess: PreprocessOption = None,
    allow_nonfinite: AllowNonfinite = None,
    tolerance: Tolerance = None,
    agreement: Agreement = None,
    runtime: RuntimeName = ONNX_RUNTIME,
    providers: Providers = None,
) -> None:
    """Compare MODEL, or another file, with an ONNX FILE; say at which operator they diverge.

    Where they do, what reproduces it is left beside FILE, as *.failed.zip; where that cannot be
    judged, as *.unproven.zip. `bnconvert verify REFERENCE.onnx CANDIDATE.onnx` needs no model.
    """
    from bnconvert.cli.models.model_source import require_example
    from bnconvert.cli.reports.presentation import Presentation
    from bnconvert.exporting.failure_bundle import nonfinite_words
    from bnconvert.exporting.verify import verify

    presentation, scaling = Presentation.of(context), parse_preprocess(preprocess)
    command = [chosen.source, str(file), *chosen.words(), *preprocess_words(scaling)]
    command += nonfinite_words(allow_nonfinite)
    judged = {"tolerance": tolerance, "agreement": agreement, "providers": providers}
    with showing_progress(first="loading the model") as say:
        loaded: Any = Path(chosen.source)
        if is_file(chosen.source):
            require_bare(chosen)
            given = file_inputs(loaded, inputs)
        else:
            loaded, example = chosen.load(inputs, scaling)
            given = require_example(example)
        more: dict[str, Any] = {"allow_nonfinite": allow_nonfinite or (), "progress": say}
        more |= judged | {"runtime": runtime}
        more |= {"providers": [name.strip() for name in providers.split(",")] if providers else ()}
        judged |= {"runtime": runtime if runtime != ONNX_RUNTIME else None}
        with _keeping(given, file, command, judged), presentation.saving_failures():
            result = verify(loaded, file, given, preprocess=scaling, **more)
    presentation.finish(presentation.show(result))


def require_bare(chosen: ModelChoice) -> None:
    """Refuse options of a model for a file in its place.

    Raises:
        UsageError: there are some.
    """
    if own := chosen.words():
        raise UsageError(f"{own[0]}: {chosen.source} is a file and is as it is; leave it out")


@contextlib.contextmanager
def _keeping(
    inputs: Any, file: Path, command: Sequence[str], judged: Mapping[str, Any]
) -> Iterator[None]:
    """Leave what reproduces a comparison inside that fails or proves nothing, and say how."""
    from bnconvert.cli.output import command_line
    from bnconvert.errors import InconclusiveError, VerificationError
    from bnconvert.exporting.failure_bundle import bundle_of, write_bundle
    from bnconvert.graphs.example import Example

    try:
        yield
    except (InconclusiveError, VerificationError) as failure:
        failed = isinstance(failure, VerificationError)
        bundle = bundle_of(file, "failed" if failed else "unproven")
        model, path, *rest = command
        words = [model, path, "--input", str(bundle), *rest]
        again = command_line("verify", *words, **judged)
        if write_bundle(bundle, Example.of(inputs), failure.report, again) is not None:
            said = f"its inputs and all figures are in {bundle}; to compare again: {again}"
            typer.echo(said, err=True)
        raise
