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
        "Quantize per channel, or hand on `bnc.equalize(bnc.fold(model, inputs))`: it gives layers "
        "in a row like ranges.",
        example="norm = nn.BatchNorm2d(2)\n"
        "norm.running_var.copy_(torch.tensor([1.0, 1e8]))\n"
        "model = nn.Sequential(nn.Conv2d(3, 2, 1), norm)\n"
        "bnc.fold(model.eval(), (torch.randn(1, 3, 4, 4),)).report",
    ),
    Explanation(
        "BN406",
        "A folded weight would overflow",
        ("warning",),
        _FOLDING,
        "Weight times factor is not finite in the model's 16-bit dtype. The norm is left as it is.",
        "A small variance gives a large factor; float16 ends at 65504.",
        "Fold and export `model.float()`, or use bfloat16.",
        example="norm = nn.BatchNorm2d(2)\n"
        "norm.running_var.fill_(0)\n"
        "model = nn.Sequential(nn.Conv2d(3, 2, 1), norm)\n"
        "nn.init.constant_(model[0].weight, 1000.0)\n"
        "bnc.fold(model.half().eval(), (torch.randn(1, 3, 4, 4).half(),)).report",
    ),
)
