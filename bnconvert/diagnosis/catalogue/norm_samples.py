"""What the findings of `diagnose` about samples at norms mean: BN206-BN209, BN211."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_DATA = ("diagnose",)
_SEEN = (
    "Measured at the means of single samples over their positions, of at most 64 channels of a "
    "norm, with each batch normalized by itself. "
)
_IF_TRAINING = "For a model in training mode, whose batches are taken for those of the training. "
NORM_SAMPLES = (
    Explanation(
        "BN206",
        "Mixed domains with statistics of their own",
        ("warning",),
        _DATA,
        _SEEN + "`domains=` is given, and more than a tenth of the variance lies between the "
        "domains, and eight times what arbitrary domains of these sizes would have; some batches "
        "hold several domains.",
        "One set of statistics is an average of all domains, which fits none. A tenth of the "
        "variance between two domains means that each is off by a third of sigma.",
        "`bnc.Separate(domains=(...))`: one set of statistics for each domain.",
        "Wu and Johnson, \"Rethinking 'Batch' in BatchNorm\", 2021, section 5; "
        "woozch/DSBN#10, tingxueronghua/pytorch-classification-advprop#3",
    ),
    Explanation(
        "BN207",
        "Domains in batches of their own",
        ("warning",),
        _DATA,
        _SEEN + "As BN206, where every batch is of one domain, such as real and generated images.",
        "Training normalizes each batch by itself, so that the domains look alike to the layers "
        "downstream; eval mode normalizes both by the same statistics, and they differ.",
        "Mix the domains in each batch, or `bnc.Separate(domains=(...))`; for a discriminator "
        "also `bnc.Group()`.",
        "soumith/ganhacks#9, carpedm20/DCGAN-tensorflow#266",
    ),
    Explanation(
        "BN208",
        "Groups of samples that are alike in a batch",
        ("warning",),
        _DATA,
        _IF_TRAINING + _SEEN + "Samples that are some places apart in their batch correlate by "
        "more than 0.25, and by more than in any of 199 shuffled orders of each batch, at one of "
        "four norms; the first batches of equal size are looked at, at least 64 and about 512 "
        "samples. Differences between given domains are subtracted.",
        "Frames of a video, regions of an image or two views of it tell each other, through the "
        "batch's statistics, which group they belong to: training has information that eval mode "
        "has not.",
        "Put the samples of a group into different batches, or `bnc.Frozen()` for a pretrained "
        "model, `bnc.Group()` for a training from the start.",
        "Wu and Johnson, \"Rethinking 'Batch' in BatchNorm\", 2021, section 6; "
        "facebookresearch/moco#46",
    ),
    Explanation(
        "BN209",
        "Batches that are not alike",
        ("warning",),
        _DATA,
        _IF_TRAINING + _SEEN + "One of three: as BN208, and the end of a batch correlates as much "
        "with the beginning of the next (data in an order); at the first norm more than a tenth of "
        "the variance of samples lies between batches, and more than in any of 199 shuffled orders "
        "(each batch of another kind); or the last batch has less than a quarter of the usual "
        "samples and its mean is off by more than 0.5 sigma.",
        "The running statistics are an average over the last ten batches or so: where these are "
        "not like all data, neither is the average. A last batch of a few samples counts as much "
        "as a full one, and is the last before the evaluation.",
        "`DataLoader(..., shuffle=True, drop_last=True)`.",
    ),
    Explanation(
        "BN211",
        "Values that overflow",
        ("error", "info"),
        _DATA,
        "An error where a NaN or an infinity arrives at a norm, each batch normalized by itself; "
        "an info where float32 values arrive that exceed 65504, the largest number of float16.",
        "One training step on such a batch makes the running statistics NaN for good: no later "
        "batch brings the average back.",
        "bfloat16 instead of float16, or float32 for this part; or skip such batches.",
        "pytorch/pytorch#88474, pytorch/pytorch#115500",
    ),
)
