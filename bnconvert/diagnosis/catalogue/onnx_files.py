"""What the findings about an ONNX file mean: BN403, BN404, BN410, BN412-BN416."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_PROOF = ("export", "verify")
#: A small model and its inputs, with which the examples begin.
_MODEL = (
    "model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()\n"
    "inputs = (torch.randn(2, 3, 8, 8),)\n"
)
#: Ends an example whose report comes with an error.
_CAUGHT = "    report = failure.report\nreport"
ONNX_FILES = (
    Explanation(
        "BN403",
        "An output that depends on the rest of its batch",
        ("error", "info"),
        _PROOF,
        "The first or last row of a batch comes out otherwise alone, or among other rows. An error "
        "where the model's own rows do not, or where norms without running statistics are why; an "
        "info where `bnc.Adaptive` norms are meant to do that. Outputs whose rows the model mixes "
        "by other operators are not compared; a note names them.",
        "A sample gets another answer when it is served with other samples.",
        "Export in eval mode; `track_running_stats=True` and training where a norm has no "
        "statistics.",
        example="model = nn.Sequential(nn.Conv2d(3, 8, 3), "
        "nn.BatchNorm2d(8, track_running_stats=False)).eval()\n"
        "try:\n"
        '    bnc.export(model, (torch.randn(2, 3, 8, 8),), "model.onnx")\n'
        "except bnc.VerificationError as failure:\n" + _CAUGHT,
    ),
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
        example=_MODEL
        + 'torch.onnx.export(model, inputs, "model.onnx", dynamo=True, verbose=False)\n'
        "nn.init.constant_(model[0].weight, 0.1)\n"
        "try:\n"
        '    bnc.verify(model, "model.onnx", inputs)\n'
        "except bnc.VerificationError as failure:\n" + _CAUGHT,
    ),
    Explanation(
        "BN410",
        "A file that names places on somebody's machine",
        ("info",),
        ("verify",),
        "A note in the file (`doc_string` or `metadata_props` of the model, a graph or a node) "
        "holds an absolute path.",
        "torch.onnx writes for each node where in the source it comes from. Whoever gets the file "
        "reads user names and folders. `export` takes such notes out.",
        "Export with `bnc.export`, or delete the notes with the onnx package.",
        example=_MODEL
        + 'torch.onnx.export(model, inputs, "model.onnx", dynamo=True, verbose=False)\n'
        'bnc.verify(model, "model.onnx", inputs)',
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
        example="class Chosen(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.norm = nn.BatchNorm1d(4)\n"
        "    def forward(self, x):\n"
        "        return self.norm(x) * int(x.abs().max() > 0)\n"
        'bnc.export(Chosen().eval(), (torch.randn(2, 4),), "model.onnx")',
    ),
    Explanation(
        "BN413",
        "Agreement that proves nothing",
        ("error", "warning"),
        _PROOF,
        "All checks hold, but an output is empty, the same or nothing but rounding errors on every "
        "input that was tried, or weights move neither an output nor a value inside of the file. A "
        "warning where they only do not matter because other weights are zero, and between two "
        "files, where some channels of a weight meet nothing but zeros, or end in an activation "
        "that is constant there, and the weights are not the reference's either. Weights on which "
        "no output depends whatever they are, as those of a head for training whose result is "
        "dropped, are noted.",
        "A file with anything else in that place would agree too. An error makes the verdict "
        "*cannot be judged*: `InconclusiveError`, exit code 5.",
        "Give real inputs for which the outputs differ, and several of them; load trained weights.",
        example="model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2), nn.ReLU())\n"
        "nn.init.constant_(model[1].bias, -1e6)\n"
        "try:\n"
        '    bnc.export(model.eval(), (torch.randn(2, 4),), "model.onnx")\n'
        "except bnc.InconclusiveError as failure:\n" + _CAUGHT,
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
        example=_MODEL + "model[1].running_var.fill_(-1)\n"
        "try:\n"
        '    bnc.export(model, inputs, "model.onnx")\n'
        "except bnc.InconclusiveError as failure:\n" + _CAUGHT,
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
        example=_MODEL + 'bnc.export(model, inputs, "model.onnx")\n'
        "nn.init.constant_(model[0].weight, 0.1)\n"
        "try:\n"
        '    bnc.verify(model, "model.onnx", inputs)\n'
        "except bnc.VerificationError as failure:\n" + _CAUGHT,
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
        example=_MODEL
        + 'torch.onnx.export(model, inputs, "model.onnx", dynamo=True, verbose=False)\n'
        'bnc.verify(model, "model.onnx", inputs)',
    ),
)
