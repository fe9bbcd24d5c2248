"""Messages that no row provokes, with the reason, by file and a part of the message."""

_OTHERS = "passes on sentences that have rows of their own"
_PACKAGE = "needs an environment without an optional package"
_RANKS = "needs several processes: tests/statistics/test_ranks.py"
_FIGURES = "lists figures; what differs is in the report, and the advice is the finding's"
_COMMAND = "the whole command: tests/cli/reports/test_presentation.py, test_formats.py"
_CAUGHT = "is caught, and told in another message or a note"
_DISK = "needs a full disk: "

UNPROVOKED: dict[str, dict[str, str]] = {
    "cli/explain.py": {"{}": _OTHERS},
    "cli/export.py": {"{}": _FIGURES},
    "cli/sources/images.py": {
        "Pillow cannot be imported": _PACKAGE,
    },
    "cli/checkpoints/__init__.py": {
        "the model does not load it": "modules that load in their own way: passes on what they say",
        "{}: {}": _OTHERS,
    },
    "cli/models/zoo_models.py": {
        "cannot be imported": _PACKAGE,
        "cannot be downloaded": "needs to be offline: tests/cli/models/test_zoo_models.py",
        "{}: {}; {}": _OTHERS,
    },
    "cli/prepare.py": {"{}": _OTHERS, "nothing to do": "the whole command: tests/cli/test_cli.py"},
    "cli/reference_file.py": {
        "there is no such file": "names no other way: tests/cli/test_reference_file.py",
        "may have any size": "tests/cli/test_reference_file.py",
        "give one --input for each": "tests/cli/test_reference_file.py",
    },
    "cli/verify.py": {"is as it is; leave it out": "tests/cli/test_reference_file.py"},
    "cli/reports/settings.py": {"{} is no list of ids": _CAUGHT},
    "cli/reports/presentation.py": {
        "give --baseline FILE too": _COMMAND,
        "--verbose and --quiet: give one of them": _COMMAND,
    },
    "cli/suggest.py": {"{}": _OTHERS},
    "conversion/plan.py": {"{}": _OTHERS},
    "conversion/restoring/decisions.py": {"{}": _OTHERS},
    "conversion/restoring/restore_plan.py": {"{}": _OTHERS},
    "integrations/module_copies.py": {
        "holds a copy of the module": "a whole fit: tests/integrations/test_module_copies.py",
    },
    "integrations/transformers.py": {
        "made its model anew": "a whole training: tests/integrations/test_transformers.py",
    },
    "exporting/blame.py": {"{}; {}": _OTHERS},
    "exporting/simplification/onnx_sample_convolution.py": {
        "are not one for each sample": _CAUGHT,
        "are not channels of a single image": _CAUGHT,
        "is not a multiple": _CAUGHT,
    },
    "exporting/candidate.py": {"{}": _OTHERS, "and it cannot be traced": _CAUGHT},
    "exporting/export.py": {"{}": _FIGURES},
    "exporting/failure_bundle.py": {
        "it unpacks to more than a gigabyte": _CAUGHT,
        "a {} cannot be written": _CAUGHT,
    },
    "cli/values.py": {"{}": _OTHERS},
    "exporting/writing/onnx_file.py": {
        "cannot be written": f"{_DISK}tests/exporting/writing/test_onnx_file.py",
        "{}": "tests/exporting/writing/test_onnx_tracing.py: a trace is tried, and says the same",
    },
    "exporting/writing/onnx_tracing.py": {
        "{}: {}": _OTHERS,
    },
    "exporting/verify.py": {"{}": _FIGURES},
    "verification/files/onnx_outline.py": {
        "a field of kind": _CAUGHT,
        "a field that is longer than its message": _CAUGHT,
    },
    "verification/files/input_shapes.py": {
        "does not take inputs of shape": "a runtime that refuses what fits: test_input_shapes.py"
    },
    "verification/files/onnx_runner.py": {
        "is bfloat16": "needs another exporter: tests/verification/files/test_onnx_runner.py"
    },
    "graphs/capture/capturing.py": {
        "{}": _OTHERS,
        "the model computes other things unless {}": _CAUGHT,
    },
    "graphs/capture/parts.py": {"{}": _OTHERS},
    "graphs/capture/state.py": {"{}": _OTHERS},
    "graphs/capture/size_limits.py": {"the model computes other things unless {}": _CAUGHT},
    "modules/tracing/norm_tracer.py": {"its forward draws random numbers": _CAUGHT},
    "modules/lazy_modules.py": {"{}": _OTHERS},
    "modules/copies/rebinding.py": {"{}": _OTHERS},
    "reporting/frame.py": {"pandas cannot be imported": _PACKAGE},
    "reporting/plot.py": {"matplotlib cannot be imported": _PACKAGE},
    "reporting/whole_file.py": {"{}": f"{_DISK}tests/reporting/test_whole_file.py"},
    "statistics/ranks.py": {
        "run all ranks again": _RANKS,
        "start all ranks again": _RANKS,
        "this rank is not in the process group": _RANKS,
        "on rank 0; give all ranks": _RANKS,
    },
    "statistics/recomputation.py": {
        "memory_limit moves": "needs another device",
        "which ranks do not have": _RANKS,
    },
    "statistics/paging/swap_memory.py": {
        "main memory has no room": "needs full memory: tests/statistics/paging/test_swap_memory.py",
    },
    "statistics/paging/swap_file.py": {
        "cannot be written": f"{_DISK}tests/reporting/test_whole_file.py",
    },
    "verification/files/onnx_runtime.py": {
        "OpenVINO always optimizes": _CAUGHT,
        "openvino cannot be imported": _PACKAGE,
    },
    "verification/file_comparison.py": {
        "is quantized, and a reference": "tests/verification/test_file_comparison.py",
    },
}
