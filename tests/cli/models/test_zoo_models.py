"""Models of the real timm and torchvision; nothing is downloaded."""

import json
from pathlib import Path

import pytest
import torch

from bnconvert.cli.models.model_source import load_model
from bnconvert.cli.models.zoo_models import timm_model, torchvision_model
from bnconvert.errors import LoadError, UsageError


def test_timm_makes_a_model_with_arguments_and_an_example_of_its_size() -> None:
    pytest.importorskip("timm")
    arguments = ["num_classes=10", "in_chans=1"]
    model, example = load_model("timm:mobilenetv3_small_050", None, None, arguments=arguments)
    assert model.get_parameter("classifier.weight").shape[0] == 10
    assert isinstance(example, tuple)
    assert example[0].shape == (1, 1, 224, 224)


def test_a_folder_of_timm_is_loaded_with_its_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    save_file = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(3)
    state = timm.create_model("mobilenetv3_small_050", num_classes=10).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    config = {"architecture": "mobilenetv3_small_050", "num_classes": 10}
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "pretrained_cfg": {"input_size": [3, 64, 64], "num_classes": 10}})
    )
    model, size = timm_model(f"local-dir:{tmp_path}", {}, pretrained=None)
    assert size == (3, 64, 64)
    assert torch.equal(model.state_dict()["classifier.weight"], state["classifier.weight"])


def test_a_name_that_is_none_is_answered_with_those_that_are_near() -> None:
    pytest.importorskip("timm")
    with pytest.raises(LoadError, match=r"Unknown model \(resnt18\); did you mean resnet18 or"):
        timm_model("resnt18", {}, pretrained=False)
    with pytest.raises(LoadError, match=r"tag .*; did you mean resnet18\.a1_in1k or"):
        timm_model("resnet18.a1_in2k", {}, pretrained=False)
    pytest.importorskip("torchvision")
    with pytest.raises(LoadError, match="did you mean resnet18 or"):
        torchvision_model("resnt18", {}, pretrained=False)
    with pytest.raises(LoadError, match="write torchvision:resnet18@IMAGENET1K_V1, "):
        torchvision_model("resnet18@IMAGENET", {}, pretrained=False)


def test_without_a_connection_the_way_out_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("timm")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    said = r"weights are not on this machine and cannot be downloaded \(no route to host\); give a"
    with pytest.raises(LoadError, match=said):
        torchvision_model("resnet18@IMAGENET1K_V1", {}, pretrained=False)
    with pytest.raises(LoadError, match=said):
        torchvision_model("resnet18", {}, pretrained=True)
    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    with pytest.raises(LoadError, match=said):
        timm_model("mobilenetv3_small_050", {}, pretrained=True)


def test_arguments_that_do_not_go_together_are_a_usage_error() -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(
        UsageError, match=r"these weights have their own classes .*; leave out num_"
    ):
        torchvision_model("resnet18", {"num_classes": 10}, pretrained=True)
    with pytest.raises(UsageError, match=r"unexpected keyword argument .*; --model-kwargs gives"):
        torchvision_model("resnet18", {"classes": 10}, pretrained=False)


def test_torchvisions_example_is_of_the_size_that_its_weights_expect() -> None:
    pytest.importorskip("torchvision")
    _, size = torchvision_model("efficientnet_b1", {}, pretrained=False)
    assert size == (3, 240, 240)
    _, size = torchvision_model("lraspp_mobilenet_v3_large", {}, pretrained=False)
    assert size == (3, 224, 224)
