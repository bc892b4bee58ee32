"""Reads a saved ``.mlpackage``: manifest, program and weight file, without the emitter.

Only the protobuf schema is coremltools'; what the numbers mean is written down here once
more, so that a fault of the emitter or of coremltools' writer does not cancel out.
"""

from __future__ import annotations

import json
import logging
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# importing it tells what other systems have
logging.getLogger("coremltools").setLevel(logging.ERROR)

from coremltools.proto import MIL_pb2, Model_pb2  # noqa: E402

SENTINEL = 0xDEADBEEF
TYPES = {
    MIL_pb2.DataType.Value(name): np.dtype(dtype)
    for name, dtype in {
        "BOOL": np.bool_, "FLOAT16": np.float16, "FLOAT32": np.float32,
        "INT8": np.int8, "INT16": np.int16, "INT32": np.int32,
        "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32,
    }.items()
}  # fmt: skip
STRING = MIL_pb2.DataType.Value("STRING")
BITS = {"UINT4": 4, "UINT6": 6, "UINT2": 2, "UINT1": 1, "INT4": 4}
PACKED = {MIL_pb2.DataType.Value(name): bits for name, bits in BITS.items()}


@dataclass(frozen=True)
class Result:
    """One output of an operation, as declared: ``None`` is a size known at run time."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Operation:
    """One operation: arguments are names of values, or arrays, or lists of both."""

    kind: str
    arguments: dict[str, Any]
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Name:
    """A value that an earlier operation made."""

    text: str


class Package:
    """A package as it lies on disk."""

    def __init__(self, path: Path) -> None:
        manifest = json.loads((path / "Manifest.json").read_text())
        entries = manifest["itemInfoEntries"]
        root = entries[manifest["rootModelIdentifier"]]["path"]
        self._folder = path / "Data"
        self._base = (self._folder / root).parent
        data = (self._folder / root).read_bytes()
        self.model = Model_pb2.Model.FromString(data)
        self._blobs: dict[str, bytes] = {}
        main = self.model.mlProgram.functions["main"]
        block = main.block_specializations[main.opset]
        self.opset = main.opset
        self.inputs = [one.name for one in main.inputs]
        self.outputs = list(block.outputs)
        self.operations = [self._operation(op) for op in block.operations]

    @property
    def interface(self) -> dict[str, Any]:
        """The types of inputs and outputs that callers see, by name."""
        description = self.model.description
        return {
            one.name: one.type.multiArrayType
            for one in (*description.input, *description.output)
        }

    def _operation(self, op: Any) -> Operation:
        arguments = {
            name: self._argument(argument.arguments)
            for name, argument in op.inputs.items()
        }
        for name, value in op.attributes.items():
            arguments.setdefault(name, self._value(value))
        results = tuple(_result(output) for output in op.outputs)
        return Operation(op.type, arguments, results)

    def _argument(self, bindings: Any) -> Any:
        found = [
            Name(one.name)
            if one.WhichOneof("binding") == "name"
            else self._value(one.value)
            for one in bindings
        ]
        return found[0] if len(found) == 1 else found

    def _value(self, value: Any) -> Any:
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue, value.type.tensorType)
        kind = value.type.tensorType
        tensor = value.immediateValue.tensor
        if kind.dataType == STRING:
            return tensor.strings.values[0]
        dtype = TYPES[kind.dataType]
        field = tensor.WhichOneof("value")
        held = getattr(tensor, field).values
        flat = (
            np.frombuffer(held, dtype)
            if isinstance(held, bytes)
            else np.array(list(held), dtype)
        )
        return flat.reshape(_shape(kind))

    def _blob(self, reference: Any, kind: Any) -> np.ndarray:
        """Return an array of the weight file, where its record says it lies."""
        name = reference.fileName.removeprefix("@model_path/")
        if name not in self._blobs:
            self._blobs[name] = (self._base / name).read_bytes()
        data = self._blobs[name]
        sentinel, _, size, start = struct.unpack_from("<IIQQ", data, reference.offset)
        assert sentinel == SENTINEL, f"no record at {reference.offset} of {name}"
        raw = data[start : start + size]
        if kind.dataType in PACKED:
            return _unpacked(raw, PACKED[kind.dataType], _shape(kind))
        dtype = TYPES[kind.dataType]
        shape = _shape(kind)
        count = int(np.prod(shape))
        assert size == count * dtype.itemsize, "the record is of another size"
        return np.frombuffer(raw, dtype).reshape(shape)


def _unpacked(raw: bytes, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    flat = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
    count = int(np.prod(shape))
    groups = flat[: count * bits].reshape(count, bits)
    return (groups << np.arange(bits, dtype=np.uint8)).sum(axis=1).reshape(shape)


def _shape(kind: Any) -> tuple[int, ...]:
    return tuple(int(dim.constant.size) for dim in kind.dimensions)


def _result(output: Any) -> Result:
    kind = output.type.tensorType
    dims = tuple(
        int(dim.constant.size) if dim.WhichOneof("dimension") == "constant" else None
        for dim in kind.dimensions
    )
    dtype = TYPES.get(kind.dataType, np.dtype(object))
    return Result(output.name, dtype, dims)
