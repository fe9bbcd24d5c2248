"""What the findings about an ONNX file mean: BN404, BN412-BN416."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_PROOF = ("export", "verify")
ONNX_FILES = (
    Explanation(
        "BN404",
        "The file computes something else than the model",
        ("error",),
        _PROOF,
        "A check failed: the file's error against the model in float64 exceeds the tolerance, "
        "which is four times the model's own float32 error and a few units in the last place. The "
        "finding names the first operator whose inputs are right and whose output is wrong.",
        "The file would give other results than the model. `export` keeps it as `*.failed.onnx` "
        "and raises; the command line exits with 3.",
        "Look at the operator and the module that the message names. Where the file was edited, "
        "or made from other weights, the fix says so.",
    ),
    Explanation(
        "BN412",
        "The file is one traced forward",
        ("warning",),
        ("export",),
        "torch.onnx cannot write the captured graph, or the model can only be captured in parts: "
        "one forward with the given inputs was traced.",
        "The file takes inputs of the given sizes only, and what Python computed from the numbers "
        "in tensors is a constant in it.",
        "Verify the file with other real inputs, or export the parts that can be captured.",
    ),
    Explanation(
        "BN413",
        "Agreement that proves nothing",
        ("error", "warning"),
        _PROOF,
        "All checks hold, but an output is empty, the same or nothing but rounding errors on every "
        "input that was tried, or weights move neither an output nor a value inside of the file. A "
        "warning where they only do not matter because other weights are zero.",
        "A file with anything else in that place would agree too. An error makes the verdict "
        "*cannot be judged*: `InconclusiveError`, exit code 5.",
        "Give real inputs for which the outputs differ, and several of them; load trained weights.",
    ),
    Explanation(
        "BN414",
        "The model's own output is NaN or infinite",
        ("error",),
        _PROOF,
        "On the given inputs, an output of the model itself holds NaN or infinity, and is not "
        "named in `allow_nonfinite`.",
        "Nothing can be compared there.",
        "Look for weights that are not finite (`inspect`: BN101, BN112) and for inputs that "
        'overflow. Where it is meant: `allow_nonfinite=("output",)`.',
    ),
    Explanation(
        "BN415",
        "The file was made from something else",
        ("error", "warning"),
        ("verify",),
        "The file's metadata, which `export` wrote, name other weights, another `preprocess` or "
        "other dynamic axes than those it is compared with. An error where the numbers disagree "
        "too, else a warning.",
        "The difference is then no fault of an operator: the model was trained on, say, or the "
        "file is an older one.",
        "The message says what differs. Load the weights that the file was made from, or export "
        "again.",
    ),
    Explanation(
        "BN416",
        "Statistics or weights that hide what is wrong",
        ("warning",),
        ("verify",),
        "A norm has untrained statistics (mean 0, variance 1) or weights that are all zero, and "
        "the file is not as `export` wrote it from these weights.",
        "With mean 0 and variance 1 a wrong fold computes nearly the same as a right one. Upstream "
        "of zero weights nothing shows at all.",
        "Verify with trained weights (`--weights FILE`), or export again: `export` also proves a "
        "copy with other statistics.",
    ),
)
