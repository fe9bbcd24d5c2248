"""What the findings of `diagnose` about statistics mean: BN103, BN201, BN202, BN210, BN212."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_WU = "Wu and Johnson, \"Rethinking 'Batch' in BatchNorm\", 2021, section 3"
_RECOMPUTE = "`bnc.recompute_statistics(model, batches)`"
MEASURED_DATA = (
    Explanation(
        "BN103",
        "The initial values are still in the average",
        ("warning",),
        ("diagnose",),
        "(1 - momentum)^n > 0.01 after *n* training batches; the running statistics differ from "
        "the precise ones (mean by more than 0.05 sigma, or sigma by more than 5 %, and by more "
        "than four standard errors, over at least 64 samples); and they come nearer to the "
        "precise ones when the initial mean 0 and variance 1 are subtracted.",
        "A moving average begins at mean 0 and variance 1. With the default momentum of 0.1 their "
        "weight falls below 1 % after 44 batches, with 0.01 after 459, with 0.001 after 4603.",
        _RECOMPUTE + ", or train longer, or with a larger momentum.",
        _WU,
        example="norm = nn.BatchNorm1d(4)\n"
        "batches = (torch.randn(256, 4) + 3).split(32)\n"
        "norm(batches[0])\n"
        "bnc.diagnose(norm, batches)",
    ),
    Explanation(
        "BN201",
        "The running statistics are not those of the data",
        ("error",),
        ("diagnose",),
        "Over at least 64 samples, the running mean is off by more than 0.15 sigma, or sigma by "
        "more than 22 % (root mean square over the channels, against precise statistics of the "
        "given data), and by more than four standard errors; or the statistics are not finite.",
        "In eval mode the model normalizes by statistics that its activations do not have: they "
        "are stale, of other data, or of another preprocessing. Where the first norm is most off, "
        "suspect the preprocessing.",
        _RECOMPUTE + ". Where the data are of another domain than the training's, one set of "
        "statistics for each: `bnc.Separate`.",
        _WU,
        example="batches = (torch.randn(256, 4) + 3).split(32)\n"
        "bnc.diagnose(nn.BatchNorm1d(4), batches)",
    ),
    Explanation(
        "BN202",
        "False overfitting",
        ("error",),
        ("diagnose",),
        "On the same data, the loss (or the metric) with the running statistics is worse than with "
        "precise ones: the whole 99 % interval of the mean paired difference (a percentile "
        "bootstrap) is above a quarter of the score with precise ones. Where the score function "
        "returns one number for the batch, batches are the pairs, else samples. Of fewer than 8 "
        "pairs the report says that they are too few to judge.",
        "The model seems to overfit, since its eval loss is bad and its training loss good. But "
        "the data are the training data, so that nothing is overfit: the running statistics break "
        "what the weights have learned.",
        _RECOMPUTE
        + ". `diagnose` shows the loss with running, batch and precise statistics, and the "
        "intervals.",
        _WU,
        example="batches = (torch.randn(256, 4) + 3).split(32)\n"
        "bnc.diagnose(nn.BatchNorm1d(4), batches, loss=lambda y, x: y.square().mean(1))",
    ),
    Explanation(
        "BN210",
        "Which norms' statistics matter most",
        ("info",),
        ("diagnose",),
        "Where three or more norms are stale (BN201), all get precise statistics, and one after "
        "the other its running ones back: how much the output changes, root mean square, for the "
        "first batch. At most eight norms are tried, those that are farthest off, and fewer than "
        "there are batches.",
        "The norms that change the output most are those to look at first: what is upstream of "
        "them changed after the statistics were averaged.",
        _RECOMPUTE + " mends all of them.",
        example="model = nn.Sequential(*(nn.BatchNorm1d(4) for _ in range(3)))\n"
        "for norm in model:\n"
        "    norm.running_var.fill_(9.0)\n"
        "bnc.diagnose(model, torch.randn(256, 4).split(32))",
    ),
    Explanation(
        "BN212",
        "Too few data for precise statistics",
        ("info",),
        ("diagnose",),
        "The samples are drawn into two halves, whose means differ by more than 0.3 sigma at a "
        "norm (root mean square over at most 64 channels): all together are then uncertain by more "
        "than 0.15 sigma.",
        "Statistics that are recomputed from these data would be as far off as those that BN201 "
        "calls stale. A thousand to ten thousand samples are enough for most networks.",
        "Give more data. The column *enough* says how many bring the error to 0.03 sigma.",
        _WU,
        example="bnc.diagnose(nn.BatchNorm1d(4), [torch.randn(8, 4)])",
    ),
)
