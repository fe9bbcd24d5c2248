"""What is left of the norms of each topology: in our files, others', and in OpenVINO's own graph.

Run by hand (some minutes):

    python -m tests.benchmarks.matrix --json matrix.json

OpenVINO folds at run time. Where it leaves less than we do, the last column says so: a norm may be
an element-wise operation of another name there, so both are counted. What it computes at the end
of another kernel, as a norm behind conv and relu, counts as gone there; no file can say that.
"""

import argparse
import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from bnconvert.graphs.example import Example
from tests.benchmarks import graphs, rivals
from tests.benchmarks.isolated import one_line
from tests.benchmarks.running import OpenVino
from tests.benchmarks.text import aligned
from tests.topologies import TOPOLOGIES, Topology

_COLUMNS = ("norms", "ours stand", "half gone", "torch.onnx", "+onnxslim", "openvino")
HEAD = ("topology", *_COLUMNS, "element-wise in ours", "in openvino", "")


def measured(topology: Topology, folder: Path) -> dict[str, Any]:
    """Return how many norms each column leaves; what fails is left out, with the reason."""
    model = topology.model()
    example = Example.of(topology.inputs())
    row: dict[str, Any] = {"topology": topology.name, "failures": {}}
    base, slim, own = (folder / f"{topology.name}.{name}.onnx" for name in ("base", "slim", "own"))

    @contextlib.contextmanager
    def noted(column: str) -> Any:
        try:
            yield
        except Exception as failure:
            row["failures"][column] = one_line(failure)

    with noted(rivals.OURS):
        norms = rivals.ours(model, example, own).norms
        standing = [norm for norm in norms if norm.outcome == "standing"]
        row |= {"norms": len(norms), rivals.OURS: len(standing)}
        row["half gone"] = sum(bool(norm.fold) for norm in standing)
        graph = graphs.read(own)
        row["element-wise"] = graph.norms + graph.arithmetic
    with noted(rivals.BASE):
        rivals.torch_onnx(model, example, base)
        row[rivals.BASE] = graphs.read(base).norms
    with noted(rivals.SLIM):
        rivals.onnxslim(base, slim)
        row[rivals.SLIM] = graphs.read(slim).norms
    with noted(rivals.OPENVINO):
        graph = graphs.read_openvino(OpenVino(base).compiled, base)
        row |= {rivals.OPENVINO: graph.norms, "its element-wise": graph.arithmetic}
    return row


def line(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a row of the table."""
    norms = ("norms", rivals.OURS, "half gone", rivals.BASE, rivals.SLIM, rivals.OPENVINO)
    element_wise = ("element-wise", "its element-wise")
    pairs = ((rivals.OURS, rivals.OPENVINO), element_wise)
    worse = all(row.get(mine, 0) > row.get(theirs, 1e9) for mine, theirs in pairs)
    remark = "OpenVINO leaves less" if worse else row["failures"].get(rivals.OURS, "")[:70]
    return (
        row["topology"],
        *(str(row.get(column, "")) for column in (*norms, *element_wise)),
        remark,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=lambda text: text.split(","), help="by commas; else all")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [t for t in TOPOLOGIES if given.names is None or t.name in given.names]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(topology, Path(folder)) for topology in wanted]
    print(aligned(HEAD, [line(row) for row in rows]))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
