import json
from pathlib import Path

import bnconvert as bnc
from tests.onnx_metadata import metadata_of
from tests.zoo import build


def test_the_file_says_the_outcome_of_each_norm(tmp_path: Path) -> None:
    bnc.export(*build("norm_called_twice"), tmp_path / "m.onnx")
    said = metadata_of(tmp_path / "m.onnx")
    assert json.loads(said["bnconvert.norms"]) == [
        {
            "path": "norm",
            "call": number,
            "outcome": "folded",
            "fold": "direct",
            "reason": f"call {number} of 2: into conv{number} (conv2d)",
        }
        for number in (1, 2)
    ]
    assert (said["bnconvert.folded"], said["bnconvert.standing"]) == ("2", "0")
    assert json.loads(said["bnconvert.verification"])["passed"]


def test_a_norm_that_stands_has_its_reason_there(tmp_path: Path) -> None:
    bnc.export(*build("pre_activation"), tmp_path / "m.onnx")
    (norm,) = json.loads(metadata_of(tmp_path / "m.onnx")["bnconvert.norms"])
    assert norm["outcome"] == "standing"
    assert "relu" in norm["reason"]
