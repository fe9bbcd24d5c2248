"""What the findings about how norms are set and fed mean: BN001, BN006 to BN010, BN022."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_STATIC = ("inspect", "diagnose")
SETTINGS = (
    Explanation(
        "BN001",
        "Frozen weights, moving statistics",
        ("warning",),
        _STATIC,
        "Weight and bias of the norm have `requires_grad=False`, its `training` is True, and it "
        "tracks running statistics. A norm without weight and bias is not meant.",
        "`requires_grad_(False)` freezes parameters only. The norm still normalizes by the batch, "
        "and its running statistics drift to the new data, while everything around it stays.",
        "`bnc.convert(model, bnc.Frozen())` freezes the statistics as well.",
        "pytorch/pytorch#86590, pytorch/pytorch#66073",
        example="model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).requires_grad_(False)\n"
        "bnc.inspect(model)",
    ),
    Explanation(
        "BN006",
        "Running statistics that never move",
        ("error", "warning"),
        _STATIC,
        "`momentum == 0`, and the norm tracks running statistics in training mode. A warning where "
        "it is in eval mode now.",
        "Training normalizes by the batch, eval by statistics that no training ever changes.",
        "Set `momentum` to 0.1. Where the statistics are meant to stay, `bnc.Frozen()` uses them "
        "in training too.",
        "Cadene/pretrained-models.pytorch#5",
        example="bnc.inspect(nn.BatchNorm2d(8, momentum=0.0))",
    ),
    Explanation(
        "BN007",
        "Stored statistics that the first batch replaces",
        ("warning",),
        _STATIC,
        "`momentum` is None, `num_batches_tracked` is 0, and the running statistics are not mean "
        "0 and variance 1.",
        "With momentum None the running statistics are the mean over all counted batches. None is "
        "counted, so that the first training batch gets the whole weight, and what a checkpoint "
        "stored is gone.",
        "Set a momentum, or `num_batches_tracked` to the number of batches behind the statistics.",
        example="norm = nn.BatchNorm2d(8, momentum=None)\n"
        "norm.running_mean.fill_(5.0)\n"
        "bnc.inspect(norm)",
    ),
    Explanation(
        "BN008",
        "An eps of 0, or several",
        ("warning", "info"),
        _STATIC,
        "A warning where `eps == 0` and the norm normalizes by the batch in training; an info "
        "where the norms of the model have more than one eps (the less frequent ones are listed).",
        "Without eps a channel that is constant in a batch becomes NaN. Different eps are what is "
        "left where a part was built with another framework's default: 1e-5 in torch, 1e-3 in "
        "Keras and MXNet. They are right where the parts were trained so.",
        "Set the eps of the training that the weights come from.",
        "pytorch/vision#2599",
        example="bnc.inspect(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4, eps=1e-3)))",
    ),
    Explanation(
        "BN010",
        "A bias that the norm takes away",
        ("info",),
        ("inspect",),
        "The norm tracks in training mode, and its only traced call takes the output of a "
        "convolution with a bias that nothing else uses.",
        "The norm subtracts the mean, and the bias with it: its gradient is zero, and it costs "
        "memory and time. In eval mode it only shifts the running mean.",
        "Make the convolution with `bias=False`. In a trained model, subtract the bias from "
        "`running_mean` first: neither training nor eval changes. The key leaves the state_dict.",
        example="bnc.inspect(nn.Sequential(nn.Conv2d(3, 8, 3, bias=True), nn.BatchNorm2d(8)))",
    ),
    Explanation(
        "BN022",
        "A norm that is never called",
        ("warning", "info"),
        _STATIC,
        "The forward was traced, or captured with example inputs, and does not call the norm. A "
        "warning where the model is in training mode, an info in eval mode.",
        "It gets neither gradients nor statistics, and DistributedDataParallel waits for its "
        "gradients unless told of unused parameters. In eval mode it may be a head that only "
        "training uses.",
        "Remove it, or call it.",
        example="class Skipping(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n"
        "bnc.inspect(Skipping())",
    ),
)
