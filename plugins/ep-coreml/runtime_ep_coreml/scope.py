"""What a lowering sees of its node, and what it may ask of the program it adds to.

A lowering turns one ONNX node into operations of a target format. It knows the format's
operations by name and arguments, but nothing of the library that writes them: that is an
`Emitter`, of which `runtime_ep_coreml.mil` is the one for ML Programs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from runtime.graph import Node, SparseTensor, Tensor

Handle = Any
"""A value of the program being made."""

Array = np.ndarray[Any, Any]
Sizes = tuple[int | None, ...]

KINDS = {1: "fp32", 10: "fp16", 9: "bool"} | dict.fromkeys((2, 3, 4, 5, 6, 7), "int32")
"""ONNX element types and what they are within a program: every integer is an int32."""

NUMPY = {
    "fp32": np.float32, "fp16": np.float16, "int32": np.int32, "bool": np.bool_,
    "int8": np.int8, "uint8": np.uint8,
}  # fmt: skip

LIMITS = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767)}
"""The least and the largest integer of each type that is narrower than int32."""

WORDS = (-(2**31), 2**31 - 1)


class Refused(Exception):
    """Raised by a lowering for a node that has no equal in the target format."""


def narrowed(array: Array, kind: str) -> Array:
    """Return a constant in an element type of the program.

    Raises `Refused` for integers that an int32 does not hold.
    """
    integers = kind == "int32" and array.dtype.kind in "iu" and array.size > 0
    if integers and not (array.min() >= WORDS[0] and array.max() <= WORDS[1]):
        raise Refused("a constant holds integers that an int32 does not")
    return array.astype(NUMPY[kind])


class Emitter(Protocol):
    """A program that grows by operations."""

    def op(self, kind: str, /, **arguments: Any) -> Any:
        """Add an operation; return its result, or a tuple of results.

        Arguments are handles, arrays, numbers or text. Raises `Refused` for what the
        format does not admit.
        """

    def constant(self, array: Array) -> Handle:
        """Add a constant of one of the types of `NUMPY`."""

    def sizes(self, handle: Handle) -> Sizes:
        """Return the shape of a value; ``None`` for a size that is known at run time."""

    def kind(self, handle: Handle) -> str:
        """Return the element type of a value, a key of `NUMPY`."""

    @property
    def target(self) -> int:
        """The number of the ``iOS`` release whose operations may be used."""

    @property
    def halves(self) -> bool:
        """Whether what is float32 here will be computed in float16."""


class Scope:
    """One node while it is lowered, with its inputs as handles."""

    def __init__(
        self, node: Node, emitter: Emitter, handle: Callable[[Any], Handle]
    ) -> None:
        self.node = node
        self.emitter = emitter
        self._handle = handle
        self.op = emitter.op
        self.sizes = emitter.sizes
        self.kind = emitter.kind

    # inputs

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return self.node.input(index) is not None

    def raw(self, index: int) -> Handle:
        """Return an input as it is, integers of eight bits included."""
        value = self.node.input(index)
        if value is None:
            raise Refused(f"input {index} is missing")
        return self._handle(value)

    def x(self, index: int = 0) -> Handle:
        """Return an input, eight-bit integers widened to int32."""
        return self.widened(self.raw(index))

    def widened(self, handle: Handle) -> Handle:
        """Return a value whose integers are int32."""
        if self.kind(handle) in ("int8", "uint8"):
            return self.op("cast", x=handle, dtype="int32")
        return handle

    def all(self) -> list[Handle]:
        """Return every input."""
        return [self.x(index) for index in range(len(self.node.inputs))]

    def known(self, index: int) -> Array | None:
        """Return the array of an input that is a constant, else ``None``."""
        value = self.node.input(index)
        if value is None or not value.is_constant:
            return None
        if not isinstance(value.const, (Tensor, SparseTensor)):
            return None
        return value.constant()

    def need(self, index: int) -> Array:
        """Return the array of an input that must be a constant."""
        array = self.known(index)
        if array is None:
            raise Refused(f"input {index} must be a constant")
        return array

    def integers(self, index: int) -> list[int] | None:
        """Return a constant input as a list of integers; ``None`` where it is absent."""
        if not self.has(index):
            return None
        return [int(number) for number in self.need(index).reshape(-1)]

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute; a tuple becomes a list."""
        found = self.node.attribute(name, default)
        return list(found) if isinstance(found, tuple) else found

    def dtype(self, index: int = 0) -> int:
        """Return the ONNX element type of an input."""
        value = self.node.input(index)
        return (value.dtype if value is not None else None) or 1

    @property
    def made(self) -> int:
        """The ONNX element type of the first output."""
        return self.node.outputs[0].dtype or self.dtype()

    def wanted(self, index: int) -> bool:
        """Whether an optional output is read by anybody."""
        outputs = self.node.outputs
        return index < len(outputs) and bool(outputs[index].name or outputs[index].uses)

    # shapes

    def rank(self, handle: Handle) -> int:
        """Return the rank of a value."""
        return len(self.sizes(handle))

    def fixed(self, handle: Handle) -> tuple[int, ...]:
        """Return a shape of which every size must be known."""
        shape = self.sizes(handle)
        if None in shape:
            raise Refused("a size must be known that is known at run time only")
        return shape  # type: ignore[return-value]

    def axis(self, handle: Handle, default: int, name: str = "axis") -> int:
        """Return the attribute that names an axis, counted from the front."""
        return int(self.attr(name, default)) % max(self.rank(handle), 1)

    # constants and common pieces

    def like(self, handle: Handle, number: float) -> Any:
        """Return a number of a value's element type."""
        return NUMPY[self.kind(handle)](number)

    def constant(self, array: Any, like: Handle | None = None) -> Handle:
        """Add a constant, of a value's element type where one is given."""
        found = np.asarray(array)
        if like is not None:
            found = found.astype(NUMPY[self.kind(like)])
        return self.emitter.constant(found)

    def cast(self, handle: Handle, kind: str) -> Handle:
        """Return a value in another element type, or itself."""
        if self.kind(handle) == kind:
            return handle
        if kind == "bool":
            return self.op("not_equal", x=handle, y=self.like(handle, 0))
        return self.op("cast", x=handle, dtype=kind)

    def reshape(self, handle: Handle, shape: Sequence[int]) -> Handle:
        """Return a value in another shape; one size may be -1."""
        return self.op("reshape", x=handle, shape=np.array(shape, np.int32))

    def transpose(self, handle: Handle, perm: Sequence[int]) -> Handle:
        """Return a value with its axes in another order."""
        if list(perm) == list(range(len(perm))):
            return handle
        return self.op("transpose", x=handle, perm=list(perm))

    def size(self, handle: Handle, axis: int) -> Any:
        """Return one size as an int, or as a vector of one where it is not known."""
        known = self.sizes(handle)[axis]
        if known is not None:
            return known
        shape = self.op("shape", x=handle)
        return self.op("slice_by_index", x=shape, begin=[axis], end=[axis + 1])

    def join(self, sizes: Sequence[Any]) -> Any:
        """Return a shape of sizes as `size` gives them, a constant where all are ints."""
        if all(isinstance(size, int) for size in sizes):
            return np.array(sizes, np.int32)
        parts = [
            self.emitter.constant(np.array([size], np.int32))
            if isinstance(size, int)
            else size
            for size in sizes
        ]
        return parts[0] if len(parts) == 1 else self.op("concat", values=parts, axis=0)

    def into(self, handle: Handle, sizes: Sequence[Any]) -> Handle:
        """Return a value in a shape of sizes as `size` gives them."""
        return self.op("reshape", x=handle, shape=self.join(sizes))

    def aligned(self, array: Any, rank: int, axis: int) -> Array:
        """Return a vector as an array of a rank, its elements along one axis."""
        shape = [1] * rank
        shape[axis] = -1
        return np.asarray(array).reshape(shape)
