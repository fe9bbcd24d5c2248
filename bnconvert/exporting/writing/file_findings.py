"""What is wrong with an ONNX file by itself, of whatever exporter: BN402 and BN410."""

import re
from collections.abc import Iterator
from typing import Any

from bnconvert.exporting.writing.onnx_contents import OnnxContents
from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.files.onnx_nodes import nodes_of
from bnconvert.verification.finding_ids import BATCH_STATISTICS, LOCAL_PATHS

_ABSOLUTE_PATH = re.compile(r'(?:^|[\s"\'(=])(?:/[\w.+-]+){2,}|[A-Za-z]:\\')


def names_a_local_path(text: str) -> bool:
    """Tell whether a text holds an absolute path, of Linux, macOS or Windows."""
    return _ABSOLUTE_PATH.search(text) is not None


def file_findings(file: OnnxContents) -> Iterator[Finding]:
    """Yield the findings about a file that need no model."""
    graphs = (file.model.graph, *file.model.functions)
    nodes = [node for graph in graphs for node in nodes_of(graph)]
    by_batch = [node.name or node.output[0] for node in nodes if _trains(node)]
    if by_batch:
        yield Finding(
            BATCH_STATISTICS,
            "error",
            tuple(by_batch),
            "BatchNormalization nodes with training_mode=1: the file normalizes by the batch that "
            "it is given, not by the stored statistics",
            "export the model in eval mode, as bnc.export does",
        )
    places = {key for entry in (file.model, *graphs, *nodes) for key in _keys_with_paths(entry)}
    if places:
        yield Finding(
            LOCAL_PATHS,
            "info",
            ("(root)",),
            f"the file's notes ({listed(sorted(places))}) hold paths of the machine that wrote it",
            "export with bnc.export, which takes them out; or delete these notes with onnx",
        )


def _trains(node: Any) -> bool:
    """Tell whether a node is batch norm by the statistics of its batch."""
    return node.op_type == "BatchNormalization" and any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    )


def _keys_with_paths(entry: Any) -> Iterator[str]:
    """Yield what of a model's, graph's or node's notes holds a path."""
    if names_a_local_path(entry.doc_string):
        yield "doc_string"
    yield from (note.key for note in entry.metadata_props if names_a_local_path(note.value))
