"""The outline of an ONNX file: all that it holds but for the numbers of its weights.

onnx reads a file as a whole, which takes a second for each gigabyte, and writes it as a whole, for
which it copies all numbers twice. Who asks for operators, names and sizes only needs a thousandth
of the bytes; and numbers are written from where they lie.
"""

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bytes, or what holds them: an array of them, for example.
Numbers = Any
#: Given the name of a weight and where its numbers lie, what takes their place; None to keep them.
_Replace = Callable[[str, slice], Numbers | None]

#: Bytes of a weight from which on its numbers stay where they lie: fewer may as well be copied.
LARGE = 2**14
#: The numbers of fields in protobuf: a model's graph, its weights, the name and numbers of each.
_GRAPH, _WEIGHT, _NAME, _NUMBERS = 7, 5, 8, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # how a field is written


@dataclass(frozen=True, eq=False)
class OnnxOutline:
    """What an ONNX file holds, without the numbers of its weights.

    Attributes:
        model: of onnx.
        graph: where in the file the graph lies, if onnx would write the same bytes again.
        numbers: where in the file those numbers lie that were left out, by the weight's name.
    """

    model: Any
    graph: slice | None
    numbers: Mapping[str, slice]


def outline_of(path: Path, least: int = 0) -> OnnxOutline:
    """Read a file; errors of onnx pass through.

    What is not written as onnx does, as text or in parts, is read whole by onnx.

    Args:
        path: the file.
        least: how many bytes the numbers of a weight have that are left out.
    """
    import onnx

    numbers: dict[str, slice] = {}

    def leave_out(name: str, place: slice) -> bytes | None:
        if place.stop - place.start < least:
            return None
        numbers[name] = place
        return b""

    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            (graph,) = (place for n, _, place in _fields(data, 0, len(data)) if n == _GRAPH)
            parts = _rewritten(data, slice(0, len(data)), (_GRAPH, _WEIGHT), leave_out)
            model = onnx.ModelProto.FromString(b"".join(parts))
            pruned = b"".join(_rewritten(data, graph, (_WEIGHT,), leave_out))
        if path.suffix == ".onnx":
            same = model.graph.SerializeToString(deterministic=True) == pruned
            return OnnxOutline(model, graph if same else None, numbers)
    except Exception:  # it is no such file: onnx says what is wrong with it, if anything is
        pass
    return OnnxOutline(onnx.load(str(path), load_external_data=False), None, {})


def write_outline(model: Any, numbers: Mapping[str, Numbers], path: Path) -> None:
    """Write a file, as onnx would if the model held all numbers; errors of both pass through.

    Args:
        model: of onnx; the numbers of weights that are named in `numbers` are empty.
        numbers: by the weight's name.
        path: the file.
    """
    bare = model.SerializeToString()
    parts = _rewritten(
        bare, slice(0, len(bare)), (_GRAPH, _WEIGHT), lambda name, _: numbers.get(name)
    )
    with path.open("wb") as file:
        file.writelines(parts)


def _rewritten(
    data: mmap.mmap | bytes, message: slice, within: Sequence[int], replace: _Replace
) -> list[Numbers]:
    """Return a message, in parts, with other numbers of weights.

    Args:
        data: where it lies.
        message: its place there.
        within: the fields that lead from it to the weights; none where it is a weight.
        replace: returns the numbers.
    """
    parts: list[Numbers] = []
    fields = [*_fields(data, message.start, message.stop)]
    name = b"".join(data[place] for n, _, place in fields if n == _NAME and not within).decode()
    for number, begin, content in fields:
        inner: list[Numbers] | None = None
        if within and number == within[0]:
            inner = _rewritten(data, content, within[1:], replace)
        elif not within and number == _NUMBERS:
            numbers = replace(name, content)
            inner = None if numbers is None else [numbers]
        if inner is None:
            parts.append(data[begin : content.stop])
        else:
            parts += (_key(data, begin), _varint(sum(map(len, inner))), *inner)
    return parts


def _fields(data: mmap.mmap | bytes, start: int, end: int) -> Iterator[tuple[int, int, slice]]:
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


def _read(data: mmap.mmap | bytes, place: int) -> tuple[int, int]:
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


def _key(data: mmap.mmap | bytes, begin: int) -> bytes:
    """Return the bytes that say which field begins at a place."""
    return data[begin : _read(data, begin)[1]]
