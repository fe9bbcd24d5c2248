"""The model of a command: MODEL, and the options that say how it is made and what it holds."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnconvert.cli.models.model_arguments import require_model_arguments
from bnconvert.cli.options import Model, ModelOrProgram

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.exporting.input_choice import Preprocess
    from bnconvert.graphs.example import Inputs

_PANEL = "How the model is made"

Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="A checkpoint: .safetensors, what torch.save has written and weights_only=True "
        "loads, or a folder of shards. What wraps the weights is found and said.",
    ),
]
Ema = Annotated[
    bool,
    typer.Option(
        "--ema",
        rich_help_panel=_PANEL,
        help="Take the averaged weights of a checkpoint that holds both.",
    ),
]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained",
        rich_help_panel=_PANEL,
        help="The weights that timm or torchvision has for the model (downloaded unless they "
        "are there); a factory gets pretrained=True.",
    ),
]
ModelArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--model-kwargs",
        metavar="KEY=VALUE",
        callback=require_model_arguments,
        rich_help_panel=_PANEL,
        help="Arguments of the function that makes the model: num_classes=10, or JSON. Repeat "
        "for several.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Where the model runs: cpu, cuda, cuda:1, or another of torch's names. Inputs and "
        "batches follow it; what is written is as without. By default it stays where it was made.",
    ),
]
#: By the parameter of a command, its option and default.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "weights": (Weights, None),
    "ema": (Ema, False),
    "pretrained": (Pretrained, False),
    "model_kwargs": (ModelArguments, None),
    "device": (Device, None),
}
#: The parameters of a command that say which model it is about.
MODEL_PARAMETERS = ("model", *_OPTIONS)


@dataclass(frozen=True)
class ModelChoice:
    """Which model a command is about.

    Attributes:
        source: MODEL as it was typed.
        weights: a checkpoint to load, if any.
        ema: whether its averaged weights are taken.
        pretrained: whether the package's own weights are loaded.
        arguments: of the function that makes the model, as they were typed.
        device: where it runs, if that is said.
    """

    source: str
    weights: Path | None = None
    ema: bool = False
    pretrained: bool = False
    arguments: tuple[str, ...] = ()
    device: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "ModelChoice":
        """Return what the parameters of a command say."""
        ema, pretrained = given["ema"], given["pretrained"]
        texts = tuple(given["model_kwargs"] or ())
        return cls(given["model"], given["weights"], ema, pretrained, texts, given["device"])

    def load(
        self, inputs: Sequence[str] | None = None, preprocess: "Preprocess | None" = None
    ) -> tuple["nn.Module", "Inputs | None"]:
        """Return the model, with its weights loaded, and example inputs where any are known.

        Args:
            inputs: the texts of --input, if any.
            preprocess: what the inputs are raw for.

        Raises:
            LoadError: says what cannot be found or read, and what to give instead.
        """
        from bnconvert.cli.models.model_source import load_model

        return load_model(
            self.source,
            self.weights,
            inputs,
            preprocess,
            ema=self.ema,
            pretrained=self.pretrained,
            arguments=self.arguments,
            device=self.device,
        )

    def load_in_eval(
        self, inputs: Sequence[str] | None = None, preprocess: "Preprocess | None" = None
    ) -> tuple["nn.Module", "Inputs | None"]:
        """Return the same for a command that takes a model's eval mode.

        A factory returns a new model, in training mode, and nobody can call eval() in between.
        """
        model, example = self.load(inputs, preprocess)
        return (model.eval() if model.training else model), example

    def words(self, weights: Path | None = None) -> list[str]:
        """Return the words of a command line that mean these options.

        Args:
            weights: a checkpoint that replaces those of the choice.
        """
        words = [word for text in self.arguments for word in ("--model-kwargs", text)]
        words += ["--device", self.device] if self.device is not None else []
        if weights is None:
            words += ["--pretrained"] * self.pretrained
            words += ["--weights", str(self.weights)] if self.weights is not None else []
            words += ["--ema"] * self.ema
            return words
        return [*words, "--weights", str(weights)]


def with_model_options(
    command: Callable[..., None], *, argument: Any = Model
) -> Callable[..., None]:
    """Give a command MODEL and these options for its parameter `chosen`, a `ModelChoice`."""
    own = inspect.signature(command)
    named = inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=argument)
    parameters = [named if p.name == "chosen" else p for p in own.parameters.values()]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, (option, default) in _OPTIONS.items()
    ]

    @functools.wraps(command)
    def with_choice(**given: Any) -> None:
        rest = {name: value for name, value in given.items() if name not in MODEL_PARAMETERS}
        command(chosen=ModelChoice.of(given), **rest)

    taken: Any = with_choice  # a function's type has no signature
    taken.__signature__ = own.replace(parameters=[*parameters, *options])
    return with_choice


#: The same for commands that take a torch.export program as well.
with_program_options = functools.partial(with_model_options, argument=ModelOrProgram)
