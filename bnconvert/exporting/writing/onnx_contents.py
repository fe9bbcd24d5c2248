"""What an ONNX file holds, read once: the sizes of its inputs, its metadata, what it computes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from bnconvert.exporting.writing.onnx_weights import files_of
from bnconvert.verification.files.onnx_nodes import nodes_of
from bnconvert.verification.files.onnx_outline import OnnxOutline, outline_of


@dataclass(frozen=True, eq=False)
class OnnxContents:
    """What an ONNX file holds, but for weights in a file beside it.

    Attributes:
        path: the file.
        outline: what was read of it.
    """

    path: Path
    outline: OnnxOutline

    @classmethod
    def of(cls, path: Path) -> "OnnxContents":
        """Read a file; errors of onnx pass through."""
        return cls(path, outline_of(path))

    @property
    def model(self) -> Any:
        """What the file holds as a model of onnx, without the numbers of weights."""
        return self.outline.model

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
        digest = hashlib.sha256()
        whole = self.outline.graph
        if whole is not None and not files_of(self.path, self.model)[1:]:
            with (
                self.path.open("rb") as file,
                mmap(file.fileno(), 0, access=ACCESS_READ) as data,
                memoryview(data) as view,
                view[whole] as graph,
            ):
                digest.update(graph)
        else:
            digest.update(self._graph_without_places())
        for part in (*self.model.functions, *self.model.opset_import):
            digest.update(part.SerializeToString(deterministic=True))
        for weights in files_of(self.path, self.model)[1:]:
            with weights.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()

    def _graph_without_places(self) -> bytes:
        """Return the graph as onnx writes it, but for where its weights lie."""
        graph = self._read_whole().graph
        for tensor in graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = ""
        return bytes(graph.SerializeToString(deterministic=True))

    def _read_whole(self) -> Any:
        import onnx

        return onnx.load(str(self.path), load_external_data=False)

    def label(self, properties: Mapping[str, str]) -> None:
        """Write `properties` into the file as its metadata.

        Where it has none they are added at its end: protobuf reads a field wherever it stands.
        """
        import onnx

        if self.model.metadata_props:
            model = self._read_whole()
            onnx.helper.set_model_props(model, dict(properties))
            onnx.save(model, str(self.path))
            return
        added = onnx.ModelProto()
        onnx.helper.set_model_props(added, dict(properties))
        with self.path.open("ab") as file:
            file.write(added.SerializeToString())
