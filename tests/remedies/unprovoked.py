"""Messages that no row provokes, with the reason, by file and a part of the message."""

_OTHERS = "passes on sentences that have rows of their own"
_PACKAGE = "needs an environment without an optional package"
_RANKS = "needs several processes: tests/statistics/test_ranks.py"
_FIGURES = "lists figures; what differs is in the report, and the advice is the finding's"
_LOCALLY = "provoked beside its code, where its advice is not followed"

UNPROVOKED: dict[str, dict[str, str]] = {
    "cli/images.py": {
        "Pillow cannot be imported": _PACKAGE,
        "the model expects {} x {} pixels": "needs a timm model that takes no squares",
    },
    "cli/model_source.py": {
        "timm:{}": "timm's own list, as torchvision's, which has a row",
        "cannot be imported": _PACKAGE,
        "does not fit the model": "torch's own message names the keys",
    },
    "cli/prepare.py": {"{}": _OTHERS, "nothing to do": "tests/cli/test_cli.py"},
    "conversion/plan.py": {"{}": _OTHERS},
    "exporting/export.py": {"{}": _FIGURES},
    "exporting/onnx_file.py": {"no ONNX file can be made": _LOCALLY},
    "exporting/onnx_tracing.py": {"no ONNX file can be made by tracing": _LOCALLY},
    "exporting/verify.py": {"{}": _FIGURES},
    "folding/grafting.py": {
        "only a norm has": _LOCALLY,
        "compute something else": _LOCALLY,
    },
    "graphs/capturing.py": {"{}": _OTHERS},
    "reporting/plot.py": {"matplotlib cannot be imported": _PACKAGE},
    "statistics/ranks.py": {"run all ranks again": _RANKS, "start all ranks again": _RANKS},
    "statistics/recomputation.py": {
        "memory_limit bounds": "needs another device",
        "which ranks do not have": _RANKS,
    },
    "verification/onnx_graph.py": {"give inputs that it was exported for": _LOCALLY},
    "verification/onnx_runner.py": {
        "give one tensor for each": _LOCALLY,
        "by their names": _LOCALLY,
        "ONNX Runtime cannot load it": _LOCALLY,
        "does not take inputs of shape": _LOCALLY,
    },
    "verification/reference.py": {"give inputs that its forward accepts": _LOCALLY},
}
