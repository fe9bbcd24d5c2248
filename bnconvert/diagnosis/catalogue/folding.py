"""What the findings about folding mean: BN401, BN402, BN405, BN406, BN408, BN409."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_FOLDING = ("inspect", "fold", "export")
_DEPLOYMENT = ("fold", "export")
FOLDING = (
    Explanation(
        "BN401",
        "Norms that are not folded away",
        ("info",),
        _FOLDING,
        "Some of a norm stands in the folded graph; one finding for each reason, with its code. "
        "What BN402, BN406 and BN408 are about is not meant.",
        "Nothing is wrong: the graph computes the same. Each such norm costs a multiplication, an "
        "addition or both per value.",
        "Nothing. [What folds](what-folds.md) has a table of the reasons, and what would fold.",
        example="model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1))\n"
        "nn.init.constant_(model[0].bias, 0.5)\n"
        "bnc.fold(model.eval(), (torch.randn(1, 3, 8, 8),)).report",
    ),
    Explanation(
        "BN402",
        "A norm normalizes by the batch in eval mode",
        ("error", "warning"),
        (*_FOLDING, "verify"),
        "A warning where the captured graph of the eval model has a batch norm without running "
        "statistics, or one in training mode. An error where an ONNX file has a "
        "`BatchNormalization` node with `training_mode=1`.",
        "The output of a sample depends on which others are in its batch. `export` refuses such a "
        "model before it writes anything, or its proof fails (BN403).",
        "`model.eval()` before the export; `track_running_stats=True` and training where a norm "
        "has no statistics.",
        "pytorch/pytorch#75252",
        example="model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))\n"
        "bnc.fold(model.eval(), (torch.randn(2, 3, 8, 8),)).report",
    ),
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
    Explanation(
        "BN408",
        "Norms that are others in training",
        ("info",),
        _DEPLOYMENT,
        "The model has norms of `bnc.convert`, or torch's `SyncBatchNorm`. One finding for those "
        "that are batch norm by their running statistics in eval mode (of several domains: which "
        "one's), one for those that are not, such as group norm.",
        "A graph has what eval mode computes. Ghost batches, synchronization, renormalization and "
        "further domains are not in it.",
        "Nothing: none of them has to be reverted first. For another domain, fold or export "
        "inside of `with bnc.domain(model, ...)`.",
        example="model = bnc.convert(nn.Sequential(nn.BatchNorm2d(3)), bnc.Ghost(4))\n"
        "bnc.fold(model.eval(), (torch.randn(1, 3, 8, 8),)).report",
    ),
    Explanation(
        "BN409",
        "A model in training mode was folded or exported",
        ("info",),
        _DEPLOYMENT,
        "`model.training` is True. A copy in eval mode was captured; the model was not changed.",
        "The result is right, but the model beside it computes something else until it is in eval "
        "mode. A single norm in training mode inside of an eval model is refused instead.",
        "`model.eval()` before you compare the two.",
        example="model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()\n"
        "bnc.fold(model, (torch.randn(1, 3, 8, 8),)).report",
    ),
)
