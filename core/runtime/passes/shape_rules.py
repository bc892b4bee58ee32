"""One rule of shape inference per operator, in symbols, from inputs to first output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.graph import Node
from runtime.passes import dims
from runtime.passes.dims import Element, add, divide, multiply, subtract
from runtime.passes.facts import Facts
from runtime.valuetypes import Dim, Shape

Rule = Callable[[Node, Facts], Shape | None]


def _same(node: Node, facts: Facts) -> Shape | None:
    return facts.shape(node.input(0))


def _elementwise(node: Node, facts: Facts) -> Shape | None:
    if "axis" in node.attributes or "broadcast" in node.attributes:
        return facts.shape(node.input(0))
    return dims.broadcast([facts.shape(value) for value in node.inputs])


def _axes(node: Node, facts: Facts, rank: int) -> list[int] | None:
    found = node.attribute("axes")
    if found is None:
        found = facts.integers(node.input(1))
    if found is None or not all(-rank <= axis < rank for axis in found):
        return None
    return [axis % rank for axis in found]


def _matmul(node: Node, facts: Facts) -> Shape | None:
    a, b = facts.shape(node.input(0)), facts.shape(node.input(1))
    if a is None or b is None or not a or not b:
        return None
    head = dims.broadcast([a[:-2], b[:-2]])
    return None if head is None else (*head, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def _gemm(node: Node, facts: Facts) -> Shape | None:
    a, b = facts.shape(node.input(0)), facts.shape(node.input(1))
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    rows, columns = node.attribute("transA", 0), node.attribute("transB", 0)
    return (a[1] if rows else a[0], b[0] if columns else b[1])


def _transpose(node: Node, facts: Facts) -> Shape | None:
    shape = facts.shape(node.input(0))
    if shape is None:
        return None
    order = node.attribute("perm") or range(len(shape))[::-1]
    return tuple(shape[i] for i in order) if len(order) == len(shape) else None


def _reshape(node: Node, facts: Facts) -> Shape | None:
    shape, target = facts.shape(node.input(0)), facts.content(node.input(1))
    if "shape" in node.attributes:
        target = node.attribute("shape")
    if target is None:
        length = facts.shape(node.input(1))
        known = length is not None and len(length) == 1 and isinstance(length[0], int)
        return (None,) * length[0] if known else None  # type: ignore
    result: list[Dim] = list(target)
    if not node.attribute("allowzero", 0):
        for index, dim in enumerate(target):
            if dim == 0:
                result[index] = shape[index] if shape and index < len(shape) else None
    result = [None if dim == -1 else dim for dim in result]
    if result.count(None) == 1 and shape is not None:
        rest = dims.product(tuple(dim for dim in result if dim is not None))
        result[result.index(None)] = divide(dims.product(shape), rest)
    return tuple(result)


def _flatten(node: Node, facts: Facts) -> Shape | None:
    shape, axis = facts.shape(node.input(0)), node.attribute("axis", 1)
    if shape is None:
        return None
    axis = axis + len(shape) if axis < 0 else axis
    return (dims.product(shape[:axis]), dims.product(shape[axis:]))


def _squeeze(node: Node, facts: Facts) -> Shape | None:
    shape = facts.shape(node.input(0))
    if shape is None:
        return None
    if node.input(1) is None and "axes" not in node.attributes:
        certain = all(isinstance(dim, int) for dim in shape)
        return tuple(dim for dim in shape if dim != 1) if certain else None
    axes = _axes(node, facts, len(shape))
    if axes is None:
        return None
    return tuple(dim for index, dim in enumerate(shape) if index not in axes)


def _unsqueeze(node: Node, facts: Facts) -> Shape | None:
    shape, count = facts.shape(node.input(0)), node.attribute("axes")
    count = count if count is not None else facts.integers(node.input(1))
    if shape is None or count is None:
        return None
    rank = len(shape) + len(count)
    axes = _axes(node, facts, rank)
    if axes is None or len(set(axes)) < len(axes):
        return None
    rest = iter(shape)
    return tuple(1 if index in axes else next(rest) for index in range(rank))


def _concat(node: Node, facts: Facts) -> Shape | None:
    shapes = [facts.shape(value) for value in node.inputs]
    axis = node.attribute("axis", 1)
    known = [shape for shape in shapes if shape is not None]
    if not known or len({len(shape) for shape in known}) > 1:
        return None
    rank = len(known[0])
    result: list[Dim] = []
    for index in range(rank):
        column = [shape[index] for shape in known]
        if index == axis % rank:
            total: Element | None = 0 if len(known) == len(shapes) else None
            for dim in column:
                total = add(total, dim)
            result.append(total)
        else:
            result.append(dims.agreed(column))
    return tuple(result)


def _gather(node: Node, facts: Facts) -> Shape | None:
    data, indices = facts.shape(node.input(0)), facts.shape(node.input(1))
    if data is None or indices is None or not data:
        return None
    axis = node.attribute("axis", 0) % len(data)
    return (*data[:axis], *indices, *data[axis + 1 :])


def _expand(node: Node, facts: Facts) -> Shape | None:
    shape, target = facts.shape(node.input(0)), facts.content(node.input(1))
    return None if shape is None or target is None else dims.broadcast([shape, target])


def slice_bounds(
    node: Node, facts: Facts
) -> list[tuple[int, Element | None, Element | None, int]] | None:
    """Return (axis, start, end, step) for each axis a Slice cuts, or ``None``."""
    rank = facts.rank(node.input(0))
    if rank is None or "starts" in node.attributes:
        return None
    starts, ends = facts.content(node.input(1)), facts.content(node.input(2))
    if starts is None or ends is None:
        return None
    axes: Sequence[int] | None = range(len(starts))
    if node.input(3) is not None:
        axes = facts.integers(node.input(3))
    steps: Sequence[int] | None = (1,) * len(starts)
    if node.input(4) is not None:
        steps = facts.integers(node.input(4))
    if axes is None or steps is None or not all(-rank <= a < rank for a in axes):
        return None
    if len({len(starts), len(ends), len(axes), len(steps)}) > 1:
        return None
    cuts = zip(axes, starts, ends, steps, strict=True)
    return [(axis % rank, start, end, step) for axis, start, end, step in cuts]


def _slice(node: Node, facts: Facts) -> Shape | None:
    shape, bounds = facts.shape(node.input(0)), slice_bounds(node, facts)
    if shape is None:
        return None
    if bounds is None:
        return (None,) * len(shape)
    result = list(shape)
    for axis, start, end, step in bounds:
        result[axis] = dims.sliced(result[axis], start, end, step)
    return tuple(result)


def split(node: Node, facts: Facts, index: int) -> Shape | None:
    """Return the shape of one of Split's outputs."""
    shape = facts.shape(node.input(0))
    if shape is None:
        return None
    axis = node.attribute("axis", 0) % len(shape)
    sizes = node.attribute("split") or facts.content(node.input(1))
    if sizes is not None and index < len(sizes):
        part: Dim = sizes[index]
    elif node.input(1) is None:
        part = _share(shape[axis], len(node.outputs), index)
    else:
        part = None
    return (*shape[:axis], part, *shape[axis + 1 :])


