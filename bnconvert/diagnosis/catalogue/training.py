"""What the findings about a loader, an optimizer and wrappers mean: BN013, BN203, BN205, BN3xx."""

from bnconvert.diagnosis.catalogue.explanation import Explanation

_STATIC = ("inspect", "diagnose")
_ASKED = ("inspect",)
TRAINING = (
    Explanation(
        "BN013",
        "One value per image",
        ("warning", "info"),
        _ASKED,
        "With example inputs, a norm that normalizes by the batch in training gets one value per "
        "image and channel: N x H x W == N, as after a global pooling. A warning where the loader "
        "gives fewer than 16 images, an info where no loader is given.",
        "The mean and variance of a channel are those of as few numbers as there are images. Of "
        "two images every output is +1 or -1, and a batch of one raises.",
        "`bnc.Frozen()` or a layer norm there, or larger batches.",
        "pytorch/pytorch#7716",
        example="model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))\n"
        "bnc.inspect(model, (torch.randn(2, 3, 8, 8),))",
    ),
    Explanation(
        "BN203",
        "Too few images to normalize by",
        ("error", "warning"),
        _STATIC,
        "The loader's batches, or the median batch that `diagnose` is given for a model in "
        "training mode, have fewer than 16 images (an error below 4), and the norm "
        "normalizes by one device's batch in training. Norms that are frozen, synchronized or "
        "corrected (`bnc.Renorm`) are not meant. The images count, not N x H x W: the positions "
        "of one image resemble each other.",
        "The mean and variance of a small batch are noise, and eval mode normalizes by others: "
        "the error rises as the batch shrinks.",
        "Larger batches, `bnc.Sync()` over devices, `bnc.Frozen()` for trained statistics, or "
        '`bnc.Group()`. `bnc.prepare(model, "auto", batch_size=2)` chooses.',
        'Wu and He, "Group Normalization", 2018, section 4.1; Wu and Johnson, "Rethinking '
        "'Batch' in BatchNorm\", 2021, section 3",
        example="from torch.utils.data import DataLoader\n"
        "loader = DataLoader(torch.randn(64, 3, 8, 8), batch_size=2)\n"
        "bnc.inspect(nn.BatchNorm2d(3), loader=loader)",
    ),
    Explanation(
        "BN205",
        "A last batch of one image",
        ("error", "warning"),
        _STATIC,
        "The number of samples leaves a rest of 1 by the loader's batch size, and the last batch "
        "is not dropped. An error where a norm is known to get one value per image (with example "
        "inputs), else a warning. `diagnose`, for a model in training mode: a batch arrives at a "
        "norm with one value per channel.",
        'Training stops at the end of the epoch with "Expected more than 1 value per channel", or '
        "the last image is normalized by itself and enters the running statistics.",
        "`drop_last=True`, or another batch size.",
        "pytorch/pytorch#7716, fastai/fastai#1352",
        example="from torch.utils.data import DataLoader\n"
        "loader = DataLoader(torch.randn(65, 3, 8, 8), batch_size=16)\n"
        "bnc.inspect(nn.BatchNorm2d(3), loader=loader)",
    ),
    Explanation(
        "BN301",
        "Weight decay on norms",
        ("warning",),
        _ASKED,
        "A weight or bias of a norm (batch, group, layer, RMS or one that is called so) that "
        "requires gradients is in a group of the optimizer with `weight_decay > 0`.",
        "Decay pulls the factors and shifts of norms to 0. Behind a norm, decay of the weights "
        "changes the effective learning rate only; of the norm itself, it changes the function.",
        "`bnc.exempt_norms(model, optimizer)`, or the groups of `bnc.prepare`.",
        "pytorch/pytorch#1402, ultralytics/yolov3#469",
        example="model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        "optimizer = torch.optim.SGD(model.parameters(), 0.1, weight_decay=1e-4)\n"
        "bnc.inspect(model, optimizer=optimizer)",
    ),
    Explanation(
        "BN302",
        "Several batches counted in a step",
        ("info",),
        _ASKED,
        "`num_batches_tracked` is exactly a multiple, from 2 on, of the steps that the optimizer "
        "counted (50 or more; of SGD, which counts none, nothing is said), beyond the traced "
        "calls, and the momentum *m* acts as 1 - (1 - m)^k > 0.1. That gradients are accumulated "
        "over k batches or that the model runs k times in a step looks the same; so does a "
        "training before, with another optimizer.",
        "The running statistics are an average over fewer steps than the momentum says: 0.1 acts "
        "as 0.57 for k = 8. And each norm still normalizes by the small batch.",
        "`bnc.accumulated_momentum(momentum, k)`, or `bnc.prepare(..., accumulate=k)`. For further "
        "forwards, `bnc.update_statistics(model, False)` around them, or `bnc.Separate`.",
        "ultralytics/yolov5#1630, NVIDIA/DeepLearningExamples#625",
        example="model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        "optimizer = torch.optim.Adam(model.parameters())\n"
        "for _ in range(50):\n"
        "    for _ in range(4):\n"
        "        model(torch.randn(8, 4)).square().mean().backward()\n"
        "    optimizer.step()\n"
        "bnc.inspect(model, optimizer=optimizer)",
    ),
    Explanation(
        "BN303",
        "Norms that are recomputed",
        ("warning",),
        _STATIC,
        "A norm that tracks in training mode lies inside of a module that is wrapped for gradient "
        "checkpointing, or has an attribute that switches it on (`grad_checkpointing`, "
        "`gradient_checkpointing`, `memory_efficient`, `use_checkpoint`, `with_cp`).",
        "The forward runs a second time in the backward pass and updates the running statistics "
        "again: a momentum *m* acts as 1 - (1 - m)^2.",
        "`context_fn=lambda: bnc.checkpoint_contexts(model)`, or "
        "`bnc.accumulated_momentum(momentum, 2)`.",
        "pytorch/pytorch#96136, facebookresearch/fairscale#1035",
        example="model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        "model.gradient_checkpointing = True\n"
        "bnc.inspect(model)",
    ),
    Explanation(
        "BN311",
        "A small last batch",
        ("info",),
        _ASKED,
        "The last batch of an epoch is smaller than a quarter of the others, larger than one "
        "image, and not dropped.",
        "It moves the running statistics as far as a whole batch does, and it is the last before "
        "an evaluation.",
        "`drop_last=True`, or another batch size.",
        example="from torch.utils.data import DataLoader\n"
        "loader = DataLoader(torch.randn(66, 3, 8, 8), batch_size=16)\n"
        "bnc.inspect(nn.BatchNorm2d(3), loader=loader)",
    ),
    Explanation(
        "BN312",
        "Averaged weights with other weights' statistics",
        ("info",),
        _STATIC,
        "A norm that tracks statistics lies inside of torch's `AveragedModel` that has averaged "
        "some weights, or of timm's `ModelEmaV2` or `ModelEmaV3`. Whether its statistics were "
        "measured since cannot be seen.",
        "Running statistics are those of the activations that the training's weights produced. "
        "The averaged weights produce others.",
        "`bnc.recompute_statistics(model, batches)` before each evaluation and before saving.",
        "huggingface/pytorch-image-models#102, fadel/pytorch_ema#13",
        example="from torch.optim.swa_utils import AveragedModel\n"
        "model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        "average = AveragedModel(model)\n"
        "average.update_parameters(model)\n"
        "bnc.inspect(average)",
    ),
    Explanation(
        "BN314",
        "Frozen parameters in the optimizer",
        ("warning", "info"),
        _ASKED,
        "A parameter with `requires_grad=False` is in a group of the optimizer. A warning where "
        "its `.grad` is not None.",
        "Without a gradient the optimizer passes over it. With one that was left from before, or "
        "zeros of `zero_grad(set_to_none=False)`, it goes on moving the parameter by momentum and "
        "weight decay.",
        "Take them out of the groups, or set their `.grad` to None.",
        example="model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        "optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
        "model[0].requires_grad_(False)\n"
        "bnc.inspect(model, optimizer=optimizer)",
    ),
    Explanation(
        "BN315",
        "Trainable parameters that no optimizer moves",
        ("error", "info"),
        _ASKED,
        "A parameter with `requires_grad=True` is in no group of the optimizer. An error where "
        "none of the model's parameters is.",
        "It never moves, while the running statistics of norms around it do. Where none is held, "
        "the optimizer was made for another model: `bnc.convert` returns a copy.",
        "Make the optimizer from the parameters of the converted model, or freeze what is not to "
        "be trained.",
        example="model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        "optimizer = torch.optim.SGD(model[1].parameters(), 0.1)\n"
        "bnc.inspect(model, optimizer=optimizer)",
    ),
)
