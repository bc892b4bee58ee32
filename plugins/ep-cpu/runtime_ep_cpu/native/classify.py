"""Which nodes native code runs, which are known when a plan is made, which are the host's.

A plan is made for given shapes. Whatever depends on nothing but shapes and constants is
then *known*: it is computed once by NumPy's kernels and costs nothing in a run. Nodes
whose results decide shapes must be known; where they depend on a small integer tensor
of another stage, its contents become part of what a plan is made for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from runtime.graph import Node, Value
from runtime.valuetypes import TensorType

from runtime_ep_cpu.native.express import FLOATS, element_of, is_elementwise
from runtime_ep_cpu.native.repeated import Repeated, repeated
from runtime_ep_cpu.native.steps import (
    affine,
    attention,
    blocks,
    convolution,
    cumulative,
    grid_sample,
    group_norm,
    indexed,
    learned,
    pad,
    pooling,
    recurrence,
    resize,
    response,
    roi,
    rotary,
    suppression,
    top_k,
    transposed,
)
from runtime_ep_cpu.native.steps.reduction import OPERATIONS
from runtime_ep_cpu.native.texts import is_chosen_from, is_text, moves_text

_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
     "Bernoulli", "Multinomial", "Dropout")
)  # fmt: skip
_INTEGRAL = (6, 7, 9)
"""int32, int64 and bool: what shapes are computed with."""

_SHAPE_OPERANDS = {
    "Reshape": (1,), "Expand": (1,), "Slice": (1, 2, 3, 4), "Split": (1,),
    "Squeeze": (1,), "Unsqueeze": (1,), "Tile": (1,), "Pad": (1, 3),
    "ReduceSum": (1,), "ReduceMean": (1,), "ReduceMax": (1,), "ReduceMin": (1,),
    "ReduceProd": (1,), "ReduceL1": (1,), "ReduceL2": (1,), "ReduceSumSquare": (1,),
    "ReduceLogSum": (1,), "ReduceLogSumExp": (1,),
    "Resize": (1, 2, 3), "NonMaxSuppression": (2,), "TopK": (1,),
    "CumSum": (1,), "CumProd": (1,), "Trilu": (1,),
}  # fmt: skip
"""Inputs whose contents a plan must know, by operator."""


_COUNTED = frozenset(("NonMaxSuppression",))
"""Operators whose results are counted by a run; native code may read them in the next
stage only."""


class Role(Enum):
    """Who computes a node."""

    NATIVE = "native"
    KNOWN = "known"
    HOST = "host"


def has_rank(value: Value | None) -> bool:
    """Whether a value is a dense tensor of known rank and of a native type."""
    kind = value.type if value is not None else None
    return (
        isinstance(kind, TensorType)
        and not kind.sparse
        and kind.shape is not None
        and element_of(value) is not None
    )


def _floats(node: Node) -> bool:
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    return all(element_of(v) in FLOATS for v in values)


def _moves(node: Node) -> bool:
    return len(node.outputs) == 1


def _splits(node: Node) -> bool:
    return True


def _softens(node: Node) -> bool:
    """bfloat16 follows the standard's body, rounding by rounding."""
    return element_of(node.input(0)) in ("float", "half")


def _reduces(node: Node) -> bool:
    given = element_of(node.input(0))
    if node.op_type.startswith("Arg"):
        return given in FLOATS
    if node.op_type == "GlobalLpPool":
        return given in FLOATS and node.attribute("p", 2) in (1, 2)
    exact = node.op_type in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
    return given in FLOATS or (exact and given in ("i64", "i32"))


def _looks_up(node: Node) -> bool:
    return element_of(node.input(1)) in ("i32", "i64")


_NATIVE: dict[str, Callable[[Node], bool]] = {
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity",
         "Slice", "Expand", "Concat"),
        _moves,
    ),
    "Split": _splits,
    "MatMul": _floats,
    "Gemm": _floats,
    "LayerNormalization": _floats,
    "RMSNormalization": _floats,
    "Softmax": _softens,
    "LogSoftmax": _softens,
    "Gather": _looks_up,
    "Conv": convolution.is_supported,
    "ConvTranspose": transposed.is_supported,
    "Resize": resize.is_supported,
    "Pad": pad.is_supported,
    "GridSample": grid_sample.is_supported,
    "NonMaxSuppression": suppression.is_supported,
    "TopK": top_k.is_supported,
    "Trilu": cumulative.has_matrices,
    **dict.fromkeys(cumulative.OPERATORS, cumulative.is_supported),
    "BatchNormalization": affine.is_supported,
    "LRN": response.is_supported,
    "Attention": attention.is_supported,
    "RotaryEmbedding": rotary.is_supported,
    **dict.fromkeys(OPERATIONS, _reduces),
    **dict.fromkeys(pooling.OPERATORS, pooling.is_supported),
    **dict.fromkeys(blocks.OPERATORS, blocks.is_supported),
    **dict.fromkeys(group_norm.OPERATORS, group_norm.is_supported),
    **dict.fromkeys(indexed.OPERATORS, indexed.is_supported),
    **dict.fromkeys(roi.OPERATORS, roi.is_supported),
    **dict.fromkeys(recurrence.OPERATORS, recurrence.is_supported),
    **learned.DEMANDS,
}  # fmt: skip
"""Further operators of the standard that have a step, with what a step demands."""


