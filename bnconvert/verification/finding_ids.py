"""The ids of the findings about an ONNX file."""

#: It names the operator where a file diverges from its model.
DIVERGENCE = "BN404"
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
