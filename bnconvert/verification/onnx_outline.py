"""The outline of an ONNX file: all that it holds but for the numbers of its weights.

onnx reads a file as a whole, which takes a second for each gigabyte, and writes it as a whole to
take a digest of it. Who asks for operators, names and sizes only needs a thousandth of the bytes.
"""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The numbers of fields in protobuf: a model's graph, its weights, the numbers of each.
_GRAPH, _WEIGHT, _NUMBERS = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # how a field is written


@dataclass(frozen=True, eq=False)
class OnnxOutline:
    """What an ONNX file holds, without the numbers of its weights.

    Attributes:
        model: of onnx.
        graph: where in the file the graph lies, if onnx would write the same bytes again.
    """

    model: Any
    graph: slice | None


def outline_of(path: Path) -> OnnxOutline:
    """Read a file; errors of onnx pass through.

    What is not written as onnx does, as text or in parts, is read whole by onnx.
    """
    import onnx

    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model = onnx.ModelProto.FromString(_pruned(data, 0, len(data), (_GRAPH, _WEIGHT)))
            (graph,) = (place for n, _, place in _fields(data, 0, len(data)) if n == _GRAPH)
            pruned = _pruned(data, graph.start, graph.stop, (_WEIGHT,))
        if path.suffix == ".onnx":
            same = model.graph.SerializeToString(deterministic=True) == pruned
            return OnnxOutline(model, graph if same else None)
    except Exception:  # it is no such file: onnx says what is wrong with it, if anything is
        pass
    return OnnxOutline(onnx.load(str(path), load_external_data=False), None)


def _pruned(data: mmap.mmap, start: int, end: int, within: Sequence[int]) -> bytes:
    """Return a message without the numbers of weights.

    Args:
        data: the file.
        start: where the message begins.
        end: where it ends.
        within: the fields that lead from it to the weights.
    """
    parts: list[bytes] = []
    for number, begin, content in _fields(data, start, end):
        if within and number == within[0]:
            inner = _pruned(data, content.start, content.stop, within[1:])
            parts += (_key(data, begin), _varint(len(inner)), inner)
        elif not within and number == _NUMBERS:
            parts += (_key(data, begin), _varint(0))
        else:
            parts.append(data[begin : content.stop])
    return b"".join(parts)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, slice]]:
    """Yield each field of a message: its number, where it begins, and where its content lies.

    Raises:
        ValueError: it is no message.
    """
    place = start
    while place < end:
        begin = place
        key, place = _read(data, place)
        kind = key & 7
        if kind == _VARINT:
            _, stop = _read(data, place)
        elif kind == _BYTES:
            size, place = _read(data, place)
            stop = place + size
        elif kind in (_FIXED64, _FIXED32):
            stop = place + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"a field of kind {kind}")
        if stop > end:
            raise ValueError("a field that is longer than its message")
        yield key >> 3, begin, slice(place, stop)
        place = stop


def _read(data: mmap.mmap, place: int) -> tuple[int, int]:
    """Return the number at a place, of seven bits in each byte, and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return number, place
        shift += 7


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def _key(data: mmap.mmap, begin: int) -> bytes:
    """Return the bytes that say which field begins at a place."""
    return data[begin : _read(data, begin)[1]]
