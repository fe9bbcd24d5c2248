"""What the findings about stored statistics and weights mean: BN002, BN015, BN101-BN113."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_STATIC = ("inspect", "diagnose")
STORED_TENSORS = (
    Explanation(
        "BN002",
        "Running statistics that training does not use",
        ("error",),
        _STATIC,
        "`track_running_stats` is False while `running_mean` and `running_var` exist, and the norm "
        "is not frozen by its class.",
        "Setting the flag looks like freezing. It only stops the updates: in training mode the "
        "norm normalizes by the batch, in eval mode by the old statistics. The two are different "
        "functions.",
        "Set `track_running_stats=True` again and `bnc.convert(model, bnc.Frozen())`.",
        "Lightning-AI/pytorch-lightning#15062",
        example="norm = nn.BatchNorm2d(8)\nnorm.track_running_stats = False\nbnc.inspect(norm)",
    ),
    Explanation(
        "BN015",
        "Statistics or parameters in 16 bits",
        ("warning",),
        _STATIC,
        "A parameter or buffer of the norm is float16 or bfloat16.",
        "In float16 a variance under 6e-8 becomes 0 and one over 65504 infinity, in a checkpoint "
        "that was cast once and for good. In bfloat16 a running average with a small momentum "
        "stops moving, because its steps are rounded away.",
        "Keep norms in float32 (`norm.float()`); autocast leaves them so.",
        "pytorch/vision#2599",
        example="bnc.inspect(nn.BatchNorm2d(8).half())",
    ),
    Explanation(
        "BN101",
        "NaN, infinity or a negative variance is stored",
        ("error",),
        _STATIC,
        "A number in the norm's weight, bias, running mean or running variance is not finite, or a "
        "running variance is negative.",
        "Every eval output is NaN or wrong. One batch with an overflow is enough: a moving average "
        "that has once become NaN stays NaN.",
        "Find the batch that overflowed, then `bnc.recompute_statistics(model, batches)`, which "
        "leaves such batches out and says which. Norms made by `bnc.convert` skip them while "
        "training.",
        "pytorch/pytorch#88474, pytorch/pytorch#115500",
        example="norm = nn.BatchNorm2d(8)\nnorm.running_var.fill_(-1)\nbnc.inspect(norm)",
    ),
    Explanation(
        "BN102",
        "Trained weights with untrained statistics",
        ("error", "warning"),
        _STATIC,
        "The running mean is 0 and the variance 1 everywhere. An error where the norm has counted "
        "batches, or has a bias that is not 0 while other norms of the model have statistics; a "
        "warning where it has such a bias and no norm of the model has statistics.",
        "Either the checkpoint was loaded in part, or nothing ever updated the statistics. In eval "
        "mode the norm does not normalize.",
        "Load all of the checkpoint (the buffers too), or `bnc.recompute_statistics(model, "
        "batches)`.",
        "tensorflow/tensorflow#11965",
        example="norm = nn.BatchNorm2d(8)\nnn.init.normal_(norm.weight)\nbnc.inspect(norm)",
    ),
    Explanation(
        "BN112",
        "NaN or infinity in a weight outside of norms",
        ("error",),
        _STATIC,
        "A parameter outside of norms holds NaN or infinity, or a buffer holds NaN.",
        "Every output that depends on it is wrong, whatever the norms do.",
        "Load a checkpoint from before the training diverged.",
        example="layer = nn.Linear(4, 4)\n"
        "nn.init.constant_(layer.weight, torch.nan)\n"
        "bnc.inspect(nn.Sequential(layer, nn.BatchNorm1d(4)))",
    ),
    Explanation(
        "BN113",
        "Infinity in a buffer",
        ("info",),
        _STATIC,
        "A buffer outside of norms holds infinities, but no NaN.",
        "Attention masks do that on purpose; a statistic that overflowed looks the same.",
        "Nothing, where it is a mask. Otherwise load a checkpoint without them.",
        example="layer = nn.ReLU()\n"
        'layer.register_buffer("largest", torch.tensor(torch.inf))\n'
        "bnc.inspect(nn.Sequential(layer, nn.BatchNorm1d(4)))",
    ),
)
