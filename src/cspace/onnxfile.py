"""What must be known of an ONNX file before a runtime may open it: inputs, outputs, and where its weights are.

Reads the protobuf wire format itself (onnx.proto, IR version 3 and later), so that checking a model
needs neither the onnx package nor a runtime, and nothing in the file can make it open another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

_MAX_DEPTH = 32  # subgraphs in subgraphs; real models have two or three
_EXTERNAL = 1  # TensorProto.DataLocation

# Field numbers of onnx.proto.
_MODEL_IR, _MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 1, 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_ATTRIBUTE = 5
_ATTR_TENSOR, _ATTR_GRAPH, _ATTR_TENSORS, _ATTR_GRAPHS, _ATTR_SPARSE, _ATTR_SPARSES = 5, 6, 10, 11, 22, 23
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14

ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


class OnnxError(ValueError):
    """The bytes are no ONNX model; the message says where they stop making sense."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: `shape` has a number, a name, or None for each dimension."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


@dataclass
class Graph:
    """The outside of a model."""

    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)  # files that weights lie in, as the model names them


def inspect(data: bytes) -> Graph:
    """The outside of the model in these bytes. Raises OnnxError."""
    try:
        return _model(memoryview(data))
    except (IndexError, UnicodeDecodeError) as e:
        raise OnnxError(f"its structure breaks off ({e})") from None


def _model(data: memoryview) -> Graph:
    found = Graph()
    graphs: list[memoryview] = []
    for number, value in _fields(data):
        if number == _MODEL_GRAPH:
            graphs.append(_bytes(value))
        elif number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            # A function holds nodes in field 7, training graphs in fields 1 and 2.
            for inner, part in _fields(_bytes(value)):
                if number == _MODEL_FUNCTIONS and inner == 7:
                    _node(_bytes(part), found, 0)
                elif number == _MODEL_TRAINING and inner in (1, 2):
                    _graph(_bytes(part), found, 0)
    if len(graphs) != 1:
        raise OnnxError("it holds no graph" if not graphs else f"it holds {len(graphs)} graphs")
    _graph(graphs[0], found, 0)
    fixed: set[str] = set()
    for number, value in _fields(graphs[0]):
        if number == _GRAPH_INPUT:
            v = _value(_bytes(value))
            found.inputs[v.name] = v
        elif number == _GRAPH_OUTPUT:
            v = _value(_bytes(value))
            found.outputs[v.name] = v
        elif number == _GRAPH_INITIALIZER:
            fixed |= {_text(x) for n, x in _fields(_bytes(value)) if n == _TENSOR_NAME}
    for name in fixed & found.inputs.keys():  # an input with a default value need not be given
        del found.inputs[name]
    return found


def _graph(data: memoryview, found: Graph, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OnnxError("its graphs are nested too deeply")
    for number, value in _fields(data):
        if number == _GRAPH_NODE:
            _node(_bytes(value), found, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(_bytes(value), found)
        elif number == _GRAPH_SPARSE:
            _sparse(_bytes(value), found)


def _node(data: memoryview, found: Graph, depth: int) -> None:
    for number, attribute in _fields(data):
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, value in _fields(_bytes(attribute)):
            if kind in (_ATTR_TENSOR, _ATTR_TENSORS):
                _tensor(_bytes(value), found)
            elif kind in (_ATTR_GRAPH, _ATTR_GRAPHS):
                _graph(_bytes(value), found, depth + 1)
            elif kind in (_ATTR_SPARSE, _ATTR_SPARSES):
                _sparse(_bytes(value), found)


def _sparse(data: memoryview, found: Graph) -> None:
    for number, value in _fields(data):
        if number in (1, 2):
            _tensor(_bytes(value), found)


def _tensor(data: memoryview, found: Graph) -> None:
    outside, location = False, ""
    for number, value in _fields(data):
        if number == _TENSOR_LOCATION:
            outside |= value == _EXTERNAL
        elif number == _TENSOR_EXTERNAL:
            outside = True
            entry = dict(_fields(_bytes(value)))
            if 1 in entry and 2 in entry and _text(entry[1]) == "location":
                location = _text(entry[2])
    if outside:
        found.external.append(location)


def _value(data: memoryview) -> Value:
    name, kind = "", "unknown"
    shape: tuple[int | str | None, ...] = ()
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for n, t in _fields(_bytes(value)):
                kind, shape = _tensor_type(_bytes(t)) if n == 1 else ("not a tensor", ())
    return Value(name, kind, shape)


def _tensor_type(data: memoryview) -> tuple[str, tuple[int | str | None, ...]]:
    kind = "unknown"
    shape: list[int | str | None] = []
    for number, value in _fields(data):
        if number == 1:
            kind = ELEMENT_TYPES.get(value, f"type {value}") if isinstance(value, int) else "unknown"
        elif number == 2:
            for n, dim in _fields(_bytes(value)):
                if n == 1:
                    parts = dict(_fields(_bytes(dim)))
                    size = parts.get(1)
                    shape.append(size if isinstance(size, int) else _text(parts[2]) if 2 in parts else None)
    return kind, tuple(shape)


# ---- wire format -----------------------------------------------------------------------------


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers with their values: whole numbers, or the bytes of what has a length."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise OnnxError("a field has the number 0")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(data, at)
            if size > end - at:
                raise OnnxError("it is cut off")
            yield number, data[at : at + size]
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if size > end - at:
                raise OnnxError("it is cut off")
            yield number, data[at : at + size]
            at += size
        else:
            raise OnnxError(f"a field has the unknown wire type {wire}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    for length in range(1, 11):
        if data[at + length - 1] < 128:
            part = data[at : at + length]
            return reduce(lambda x, b: (x << 7) | (b & 127), reversed(part), 0), at + length
    raise OnnxError("a number has too many bytes")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise OnnxError("a number stands where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode("utf-8")
