"""Without a connection, Hugging Face's own library is not left to ask again and again."""

import socket
from pathlib import Path
from typing import Any

import pytest

from bnconvert.cli.models.hub import hub_asked_once
from bnconvert.cli.models.zoo_models import timm_model
from bnconvert.errors import LoadError

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Cut the network off below every client, and count the names that are looked up."""
    names: list[str] = []

    def no_network(host: str, *_: object, **__: object) -> Any:
        names.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return names


@pytest.mark.parametrize("name", ["hf-hub:somebody/some-model", "resnet18"])
def test_it_is_asked_once_and_the_way_out_is_said(name: str, asked: list[str]) -> None:
    pytest.importorskip("timm")
    said = (
        r"its weights are not on this machine and cannot be downloaded \(https://hub\.invalid: "
        r".*Name or service not known\); give a checkpoint with --weights FILE"
    )
    with pytest.raises(LoadError, match=said):
        timm_model(name, {}, pretrained=True)
    assert len(asked) == 1
    assert constants.HF_HUB_OFFLINE is False, "as it was"


def test_who_switched_it_off_is_not_asked(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub_asked_once() as failure:
        assert (failure, asked) == (None, [])
    assert constants.HF_HUB_OFFLINE is True


def test_any_answer_is_one(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def head(self, address: str, timeout: float) -> object:
            return address

    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    with hub_asked_once() as failure:
        assert (failure, constants.HF_HUB_OFFLINE) == (None, False)