def _share(size: Dim, count: int, index: int) -> Dim:
    if not isinstance(size, int):
        return divide(size, count)
    part = -(-size // count)
    return max(0, min(part, size - part * index))


def _reduce(node: Node, facts: Facts) -> Shape | None:
    shape = facts.shape(node.input(0))
    if shape is None:
        return None
    absent = node.input(1) is None and "axes" not in node.attributes
    if absent and node.attribute("noop_with_empty_axes", 0):
        return shape
    axes = list(range(len(shape))) if absent else _axes(node, facts, len(shape))
    if axes is None:
        keep = node.attribute("keepdims", 1)
        return (None,) * len(shape) if keep else None
    axes = axes or list(range(len(shape)))
    return _without(shape, axes, node)


def _without(shape: Shape, axes: list[int], node: Node) -> Shape:
    if node.attribute("keepdims", 1):
        return tuple(1 if i in axes else dim for i, dim in enumerate(shape))
    return tuple(dim for i, dim in enumerate(shape) if i not in axes)


def _arg(node: Node, facts: Facts) -> Shape | None:
    shape = facts.shape(node.input(0))
    if not shape:
        return None
    return _without(shape, [node.attribute("axis", 0) % len(shape)], node)


def _pad(node: Node, facts: Facts) -> Shape | None:
    shape, pads = facts.shape(node.input(0)), facts.content(node.input(1))
    if shape is None or pads is None:
        return None
    axes: Sequence[int] | None = range(len(shape))
    if node.input(3) is not None:
        axes = facts.integers(node.input(3))
    if axes is None or len(pads) != 2 * len(axes):
        return (None,) * len(shape)
    result = list(shape)
    for index, axis in enumerate(axes):
        both = add(pads[index], pads[index + len(axes)])
        result[axis] = add(result[axis], both)
    return tuple(result)


def _tile(node: Node, facts: Facts) -> Shape | None:
    shape, repeats = facts.shape(node.input(0)), facts.content(node.input(1))
    if shape is None or repeats is None or len(shape) != len(repeats):
        return None
    return tuple(multiply(a, b) for a, b in zip(shape, repeats, strict=True))


def _range(node: Node, facts: Facts) -> Shape | None:
    start, limit, delta = (facts.content(value) for value in node.inputs)
    if start and limit and delta == (1,):
        length = subtract(limit[0], start[0])
        if dims.not_negative(length):
            return (length,)
    return (None,)


def _shape(node: Node, facts: Facts) -> Shape | None:
    shape = facts.shape(node.input(0))
    if shape is None:
        return (None,)
    return (len(shape[node.attribute("start", 0) : node.attribute("end", None)]),)


def _size(node: Node, facts: Facts) -> Shape | None:
    return ()


def _filled(node: Node, facts: Facts) -> Shape | None:
    return facts.content(node.input(0))


def _topk(node: Node, facts: Facts) -> Shape | None:
    shape, count = facts.shape(node.input(0)), facts.content(node.input(1))
    if not shape:
        return None
    axis = node.attribute("axis", -1) % len(shape)
    return (*shape[:axis], count[0] if count else None, *shape[axis + 1 :])


def _like_indices(node: Node, facts: Facts) -> Shape | None:
    return facts.shape(node.input(1))


def _attention(node: Node, facts: Facts) -> Shape | None:
    query, value = facts.shape(node.input(0)), facts.shape(node.input(2))
    if query is None or value is None or len(query) != 4 or len(value) != 4:
        return None
    return (*query[:3], value[3])


def _window(node: Node, facts: Facts) -> Shape | None:
    """Convolutions and pools: the spatial dims slide, batch stays."""
    shape, weight = facts.shape(node.input(0)), facts.shape(node.input(1))
    kernel: Shape = node.attribute("kernel_shape") or (weight or ())[2:]
    plain = node.attribute("auto_pad", "NOTSET") == "NOTSET"
    if shape is None or not plain or node.attribute("ceil_mode", 0):
        return None
    count = len(shape) - 2
    if len(kernel) != count:
        return None
    pads = node.attribute("pads") or (0,) * 2 * count
    strides = node.attribute("strides") or (1,) * count
    dilations = node.attribute("dilations") or (1,) * count
    result: list[Dim] = [shape[0], weight[0] if weight else shape[1]]
    for i, dim in enumerate(shape[2:]):
        size = kernel[i]
        if not isinstance(size, int):
            return None
        room = pads[i] + pads[i + count] - dilations[i] * (size - 1) - 1
        result.append(add(divide(add(dim, room), strides[i]), 1))
    return tuple(result)


def _resize(node: Node, facts: Facts) -> Shape | None:
    shape, sizes = facts.shape(node.input(0)), facts.content(node.input(3))
    plain = node.attribute("keep_aspect_ratio_policy", "stretch") == "stretch"
    if shape is None or not plain or "axes" in node.attributes:
        return None
    if sizes is not None:
        return sizes if len(sizes) == len(shape) else None
    given = node.input(2)
    scales = given.constant() if given is not None else None
    if scales is None or scales.size != len(shape):
        return (None,) * len(shape)
    return tuple(
        multiply(dim, int(scale)) if scale == int(scale) else None
        for dim, scale in zip(shape, scales.tolist(), strict=True)
    )


def _rules(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_rules(
        "Abs Neg Exp Log Sqrt Erf Tanh Sigmoid Relu LeakyRelu Elu Selu Celu Gelu Swish "
        "HardSigmoid HardSwish Mish Softplus Softsign Softmax LogSoftmax Hardmax "
        "Identity Cast CastLike Not Floor Ceil Round Sign Reciprocal Sin Cos Tan Asin "
        "Acos Atan Sinh Cosh Asinh Acosh Atanh IsNaN IsInf Clip Dropout CumSum Trilu "
        "LayerNormalization RMSNormalization GroupNormalization InstanceNormalization "
        "BatchNormalization LpNormalization MeanVarianceNormalization LRN Shrink "
        "ThresholdedRelu RotaryEmbedding QuantizeLinear DequantizeLinear BitwiseNot "
        "ScatterND ScatterElements PRelu ReverseSequence",
        _same,
    ),
    **_rules(
        "Add Sub Mul Div Pow Mod Min Max Sum Mean And Or Xor Equal Greater Less "
        "GreaterOrEqual LessOrEqual Where BitShift BitwiseAnd BitwiseOr BitwiseXor",
        _elementwise,
    ),
    **_rules(
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 "
        "ReduceLogSum ReduceLogSumExp ReduceSumSquare",
        _reduce,
    ),
    **_rules("ArgMax ArgMin", _arg),
    **_rules("Conv MaxPool AveragePool", _window),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _like_indices,
    "Expand": _expand,
    "Slice": _slice,
    "Split": lambda node, facts: split(node, facts, 0),
    "Pad": _pad,
    "Tile": _tile,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
    "ConstantOfShape": _filled,
    "TopK": _topk,
    "Attention": _attention,
    "Resize": _resize,
}
"""The shape of the first output, by operator of ai.onnx."""
