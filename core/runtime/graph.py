"""Our own small, lossless graph: Value, Node, Graph and the Model around them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from runtime.errors import ModelInvalid
from runtime.valuetypes import Bounds, TensorType, Type


class AttributeKind(IntEnum):
    """ONNX's ``AttributeProto.AttributeType``."""

    UNDEFINED = 0
    FLOAT = 1
    INT = 2
    STRING = 3
    TENSOR = 4
    GRAPH = 5
    FLOATS = 6
    INTS = 7
    STRINGS = 8
    TENSORS = 9
    GRAPHS = 10
    SPARSE_TENSOR = 11
    SPARSE_TENSORS = 12
    TYPE_PROTO = 13
    TYPE_PROTOS = 14


_GRAPH, _GRAPHS = AttributeKind.GRAPH, AttributeKind.GRAPHS
"""Names of their own: looking a member up takes longer than all else that is asked of most
attributes."""


@dataclass(slots=True)
class Attribute:
    """A named constant of a node.

    ``value`` is a Python number or ``str`` (undecodable bytes as surrogates), a `Tensor`,
    a `SparseTensor`, a `Graph`, a `Type`, or a tuple of these. ``reference`` names the
    attribute of the surrounding function that supplies the value instead.
    """

    kind: AttributeKind
    value: Any = None
    reference: str = ""
    doc_string: str = ""


class Tensor:
    """A constant: element type, shape and read-only data, materialised when asked for.

    ``source`` is whatever the loader keeps to write the tensor back unchanged. ``read``
    returns the array that is kept. ``glance`` is given for data in a file that is soon let
    go: it returns an array that is not kept, in a block of bytes where one is given.
    ``drop`` lets go of the memory of an array that comes back by itself.
    """

    __slots__ = (
        "__weakref__", "_array", "_drop", "_glance", "_read",
        "dtype", "name", "shape", "source",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        dtype: int,
        shape: tuple[int, ...],
        read: Any,
        source: Any = None,
        glance: Any = None,
        drop: Any = None,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self._read = read
        self._glance = glance
        self._drop = drop
        self._array: np.ndarray[Any, Any] | None = None
        self.source = source

    @classmethod
    def of(cls, array: np.ndarray[Any, Any], name: str = "") -> Tensor:
        """Wrap an array; it is not copied and must not change afterwards."""
        from runtime.valuetypes import element_code

        array = np.asarray(array)
        tensor = cls(name, element_code(array.dtype), array.shape, None)
        view = array.view()
        view.flags.writeable = False
        tensor._array = view
        return tensor

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the data as a read-only array of the tensor's shape."""
        read = self._read  # looked at first: another thread may be here, too
        if self._array is None:
            self._array = read()
            self._read = self._glance = None
        return self._array

    @property
    def passes(self) -> bool:
        """Whether the data lies in a file that is soon let go, and nowhere else."""
        return self._array is None and self._glance is not None

    @property
    def is_held(self) -> bool:
        """Whether the data is in memory, as `numpy` returns it."""
        return self._array is not None

    def glance(self, room: Any = None) -> np.ndarray[Any, Any]:
        """Return the data for a moment, without keeping it where it passes.

        ``room`` are bytes to read it into, at least as many as it has.
        """
        if self.passes:
            found: np.ndarray[Any, Any] = self._glance(room)
            return found
        return self.numpy()

    def release(self, restore: Callable[[], np.ndarray[Any, Any]]) -> None:
        """Let go of data that is not going to be read; ``restore`` makes it nevertheless.

        What is held stays as it is, but for memory that comes back by itself.
        """
        if self.passes:
            self._read, self._glance = restore, None
        elif self._drop is not None and self._array is not None:
            self._drop(self._array)

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, dtype={self.dtype}, shape={self.shape})"


