"""Rows for which model and weights a command is about: its options, checkpoints, programs."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bnconvert as bnc
from bnconvert.cli.checkpoints.key_prefixes import with_keys_of
from bnconvert.cli.export import require_raw
from bnconvert.cli.models.model_arguments import model_arguments
from bnconvert.cli.models.model_source import load_model
from bnconvert.cli.models.program_file import load_program
from bnconvert.cli.values import model_source
from tests.remedies.checkpoints import CHECKPOINTS, weights
from tests.remedies.command_line import code, model
from tests.remedies.row import Row
from tests.remedies.shards import state


def zoo(name: str, *arguments: str, **more: Any) -> Any:
    return load_model(name, None, None, arguments=arguments, **more)


PICKLED = json.dumps({"config": {"w": {"path_name": "weight_0", "use_pickle": True}}})


def program(folder: Path, replaced: str = "", content: str = "") -> Any:
    """Write a program, perhaps with another content of one of its entries, and load it."""
    path, bad = folder / "net.pt2", folder / "bad.pt2"
    torch.export.save(torch.export.export(nn.ReLU(), (torch.ones(2),)), path)
    if not replaced:
        return load_program(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith(replaced) else old.read(name))
    return load_program(bad)


def not_a_program(folder: Path) -> Any:
    (folder / "text.pt2").write_text("text")
    return load_program(folder / "text.pt2")


def of_two_models(*prefixes: str) -> Any:
    wanted = nn.ReLU6().state_dict() | nn.Linear(2, 2).state_dict()
    return with_keys_of(wanted, {p + key: value for p in prefixes for key, value in wanted.items()})


def exported(folder: Path, batches: Any) -> Any:
    inputs = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)),)
    net = nn.Conv2d(3, 2, 1).eval()
    return bnc.export(net, inputs, folder / "net.onnx", verify_inputs=batches)


DATA = (
    Row(
        "verification/users_batches.py",
        "holds no batch",
        lambda folder: exported(folder, []),
        lambda folder: (exported(folder, [torch.ones(1, 3, 4, 4)]), exported(folder, None)),
    ),
    Row(
        "verification/users_batches.py",
        "does not run on",
        lambda folder: exported(folder, [torch.ones(1, 2, 4, 4)]),
        lambda folder: exported(folder, [torch.ones(1, 3, 4, 4)]),
    ),
    Row(
        "cli/export.py",
        "images are read normalized",
        lambda _: require_raw("images:folder", (127, 128)),
        lambda folder: require_raw(code(folder, "loader"), (127, 128)),
    ),
)
MODELS = (
    *CHECKPOINTS,
    *DATA,
    Row(
        "cli/models/model_arguments.py",
        "is given twice",
        lambda _: model_arguments(["a=1", "a=2"]),
        lambda _: model_arguments(["a=1"]),
    ),
    Row(
        "cli/models/model_arguments.py",
        "is no JSON",
        lambda _: model_arguments(["{a: 1}"]),
        lambda _: model_arguments(['{"num_classes": 10}']),
    ),
    Row(
        "cli/models/model_arguments.py",
        "is no key=value",
        lambda _: model_arguments(["10"]),
        lambda _: model_arguments(["num_classes=10"]),
    ),
    Row(
        "cli/models/model_source.py",
        "--ema: there is no checkpoint",
        lambda folder: model(folder, "model", ema=True),
        lambda folder: weights(folder, {"ema": state()}, ema=True),
    ),
    Row(
        "cli/models/model_source.py",
        "takes no argument pretrained",
        lambda folder: model(folder, "model", pretrained=True),
        lambda folder: (model(folder, "classes", pretrained=True), weights(folder, state())),
    ),
    Row(
        "cli/models/model_source.py",
        "is a model already",
        lambda folder: model(folder, "made", pretrained=True),
        lambda folder: (model(folder, "made"), model(folder, "classes", pretrained=True)),
    ),
    Row(
        "cli/values.py",
        "is a program",
        lambda _: model_source("net.pt2"),
        lambda folder: model_source(code(folder, "model")),
    ),
    Row(
        "cli/models/program_file.py",
        "there is no such file",
        lambda folder: load_program(folder / "none.pt2"),
        program,
    ),
    Row(
        "cli/models/program_file.py",
        "is no torch.export program",
        not_a_program,
        program,
    ),
    Row(
        "cli/models/program_file.py",
        "cannot be loaded",
        lambda folder: program(folder, "models/model.json", "{}"),
        program,
    ),
    Row(
        "cli/models/program_file.py",
        "cannot be read",
        lambda folder: program(folder, "weights_config.json", "[]"),
        program,
    ),
    Row(
        "cli/checkpoints/key_prefixes.py",
        "save the ones that you mean",
        lambda folder: of_two_models("student.", "ema."),
        lambda folder: of_two_models("student."),
    ),
    Row(
        "cli/models/program_file.py",
        "could run code from the file",
        lambda folder: program(folder, "weights_config.json", PICKLED),
        lambda folder: model(folder, "model"),
    ),
    Row(
        "cli/models/zoo_models.py",
        "torchvision.models.list_models()",
        lambda _: zoo("torchvision:resnet_18"),
        lambda _: zoo("torchvision:resnet18"),
        slow=True,
    ),
    Row(
        "cli/models/zoo_models.py",
        "there are no such weights",
        lambda _: zoo("torchvision:resnet18@NONE"),
        lambda _: zoo("torchvision:resnet18"),
        slow=True,
    ),
    Row(
        "cli/models/zoo_models.py",
        "--model-kwargs gives what its function takes",
        lambda _: zoo("torchvision:resnet18", "classes=10"),
        lambda _: zoo("torchvision:resnet18", "num_classes=10"),
        slow=True,
    ),
    Row(
        "cli/models/zoo_models.py",
        "these weights have their own classes",
        lambda _: zoo("torchvision:resnet18", "num_classes=10", pretrained=True),
        lambda _: zoo("torchvision:resnet18", "num_classes=10"),
        slow=True,
    ),
)
