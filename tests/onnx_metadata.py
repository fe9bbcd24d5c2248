"""What an ONNX file says of itself, read by onnx alone."""

from pathlib import Path

import onnx


def metadata_of(path: Path) -> dict[str, str]:
    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}
