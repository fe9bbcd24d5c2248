"""What the findings about folded weights mean: BN405, BN406."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_FOLDING = ("inspect", "fold", "export")
FOLDING = (
    Explanation(
        "BN405",
        "Folded factors of very different sizes",
        ("warning",),
        _FOLDING,
        "A norm was folded, and the largest of its factors |weight| / sqrt(running_var + eps) is "
        "more than 1000 times the smallest that is not 0.",
        "With one 8-bit scale for the whole weight, the channels with small factors become zero. "
        "In floating point nothing is lost.",
        "Quantize per channel, or equalize the layers before.",
    ),
    Explanation(
        "BN406",
        "A folded weight would overflow",
        ("warning",),
        _FOLDING,
        "Weight times factor is not finite in the model's 16-bit dtype. The norm is left as it is.",
        "A small variance gives a large factor; float16 ends at 65504.",
        "Fold and export `model.float()`, or use bfloat16.",
    ),
)
