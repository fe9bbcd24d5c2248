"""Which norm for which batch, data and task: one table, for `suggest` and for docs/norms.md.

"Paper" is Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, and "talk" is "Devils in
BatchNorm" by Yuxin Wu. Numbers of images count what one norm sees in one training forward.
"""

from dataclasses import dataclass

#: Fewer images than these are a small batch: in the talk's slide 24 the error rises below them.
SMALL = 16
#: So many images are a very large batch: slide 24's error is higher there than at 32.
LARGE = 1024


@dataclass(frozen=True)
class Choice:
    """One row of the table.

    Attributes:
        case: for whom it is.
        use: the norm, and what is called with it, as code in backticks.
        why: one clause.
        source: slide, paper and section, sample, or public thread.
        besides: what to do besides converting, a sentence each.
    """

    case: str
    use: str
    why: str
    source: str
    besides: tuple[str, ...] = ()


_RECOMPUTE = (
    "call recompute_statistics(model, batches) before testing or shipping: the running "
    "statistics are a moving average"
)
#: What to do besides, wherever a norm becomes group norm.
TRAIN_ON = "train on: group norm is another function than the batch norm that was trained"
_MOMENTUM = (
    "where gradients are accumulated over k micro-batches, use prepare(..., accumulate=k), which "
    "sets accumulated_momentum; the batch that normalizes stays the micro-batch"
)

MIXED = Choice(
    f"batches of {SMALL} or more per device, mixed at random",
    "`Keep()`",
    "batch norm is at its best",
    "talk, slide 24: 23.7 % wrong by 16 images, 23.6 % by 32 and 64",
    (_RECOMPUTE,),
)
SMALL_PRETRAINED = Choice(
    f"fine-tuning, fewer than {SMALL} images per device",
    "`Frozen()`",
    "the pretrained statistics are better than those of a few images",
    "paper, section 4; `samples/finetune_small_batch.py`",
    (
        "begin with a smaller learning rate: a frozen norm no longer keeps values in their range",
        "where your data look different, call recompute_statistics(model, batches) first, and use "
        'Frozen(affine="trainable")',
    ),
)
OTHER_DATA = Choice(
    "the same, and the data look different",
    '`Frozen(affine="trainable")` after `recompute_statistics`',
    "statistics of your data, and no noise",
    "paper, section 5",
)
SMALL_DEVICES = Choice(
    "training from scratch, small batches, several devices",
    "`Sync()`",
    "one large batch over all devices",
    "talk, slides 24 and 41",
    ("every process must call each norm equally often", _MOMENTUM, _RECOMPUTE),
)
SMALL_SCRATCH = Choice(
    "training from scratch, small batches, one device",
    "`Group(32)`, or `Renorm()`",
    "independent of the batch, or corrected",
    "talk, slide 24: 35 % wrong by 2 images; Wu and He 2018: 10.6 % less there with group norm",
)
RELATED_PRETRAINED = Choice(
    "batches that are alike inside (video, regions of an image, one patient), pretrained",
    "`Frozen()`",
    "the batch's statistics tell which batch it is, and fixed ones do not",
    "paper, section 6; detectron2's default, FrozenBN",
    SMALL_PRETRAINED.besides,
)
RELATED_SCRATCH = Choice(
    "batches that are alike inside, from scratch",
    "`Group(32)`, or `Sync()` over several devices",
    "the batch's statistics tell which batch it is",
    "paper, section 6; talk, slide 31: related samples, 67.0 % right with batch norm",
    ("shuffle what is related over batches and devices where the task allows it",),
)
REINFORCEMENT = Choice(
    "reinforcement learning",
    "`Renorm()`",
    "the data change while the agent learns, so that batch and running statistics part",
    "talk, slide 31: related samples, 67.0 % right to 78.6 % with Renorm; "
    "DLR-RM/stable-baselines3#996",
    (
        "act with use_statistics(model, 'running'), or in eval mode",
        "copy buffers to the target network too, not only parameters",
    ),
)
DOMAINS = Choice(
    "several sources of data",
    '`Separate(("a", "b"))`',
    "an average of two domains fits neither",
    "paper, section 5; `samples/two_domains.py`: 66.4 % wrong to 4.5 %",
    (
        "name the domain of each batch: with bnc.domain(model, name): model(batch)",
        "call recompute_statistics(model, batches, domain=name) for each domain before testing",
    ),
)
OTHER_DOMAIN = Choice(
    "another domain at test time, without labels",
    "`Adaptive(...)`",
    "its statistics can be had without labels",
    "Schneider et al. 2020: ImageNet-C, ResNet-50, mCE 76.7 to 62.2",
)
VERY_LARGE = Choice(
    f"batches of {LARGE} or more per device, from scratch",
    "`Ghost(32)`",
    "normalizes as small batches do",
    "talk, slide 24: 23.9 % wrong by 1024 images, 23.6 % by 32; Hoffer et al. 2017",
    (_RECOMPUTE,),
)
GAN = Choice(
    "a GAN's discriminator",
    "`Keep()`, with `update_statistics` or `use_statistics` for the fake batch",
    "real and fake batches would update one set of statistics, which fits neither",
    "talk, slide 33",
    (
        "call the discriminator on fake batches inside bnc.update_statistics(model, False), or "
        "inside bnc.use_statistics(model, 'running')",
    ),
)
INDEPENDENT = Choice(
    "samples that must not see each other",
    "`Virtual(reference, per_sample=True)`, `Group(32)`",
    "no sample depends on the rest of its batch",
    "talk, slide 27; Salimans et al. 2016",
)
WRONG_STATISTICS = Choice(
    "eval is far worse than training",
    "`recompute_statistics`, whatever the norm",
    "the running statistics are a moving average",
    "paper, section 3; talk, slides 15 and 20",
)

#: The table, in the order of docs/norms.md.
CHOICES = (
    MIXED,
    SMALL_PRETRAINED,
    OTHER_DATA,
    SMALL_DEVICES,
    SMALL_SCRATCH,
    RELATED_PRETRAINED,
    RELATED_SCRATCH,
    REINFORCEMENT,
    DOMAINS,
    OTHER_DOMAIN,
    VERY_LARGE,
    GAN,
    INDEPENDENT,
    WRONG_STATISTICS,
)


def markdown_table() -> str:
    """Return the table as docs/norms.md has it."""
    rows = [f"| {c.case} | {c.use} | {c.why} | {c.source} |" for c in CHOICES]
    return "\n".join(("| your case | use | why | source |", "|---|---|---|---|", *rows))