@dataclass(slots=True)
class SparseTensor:
    """A constant in coordinate form: ``values`` (nnz,), ``indices`` (nnz,) or (nnz, rank)."""

    values: Tensor
    indices: Tensor
    shape: tuple[int, ...]

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the dense array."""
        values, indices = self.values.numpy(), self.indices.numpy()
        dense = np.zeros(self.shape, values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
        return dense


class Value:
    """An edge of the graph: an input, an initializer or a node's output.

    ``const`` is the initializer, if any. An initializer that the caller may override by
    feeding the graph input of the same name has ``overridable`` set and is no constant.
    """

    __slots__ = (
        "_uses",
        "const",
        "doc_string",
        "metadata",
        "name",
        "overridable",
        "producer",
        "type",
    )

    def __init__(
        self, name: str = "", type: Type | None = None, const: Any = None
    ) -> None:
        self.name = name
        self.type = type
        self.const: Tensor | SparseTensor | None = const
        self.overridable = False
        self.producer: Node | None = None
        self.doc_string = ""
        self.metadata: dict[str, str] = {}
        self._uses: dict[tuple[Node, int], None] = {}

    @property
    def uses(self) -> tuple[tuple[Node, int], ...]:
        """Every (node, input index) that reads this value, nodes of bodies included."""
        return tuple(self._uses)

    @property
    def users(self) -> tuple[Node, ...]:
        """The nodes that read this value, each once."""
        return tuple(dict.fromkeys(node for node, _ in self._uses))

    @property
    def is_constant(self) -> bool:
        """Whether the data is known before any run."""
        return self.const is not None and not self.overridable

    @property
    def dtype(self) -> int | None:
        """The ONNX element type of a tensor value, if known."""
        kind = self.type
        return kind.dtype or None if isinstance(kind, TensorType) else None

    @property
    def shape(self) -> tuple[Any, ...] | None:
        """The shape of a tensor value: ints, symbols and ``None``; ``None`` if unknown."""
        return self.type.shape if isinstance(self.type, TensorType) else None

    def constant(self) -> np.ndarray[Any, Any] | None:
        """Return the array of a constant value, else ``None``."""
        return self.const.numpy() if self.is_constant else None  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"Value({self.name!r})"


class Node:
    """One operator call.

    ``version`` is the opset of the node's domain under which it was written, which need
    not be its neighbours' (function bodies bring their own). ``origins`` are the names in
    the user's file that this node stands for, kept through every rewrite.
    """

    __slots__ = (
        "_inputs",
        "_next",
        "_outputs",
        "_previous",
        "attributes",
        "doc_string",
        "domain",
        "graph",
        "metadata",
        "name",
        "op_type",
        "origins",
        "overload",
        "version",
    )

    def __init__(
        self,
        op_type: str,
        inputs: Iterable[Value | None] = (),
        outputs: Iterable[Value] | int = 1,
        attributes: dict[str, Attribute] | None = None,
        *,
        domain: str = "",
        version: int = 0,
        name: str = "",
        overload: str = "",
        origins: tuple[str, ...] = (),
    ) -> None:
        self.op_type = op_type
        self.domain = "" if domain == "ai.onnx" else domain
        self.version = version
        self.name = name
        self.overload = overload
        self.attributes = attributes if attributes is not None else {}
        self.origins = origins
        self.doc_string = ""
        self.metadata: dict[str, str] = {}
        self.graph: Graph | None = None
        self._previous: Node | None = None
        self._next: Node | None = None
        self._inputs: tuple[Value | None, ...] = tuple(inputs)
        for index, value in enumerate(self._inputs):
            if value is not None:
                value._uses[self, index] = None
        if isinstance(outputs, int):
            outputs = [Value() for _ in range(outputs)]
        self._outputs = tuple(outputs)
        for value in self._outputs:
            value.producer = self

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """Inputs in the schema's order; ``None`` where an optional one is absent."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """Outputs in the schema's order; an absent optional one has the name ``""``."""
        return self._outputs

    def input(self, index: int) -> Value | None:
        """Return an input, or ``None`` when absent or beyond the end."""
        return self._inputs[index] if index < len(self._inputs) else None

    def set_input(self, index: int, value: Value | None) -> None:
        """Replace one input."""
        old = self._inputs[index]
        if old is not None:
            del old._uses[self, index]
        inputs = list(self._inputs)
        inputs[index] = value
        self._inputs = tuple(inputs)
        if value is not None:
            value._uses[self, index] = None

    def resize_inputs(self, count: int) -> None:
        """Drop inputs beyond ``count`` or append absent ones."""
        for index in range(count, len(self._inputs)):
            self.set_input(index, None)
        absent = (None,) * (count - len(self._inputs))
        self._inputs = self._inputs[:count] + absent

    def resize_outputs(self, count: int) -> None:
        """Drop outputs beyond ``count`` or append unnamed ones."""
        extra = tuple(Value() for _ in range(count - len(self._outputs)))
        for value in extra:
            value.producer = self
        self._outputs = self._outputs[:count] + extra

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute's plain value (arrays for tensors are `Tensor`)."""
        entry = self.attributes.get(name)
        return default if entry is None else entry.value

    @property
    def bodies(self) -> tuple[tuple[str, Graph], ...]:
        """The graphs among the attributes, by attribute name."""
        found: tuple[tuple[str, Graph], ...] = ()
        for name, entry in self.attributes.items():
            kind = entry.kind
            if kind is _GRAPH and entry.value is not None:
                found += ((name, entry.value),)
            elif kind is _GRAPHS and entry.value:
                graphs = enumerate(entry.value)
                found += tuple((f"{name}[{i}]", graph) for i, graph in graphs)
        return found

    @property
    def captures(self) -> tuple[Value, ...]:
        """Values of surrounding graphs that the bodies read, each once, in a fixed order."""
        found: dict[Value, None] = {}
        for _, body in self.bodies:
            found.update(dict.fromkeys(body.captures))
        return tuple(found)

    @property
    def reads(self) -> tuple[Value, ...]:
        """Everything the node depends on: its inputs, then its bodies' captures."""
        inputs = self._inputs
        if None in inputs:
            inputs = tuple(value for value in inputs if value is not None)
        bodies = self.bodies
        if not bodies:
            return inputs  # type: ignore[return-value]
        return tuple(dict.fromkeys((*inputs, *self.captures)))  # type: ignore[arg-type]

    @property
    def label(self) -> str:
        """How messages call the node: its name in the user's file, else what it makes."""
        name = self.name or (self._outputs[0].name if self._outputs else "")
        if self.origins and name not in self.origins:
            name = self.origins[0]
        return f"{self.op_type}({name})" if name else self.op_type

    def __repr__(self) -> str:
        return f"<{self.domain or 'ai.onnx'}:{self.op_type} {self.name!r}>"


