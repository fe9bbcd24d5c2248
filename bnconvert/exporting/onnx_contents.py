"""What an ONNX file holds, read once: the sizes of its inputs, its metadata, what it computes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconvert.exporting.onnx_nodes import nodes_of
from bnconvert.exporting.onnx_weights import files_of


@dataclass(frozen=True, eq=False)
class OnnxContents:
    """What an ONNX file holds, but for weights in a file beside it.

    Attributes:
        path: the file.
        model: what onnx read of it.
    """

    path: Path
    model: Any

    @classmethod
    def of(cls, path: Path) -> "OnnxContents":
        """Read a file; errors of onnx pass through."""
        import onnx

        return cls(path, onnx.load(str(path), load_external_data=False))

    @property
    def properties(self) -> dict[str, str]:
        """The file's own metadata (`metadata_props`)."""
        return {entry.key: entry.value for entry in self.model.metadata_props}

    @property
    def input_axes(self) -> dict[str, list[int | str]]:
        """The sizes of the inputs' axes: numbers, and names where they may vary."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        return {
            value.name: [
                axis.dim_value if axis.HasField("dim_value") else axis.dim_param
                for axis in value.type.tensor_type.shape.dim
            ]
            for value in self.model.graph.input
            if value.name not in weights
        }

    @property
    def size(self) -> int:
        """The bytes of the file and its weights."""
        return sum(file.stat().st_size for file in files_of(self.path, self.model))

    def count(self, operator: str) -> int:
        """Count the nodes of one operator type, subgraphs and functions included."""
        graphs = (self.model.graph, *self.model.functions)
        return sum(node.op_type == operator for graph in graphs for node in nodes_of(graph))

    def digest(self) -> str:
        """Return a digest of all that the file computes: its graph, functions and weights.

        It does not depend on the file's name, nor on its metadata.
        """
        graph = self.model.graph
        places = [e for t in graph.initializer for e in t.external_data if e.key == "location"]
        names = [place.value for place in places]
        try:
            for place in places:
                place.value = ""
            digest = hashlib.sha256(graph.SerializeToString(deterministic=True))
        finally:
            for place, name in zip(places, names, strict=True):
                place.value = name
        for part in (*self.model.functions, *self.model.opset_import):
            digest.update(part.SerializeToString(deterministic=True))
        for weights in files_of(self.path, self.model)[1:]:
            with weights.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()

    def label(self, properties: Mapping[str, str]) -> None:
        """Write the file again, with `properties` as its metadata."""
        import onnx

        onnx.helper.set_model_props(self.model, dict(properties))
        onnx.save(self.model, str(self.path))