def shape_operands(node: Node) -> tuple[Value, ...]:
    """Return the inputs, or values that bodies read, whose contents a plan must know."""
    if node.bodies:
        return _known_by_bodies(node)
    places = _SHAPE_OPERANDS.get(node.op_type, ())
    found = (node.input(i) for i in places if i < len(node.inputs))
    return tuple(value for value in found if value is not None)


def is_native(node: Node) -> bool:
    """Whether there is native code for a node, shapes aside."""
    if node.bodies:
        return _repeats(node)
    values = [v for v in node.inputs if v is not None]
    values += [v for v in node.outputs if v.name or v.uses]
    contents = set(shape_operands(node))
    values = [v for v in values if v not in contents and not has_rank(v)]
    if not all(is_text(v) or is_chosen_from(v, node) for v in values):
        return False
    if is_elementwise(node) or moves_text(node):
        return True
    own = node.domain in ("", learned.DOMAIN)
    demands = _NATIVE.get(node.op_type) if own else None
    return demands is not None and demands(node)


def body_classes(said: Repeated) -> Classes | None:
    """Return the classes of a loop's body, if a loop can be native that has it.

    Nothing may depend on contents that change from round to round; the condition a round
    is given is always true.
    """
    given = [] if said.going is None else [said.going]
    classes = Classes(list(said.body), given)
    if Role.HOST in classes.roles.values() or classes.counted:
        return None
    return None if classes.contents & set(said.body.inputs) else classes


def _repeats(node: Node) -> bool:
    """Whether a node is a loop with a native body, whose slices can be counted."""
    said = repeated(node)
    classes = None if said is None else body_classes(said)
    if said is None or classes is None:
        return False
    values = [v for v in (*node.inputs, *said.body.inputs, *said.body.outputs) if v]
    made = [v for v in node.outputs if v.name or v.uses]
    if not all(map(has_rank, values)) or None in map(element_of, made):
        return False
    if said.given or not said.made:
        return True
    settled = said.condition is None or classes.is_known(said.condition)
    return said.trips is not None and (settled or not said.obeyed)


def _known_by_bodies(node: Node) -> tuple[Value, ...]:
    said = repeated(node)
    classes = None if said is None else body_classes(said)
    if said is None or classes is None:
        return ()
    counted = said.trips is not None and bool(said.made)
    return (*classes.contents, *([said.trips] if counted and said.trips else []))


class Classes:
    """The role of each node of a partition, and which values plans need to know.

    ``contents`` are integer values, made outside of native code or given, whose contents
    decide shapes. ``counted`` are those whose shapes only a run tells. ``given`` are
    values of the outside that are known.
    """

    def __init__(self, nodes: Sequence[Node], given: Iterable[Value] = ()) -> None:
        self._inside = set(nodes)
        self._given = frozenset(given)
        self.roles: dict[Node, Role] = {}
        self.contents: set[Value] = set()
        self.counted: set[Value] = set()
        for node in nodes:
            self.roles[node] = self._role(node)
        for node in nodes:
            if self.roles[node] is Role.NATIVE:
                for value in shape_operands(node):
                    if not self._settle(value):
                        self.roles[node] = Role.HOST
        self._spread(nodes)
        for node in nodes:
            if self.roles[node] is Role.NATIVE and any(map(is_text, node.reads)):
                self._follow(node)
            if self.roles[node] is Role.NATIVE and node.op_type in _COUNTED:
                self.counted.update(node.outputs)

    def _follow(self, node: Node) -> None:
        """Leave texts to NumPy that are not native code's own."""
        makers = (value.producer for value in node.reads if is_text(value))
        roles = [None if maker is None else self.roles.get(maker) for maker in makers]
        if any(role is not Role.NATIVE for role in roles):
            self.roles[node] = Role.HOST

    def _role(self, node: Node) -> Role:
        if node.op_type in ("Shape", "Size") and not node.domain:
            return Role.KNOWN
        if self._is_pure(node) and all(map(self.is_known, node.reads)):
            return Role.KNOWN
        return Role.NATIVE if is_native(node) else Role.HOST

    def _is_pure(self, node: Node) -> bool:
        return not node.bodies and node.op_type not in _RANDOM and bool(node.reads)

    def is_known(self, value: Value) -> bool:
        """Whether a value depends on nothing but shapes, constants and `contents`."""
        if value.is_constant or value in self.contents or value in self._given:
            return True
        return self.roles.get(value.producer) is Role.KNOWN  # type: ignore[arg-type]

    def _settle(self, value: Value) -> bool:
        """Make a value known, by contents of integers it depends on; or say it cannot be."""
        if self.is_known(value):
            return True
        producer = value.producer
        if producer is None or producer not in self._inside:
            return self._take(value)
        chain = self._is_pure(producer) and value.dtype in _INTEGRAL
        integral = all(read.dtype in _INTEGRAL for read in producer.reads)
        small = value.shape is not None and len(value.shape) <= 1
        if chain and integral and small and all(map(self._settle, producer.reads)):
            self.roles[producer] = Role.KNOWN
            return True
        return self._take(value)

    def _take(self, value: Value) -> bool:
        small = value.shape is not None and len(value.shape) <= 1
        if value.dtype in _INTEGRAL and small:
            self.contents.add(value)
            return True
        return False

    def _spread(self, nodes: Sequence[Node]) -> None:
        """Let what follows from values that have become known be known too."""
        for node in nodes:
            if self.roles[node] is not Role.KNOWN and self._is_pure(node):
                integral = all(
                    v.dtype in _INTEGRAL for v in (*node.reads, *node.outputs)
                )
                if integral and all(map(self.is_known, node.reads)):
                    self.roles[node] = Role.KNOWN