class Graph:
    """Inputs, outputs, initializers and nodes in order; bodies read outer values directly.

    ``is_body`` tells an attribute of a node (of If, Loop, Scan) from a model's main graph
    and from a function's: a body may read nothing of the graphs around it.
    """

    def __init__(self, name: str = "", *, is_body: bool = False) -> None:
        self.name = name
        self.is_body = is_body
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.initializers: dict[str, Value] = {}
        self.doc_string = ""
        self.metadata: dict[str, str] = {}
        self.quantization: list[Any] = []
        self.bounds: dict[str, Bounds] = {}
        self._taken: set[str] = set()
        self._first: Node | None = None
        self._last: Node | None = None
        self._count = 0

    def __iter__(self) -> Iterator[Node]:
        """Yield nodes in order; the graph may change behind the cursor."""
        node = self._first
        while node is not None:
            following = node._next
            yield node
            node = following

    def __len__(self) -> int:
        return self._count

    def __reversed__(self) -> Iterator[Node]:
        node = self._last
        while node is not None:
            following = node._previous
            yield node
            node = following

    @property
    def feeds(self) -> list[Value]:
        """The inputs a caller must give: those without an initializer."""
        return [value for value in self.inputs if value.const is None]

    def append(self, node: Node) -> Node:
        """Add a node at the end."""
        return self._link(node, self._last, None)

    def insert_before(self, anchor: Node, nodes: Iterable[Node]) -> None:
        """Add nodes, in order, in front of one of this graph's nodes."""
        for node in nodes:
            self._link(node, anchor._previous, anchor)

    def _link(self, node: Node, before: Node | None, after: Node | None) -> Node:
        if node.graph is not None:
            raise ValueError(f"{node!r} already belongs to a graph")
        node.graph, node._previous, node._next = self, before, after
        if before is None:
            self._first = node
        else:
            before._next = node
        if after is None:
            self._last = node
        else:
            after._previous = node
        self._count += 1
        return node

    def remove(self, node: Node) -> None:
        """Take a node out; its outputs must have no readers left in the graph."""
        before, after = node._previous, node._next
        if before is None:
            self._first = after
        else:
            before._next = after
        if after is None:
            self._last = before
        else:
            after._previous = before
        self._count -= 1
        node.graph = None
        release(node)

    def replace(self, old: Value, new: Value) -> None:
        """Make everyone who reads ``old`` read ``new``, the graph's outputs included.

        A graph output keeps its public name: the new value takes it over when it is a
        node's output that is not itself public; otherwise an Identity carries the name.
        """
        for node, index in old.uses:
            node.set_input(index, new)
        if old not in self.outputs:
            return
        taken = new in self.outputs or new in self.inputs or new.const is not None
        if new.producer is None or new.producer.graph is not self or taken:
            new = self._identity(new, old)
        new.name, new.type = old.name, old.type or new.type
        old.name = ""
        self.outputs = [new if value is old else value for value in self.outputs]

    def adopt(self, old: Value, new: Value) -> None:
        """Let ``old``, another node's output, be made where ``new`` is made now.

        Whoever holds ``old`` (readers, partitions made before) sees no difference.
        """
        giver, taker = old.producer, new.producer
        if giver is None or taker is None:
            raise ValueError("only outputs of nodes can be exchanged")
        giver._outputs = tuple(Value() if v is old else v for v in giver._outputs)
        taker._outputs = tuple(old if v is new else v for v in taker._outputs)
        old.producer, new.producer = taker, None
        for node, index in new.uses:
            node.set_input(index, old)

    def _identity(self, source: Value, like: Value) -> Value:
        version = next((n.version for n in self if n.domain == ""), 0) or 14
        node = Node("Identity", [source], version=version)
        node.outputs[0].type = like.type
        producer = like.producer
        if producer is not None and producer.graph is self:
            node.origins = producer.origins
            self.insert_before(producer, [node])
        else:
            self.append(node)
        return node.outputs[0]

    def add_initializer(self, value: Value) -> Value:
        """Register a constant under its own name, made unique if taken."""
        if not value.name or value.name in self.initializers:
            value.name = self.fresh_name(value.name or "constant")
        self.initializers[value.name] = value
        return value

    def constant(self, array: np.ndarray[Any, Any], name: str = "constant") -> Value:
        """Add an initializer holding an array and return its value."""
        tensor = Tensor.of(np.asarray(array))
        value = Value(
            self.fresh_name(name), TensorType(tensor.dtype, tensor.shape), tensor
        )
        tensor.name = value.name
        return self.add_initializer(value)

    def fresh_name(self, stem: str) -> str:
        """Return a name no value of this graph has."""
        taken = self._taken
        if not taken:
            for graph in self.all_graphs():
                taken.update(graph.initializers, (v.name for v in graph.inputs))
                taken.update(v.name for node in graph for v in node.outputs)
        name, number = stem, 0
        while name in taken or name in self.initializers:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        return name

    @property
    def captures(self) -> tuple[Value, ...]:
        """Values of surrounding graphs read in here, each once, in order of first use."""
        own = set(self.inputs) | set(self.initializers.values())
        found: dict[Value, None] = {}
        for node in self:
            for value in node.reads:
                if value not in own:
                    found[value] = None
            own.update(node.outputs)
        return tuple(found)

    def sort(self) -> None:
        """Bring the nodes into topological order, keeping the present order where legal.

        Raises `ModelInvalid` naming the nodes of a cycle.
        """
        nodes = list(self)
        position = {node: index for index, node in enumerate(nodes)}
        waits: dict[Node, set[Node]] = {}
        followers: dict[Node, list[Node]] = {}
        for node in nodes:
            before = {
                value.producer
                for value in node.reads
                if value.producer is not None and value.producer in position
            }
            waits[node] = before
            for producer in before:
                followers.setdefault(producer, []).append(node)
        if all(position[p] < position[n] for n in nodes for p in waits[n]):
            return
        order = _kahn(nodes, position, waits, followers)
        self._first = self._last = None
        self._count = 0
        for node in order:
            node.graph = None
            self._link(node, self._last, None)

    def all_graphs(self) -> Iterator[Graph]:
        """Yield this graph and every body below it."""
        yield self
        for node in self:
            if node.attributes:
                for _, body in node.bodies:
                    yield from body.all_graphs()


