"""The ids of the findings about an ONNX file."""

#: A norm normalizes by the batch, in a graph or in a file.
BATCH_STATISTICS = "BN402"
#: The outputs of the file depend on the rest of the batch.
BATCH_DEPENDENCE = "BN403"
#: It names the operator where a file diverges from its model.
DIVERGENCE = "BN404"
#: Norms that have another form in training.
TRAINING_FORM = "BN408"
#: The model is in training mode, and its eval mode was captured.
TRAINING_MODE = "BN409"
#: The file says where things are on the machine that wrote it.
LOCAL_PATHS = "BN410"
#: The file is one traced forward.
TRACED = "BN412"
#: It names what a comparison says nothing about.
UNPROVEN = "BN413"
#: The model itself gives NaN or infinity.
NOT_FINITE = "BN414"
#: The file was made from something else than what it is compared with.
ORIGIN = "BN415"
#: The model's statistics or weights hide what is wrong.
HIDDEN = "BN416"
