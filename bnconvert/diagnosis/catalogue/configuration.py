"""What the findings about the configuration and the calls of norms mean: BN0xx but BN002, BN015."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_STATIC = ("inspect", "diagnose")
CONFIGURATION = (
    Explanation(
        "BN003",
        "A norm in eval mode inside a model in training mode",
        ("warning", "info"),
        _STATIC,
        "The model's `training` is True, the norm's is False, and the norm is not frozen by its "
        "class. A warning where `model.train()` would put the norm into training mode again (tried "
        "on a copy); an info where the model's own `train()` keeps it in eval mode.",
        "Freezing by `norm.eval()` lasts until the next `model.train()`, which most training loops "
        "call in every epoch. From then on the running statistics change again.",
        "`bnc.convert(model, bnc.Frozen())` freezes it for good.",
        "torch/nn#873",
        example="bnc.inspect(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4).eval()))",
    ),
    Explanation(
        "BN004",
        "A norm without running statistics",
        ("info",),
        _STATIC,
        "The norm has no `running_mean` and no `running_var` (`track_running_stats=False`).",
        "It normalizes by the batch in eval mode too: the output of a sample depends on which "
        "other samples are in its batch, and the norm cannot be folded.",
        "Make the norm with `track_running_stats=True` and train, or recompute its statistics. "
        "Leave it where test-time batches are meant.",
        "pytorch/pytorch#75252",
        example="bnc.inspect(nn.BatchNorm2d(8, track_running_stats=False))",
    ),
    Explanation(
        "BN005",
        "A momentum that looks like another framework's",
        ("warning",),
        _STATIC,
        "`momentum >= 0.5`, and the norm tracks running statistics in training mode.",
        "torch's momentum *m* is the share of the **new** value. The running mean is then an "
        "average over few batches: the standard deviation of its noise is sqrt(m / (2 - m)) times "
        "that of one batch's mean, 0.90 at 0.9 and 0.23 at 0.1. Keras, MXNet, Flax and Paddle "
        "write the share of the *old* value: their 0.9 is torch's 0.1.",
        "Set `momentum = 1 - momentum`. `bnc.conventions` converts whole norms of other "
        "frameworks.",
        "Cadene/pretrained-models.pytorch#44, eriklindernoren/PyTorch-YOLOv3#230",
        example="bnc.inspect(nn.BatchNorm2d(8, momentum=0.9))",
    ),
    Explanation(
        "BN009",
        "One norm, several calls in one forward",
        ("warning",),
        _STATIC,
        "The traced forward calls the same module more than once (one module under two names "
        "included), and it has not one set of statistics for each call.",
        "All calls update one set of statistics, though their inputs differ: the average fits "
        "none of them. With `inspect(model, inputs)` the calls are also counted where torch.fx "
        "cannot trace.",
        "Give each call a norm of its own, or `bnc.convert(model, "
        'bnc.Separate(domains="calls"))`: one set of statistics for each call.',
        "Wu and Johnson, \"Rethinking 'Batch' in BatchNorm\", 2021, section 5; "
        "pytorch/pytorch#1738",
        example="norm = nn.BatchNorm1d(4)\nbnc.inspect(nn.Sequential(norm, nn.ReLU(), norm))",
    ),
    Explanation(
        "BN012",
        "A batch norm that no rewrite may replace",
        ("error", "warning"),
        _STATIC,
        "The class has a forward of its own, or another formula; or the norm is lazy, has a "
        "parametrized weight, or had its `forward` replaced on the object. A warning where the "
        "model's forward does not call it.",
        "To replace it would silently drop what its own code does. `convert` refuses it by name; "
        "folding and export do not depend on the class, and are not affected.",
        "The message says what is in the way and what to do. `bnc.Keep()` leaves the norm as it "
        "is and lets the rest of the policy pass.",
        "pytorch/pytorch#187298",
        example="bnc.inspect(nn.LazyBatchNorm2d())",
    ),
    Explanation(
        "BN019",
        "A normalization that is not a norm module",
        ("info",),
        _STATIC,
        "`F.batch_norm` is called in a forward, a norm is made inside of a forward, a module uses "
        "a norm's statistics without calling it, or an instance norm has running statistics.",
        "`convert` and `recompute_statistics` replace and measure norm *modules*: these are left "
        "alone. `fold` and `export` see them, since they work on operators.",
        "Use an `nn.BatchNorm` module held by the model, and call it, where it should be converted "
        "or measured.",
        example="bnc.inspect(nn.InstanceNorm2d(8, track_running_stats=True))",
    ),
    Explanation(
        "BN020",
        "A part of the model that cannot be looked into",
        ("info", "warning"),
        _STATIC,
        "An info where torch.fx cannot trace a submodule; a warning where it is TorchScript.",
        "In a submodule that cannot be traced, norms are found and converted, but their calls are "
        "not counted, so that BN009 is not reported. In TorchScript no norm is found.",
        "`bnc.inspect(model, example_inputs)` captures the model with inputs instead. Use the "
        "eager module instead of TorchScript.",
        example="class Choosing(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.norm = nn.BatchNorm1d(4)\n"
        "    def forward(self, x):\n"
        "        return self.norm(x) if x.sum() > 0 else x\n"
        "bnc.inspect(Choosing())",
    ),
    Explanation(
        "BN021",
        "A frozen norm whose parameters are asked to learn",
        ("warning",),
        _STATIC,
        'A norm converted with `Frozen()` (affine="frozen"), and its weight or bias has '
        "`requires_grad=True` again.",
        "The norm stays frozen: no gradient reaches them, whatever `requires_grad` says. A loop "
        "that unfreezes all parameters, as trainers do, has no effect here.",
        '`bnc.Frozen(affine="trainable")` if they should learn; otherwise nothing, or '
        "`bnc.Frozen()` again, which clears the flag.",
        example="bnc.inspect(bnc.convert(nn.BatchNorm2d(8), bnc.Frozen()).requires_grad_())",
    ),
)