def _kahn(
    nodes: list[Node],
    position: dict[Node, int],
    waits: dict[Node, set[Node]],
    followers: dict[Node, list[Node]],
) -> list[Node]:
    import heapq

    ready = [position[node] for node in nodes if not waits[node]]
    heapq.heapify(ready)
    order: list[Node] = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        order.append(node)
        for follower in followers.get(node, ()):
            waits[follower].discard(node)
            if not waits[follower]:
                heapq.heappush(ready, position[follower])
    if len(order) < len(nodes):
        stuck = [node.label for node in nodes if waits[node]]
        raise ModelInvalid(
            f"the graph has a cycle through {', '.join(stuck[:8])}; "
            "an ONNX graph must be acyclic"
        )
    return order


def release(node: Node) -> None:
    """Forget a node's reads, its bodies' included, so that values know their true users."""
    for index, value in enumerate(node._inputs):
        if value is not None:
            value._uses.pop((node, index), None)
    for _, body in node.bodies:
        for inner in body:
            release(inner)


@dataclass(slots=True)
class Function:
    """A model-local function: a graph with formal attributes.

    ``attributes`` are required names; ``defaults`` are optional ones with their values.
    """

    domain: str
    name: str
    overload: str
    graph: Graph
    opsets: dict[str, int]
    attributes: tuple[str, ...] = ()
    defaults: dict[str, Attribute] = field(default_factory=dict)
    doc_string: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Model:
    """A graph with what surrounds it in a file.

    ``declared`` are the types the file gives its outputs: what callers are told, while
    the values themselves carry what was inferred. ``passing`` are tensors that may lie in
    ``file``, which is open until the model settles.
    """

    graph: Graph
    ir_version: int
    opsets: dict[str, int]
    functions: dict[tuple[str, str, str], Function] = field(default_factory=dict)
    producer_name: str = ""
    producer_version: str = ""
    domain: str = ""
    model_version: int | None = None
    doc_string: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    extra: Any = None
    path: str = ""
    declared: dict[str, Type] = field(default_factory=dict)
    file: Any = None
    passing: list[weakref.ref[Tensor]] = field(default_factory=list)

    def settle(self) -> None:
        """Read what is still needed of the model's file, and close it."""
        for reference in self.passing:
            tensor = reference()
            if tensor is not None and tensor.passes:
                tensor.numpy()
        self.passing.clear()
        if self.file is not None:
            self.file.close()
