"""What the findings about channels, counters and new norms mean: BN104 to BN110, BN114."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_STATIC = ("inspect", "diagnose")
CHANNELS = (
    Explanation(
        "BN104",
        "Dead channels with a large factor",
        ("warning",),
        _STATIC,
        "A channel's running variance is below 10 eps, and its factor |weight| / sqrt(running_var "
        "+ eps) is more than 30 times the layer's median.",
        "The channel was nearly constant in training. Any other value in it is amplified beyond "
        "all others, and a quantized layer spends its range on it.",
        "Prune such channels, or raise their running_var; quantize per channel.",
        "pytorch/vision#648",
        example="norm = nn.BatchNorm2d(8)\nnorm.running_var[0] = 1e-9\nbnc.inspect(norm)",
    ),
    Explanation(
        "BN105",
        "Channels that add nothing",
        ("info",),
        _STATIC,
        "|weight| and |bias| of a channel are both below 0.0001, the layer's largest |weight| is "
        "not below 0.01, and the norm has been trained.",
        "The channel's output is nearly 0 whatever its input is.",
        "Nothing has to be done; such channels can be pruned.",
        'Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017',
        example="norm = nn.BatchNorm2d(8)\n"
        "norm(torch.randn(4, 8, 2, 2))\n"
        "nn.init.constant_(norm.weight[:1], 1e-7)\n"
        "bnc.inspect(norm)",
    ),
    Explanation(
        "BN106",
        "Weights that have shrunk to nothing",
        ("warning",),
        _STATIC,
        "The median |weight| of the norm is below 0.001 after 1000 counted batches or more.",
        "Weight decay on norms pulls weights to 0 that the loss does not hold; or a weight that "
        "was initialized with 0 never learned. The layer is switched off.",
        "Train with no weight decay on norms: `bnc.prepare` makes such parameter groups.",
        example="norm = nn.BatchNorm2d(8)\n"
        "norm.num_batches_tracked += 5000\n"
        "nn.init.constant_(norm.weight, 1e-5)\n"
        "bnc.inspect(norm)",
    ),
    Explanation(
        "BN107",
        "Outputs that eps decides",
        ("warning",),
        _STATIC,
        "In more than 5 % of the norm's channels the running variance is smaller than eps.",
        "There the output depends more on eps than on the data. Whoever loads the weights with "
        "another eps (1e-5 in torch, 1e-3 in Keras) gets another function.",
        "Keep the eps of the training that the weights come from.",
        example="norm = nn.BatchNorm2d(8)\nnorm.running_var.fill_(1e-7)\nbnc.inspect(norm)",
    ),
    Explanation(
        "BN110",
        "Norms that counted other numbers of batches",
        ("warning", "info"),
        _STATIC,
        "`num_batches_tracked` is not the same in all norms that have counted any. A warning where "
        "it is exactly a multiple of the most frequent number (from 10 batches on) and the traced "
        "calls do not explain it; otherwise an info.",
        "A norm that counts twice as often updates twice in a step: it is called twice, or "
        "recomputed by gradient checkpointing. Its momentum is then larger than it says.",
        "A norm of its own for each call, `bnc.checkpoint_contexts(model)` for checkpointing, or "
        "`bnc.accumulated_momentum(momentum, 2)`. Parts that were trained for another time "
        "differ rightly.",
        "pytorch/pytorch#96136",
        example="model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.BatchNorm1d(4))\n"
        "for norm, count in zip(model, (100, 100, 200)):\n"
        "    norm.num_batches_tracked.fill_(count)\n"
        "bnc.inspect(model)",
    ),
    Explanation(
        "BN114",
        "Untrained statistics",
        ("info",),
        _STATIC,
        "The running mean is 0 and the variance 1 everywhere, no batch was counted, and the bias "
        "is 0 (BN102 otherwise).",
        "In eval mode the norm does not normalize. That is right for a new model; in a trained one "
        "the norm was never reached, or the checkpoint did not have it.",
        "Load a checkpoint, train, or `bnc.recompute_statistics(model, batches)`.",
        example="bnc.inspect(nn.BatchNorm2d(8))",
    ),
)
