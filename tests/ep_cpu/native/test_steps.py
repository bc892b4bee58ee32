"""Every step gives NumPy's results: shapes, views, types, broadcasting, attributes."""

import numpy as np
import pytest
from beside_numpy import checked, groups
from draws import FLOATS, Draw
from onnx import TensorProto

SUMS = {"float32": 4e-6}
"""Differences of sums in float32, as a part of the largest operand's magnitude."""

UNARY = ("Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Relu", "Gelu", "Erf", "Softplus")
UNARY += ("Mish", "Sqrt", "Elu", "HardSwish", "Floor", "Round", "Sin", "LeakyRelu")
NARROW = ("Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Relu", "Gelu", "Erf", "Softplus")
BRAIN = ("Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Relu", "Erf")


def compared(draw, kind, *outputs, opset=20, **more):
    return checked(
        draw.model(outputs, opset),
        draw.feed,
        tolerance=SUMS.get(kind),
        least=1.0,
        **more,
    )


@pytest.mark.parametrize("seed", range(40))
def test_elementwise(seed):
    d = Draw(seed)
    kind = d.one("float32", "float32", "float16", "bfloat16", "int64", "int32")
    shape = d.shape(0, 5)
    a = d.operand("a", d.array(shape, kind))
    b = d.either("b", d.array(d.narrower(shape), kind))
    c = d.operand("c", d.array(d.narrower(shape), kind))
    a, b = d.one((a, b), (b, a))
    p = d.add(d.one("Add", "Sub", "Mul", "Max", "Min"), [a, b], "p")
    functions = {"float32": UNARY, "float16": NARROW, "bfloat16": BRAIN}
    q = d.add(d.one(*functions.get(kind, ("Neg", "Abs", "Relu"))), [p], "q")
    end = d.one("choose", "widen", "compare", "add")
    if end == "choose":
        d.add("Less", [q, c], "l")
        d.add("Where", ["l", q, c], "y")
    elif end == "widen":
        d.add("Cast", [q], "w", to=TensorProto.FLOAT)
        d.add("Mul", ["w", "w"], "y")
    elif end == "compare":
        d.add(d.one("Equal", "Greater", "LessOrEqual"), [q, c], "l")
        d.add("Not", ["l"], "y")
    else:
        d.add("Add", [q, c], "y")
    compared(d, kind, "y")


@pytest.mark.parametrize("seed", range(50))
def test_products_of_batches_and_vectors_with_epilogues(seed):
    d = Draw(seed)
    kind = d.one(*FLOATS)
    lead = d.shape(0, 3, 3)
    m, k, n = (d.one(d.size(40), d.size(40), 1) for _ in range(3))
    a = d.array((*d.narrower(lead), m, k), kind)
    b = d.array((*d.narrower(lead), k, n), kind)
    if d.rng.random() < 0.15:
        a = d.array((k,), kind)
    elif d.rng.random() < 0.15:
        b = d.array((k,), kind)
    whole = np.matmul(a.astype(np.float32), b.astype(np.float32)).shape
    last = d.add("MatMul", [d.operand("a", a), d.either("b", b)], "p")
    for i in range(d.size(3, 0)):
        what = d.one("function", "row", "full", "narrower")
        if what == "function":
            last = d.add(d.one("Relu", "Sigmoid", "Neg", "Tanh"), [last], f"e{i}")
            continue
        shape = {"row": whole[-1:], "full": whole}.get(what) or d.narrower(whole)
        pair = [last, d.either(f"x{i}", d.array(shape, kind))]
        pair = d.one(pair, pair, pair[::-1])
        last = d.add(d.one("Add", "Mul", "Sub"), pair, f"e{i}")
    d.add("Identity", [last], "y")
    compared(d, kind, "y")


@pytest.mark.parametrize("seed", range(40))
def test_gemm_of_every_c(seed):
    d = Draw(seed)
    kind = d.one("float32", "float32", "float16")
    m, k, n = (d.size(70) for _ in range(3))
    turn_a, turn_b = d.one(0, 1), d.one(0, 1)
    inputs = [
        d.operand("a", d.array((k, m) if turn_a else (m, k), kind)),
        d.either("b", d.array((n, k) if turn_b else (k, n), kind)),
    ]
    shape = d.one(None, (), (1,), (n,), (1, n), (m, 1), (m, n), (1, 1))
    if shape is not None:
        inputs.append(d.either("c", d.array(shape, kind)))
    attributes = {}
    if d.one(True, False):
        attributes["alpha"] = 0.7
    if d.one(True, False):
        attributes["beta"] = d.one(0.3, 0.0)
    d.add("Gemm", inputs, "p", transA=turn_a, transB=turn_b, **attributes)
    d.add(d.one("Relu", "Identity"), ["p"], "y")
    compared(d, kind, "y")


@pytest.mark.parametrize("seed", range(40))
def test_norms_and_softmax_along_any_axis_with_prologues(seed):
    d = Draw(seed)
    kind = d.one(*FLOATS)
    operator = d.one("Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization")
    if kind == "bfloat16" and operator.endswith("Softmax"):
        kind = "float16"
    shape = d.shape(1, 4, 20)
    axis = d.size(len(shape) - 1, -len(shape))
    x, outputs = d.operand("a", d.array(shape, kind)), ["y"]
    if d.one(True, False):
        other = d.operand("b", d.array(d.narrower(shape), kind))
        x = d.add(d.one("Add", "Mul"), [x, other], "h")
        if d.one(True, False):
            outputs.append(d.add("Neg", [x], "z"))
    if operator.endswith("Softmax"):
        d.add(operator, [x], "y", axis=axis)
    else:
        tail = shape[axis:]
        inputs = [x, d.either("scale", d.array(d.narrower(tail), kind))]
        found = ["y"]
        if operator == "LayerNormalization":
            if d.one(True, False):
                inputs.append(d.either("bias", d.array(d.narrower(tail), kind)))
            found = d.one(["y"], ["y", "mean", "inverse"])
        d.add(operator, inputs, *found, axis=axis)
        outputs += found[1:]
    compared(d, kind, *outputs, opset=23)


REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum")
REDUCTIONS += ("LogSumExp",)


@pytest.mark.parametrize("operator", REDUCTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_reductions_over_any_axes(operator, seed):
    d = Draw(seed * 100 + REDUCTIONS.index(operator))
    exact = operator in ("Sum", "Max", "Min", "Prod")
    kind = d.one(*FLOATS, *(("int64", "int32") if exact else ()))
    shape = d.shape(1, 5, 8)
    x = d.array(shape, kind)
    if operator == "LogSum":
        x = np.abs(x) + x.dtype.type(0.1)
    count = d.size(len(shape))
    axes = d.rng.choice(len(shape), count, replace=False)
    axes = d.constant("axes", [int(i) - d.one(0, len(shape)) for i in axes])
    given = d.one([axes], [axes], [axes], [])
    d.add(f"Reduce{operator}", [d.operand("a", x), *given], "y", keepdims=d.one(0, 1))
    compared(d, kind, "y")


@pytest.mark.parametrize("seed", range(16))
def test_positions_of_extremes_with_ties(seed):
    d = Draw(seed)
    kind = d.one(*FLOATS)
    shape = d.shape(1, 4, 9)
    x = d.rng.integers(-2, 2, shape).astype(d.array((), kind).dtype)
    d.add(
        d.one("ArgMax", "ArgMin"),
        [d.operand("a", x)],
        "y",
        axis=d.size(len(shape) - 1, -len(shape)),
        keepdims=d.one(0, 1),
        select_last_index=d.one(0, 1),
    )
    compared(d, kind, "y")


MOVES = ("Concat", "Split", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Transpose")


@pytest.mark.parametrize("operator", MOVES)
@pytest.mark.parametrize("seed", range(6))
def test_what_moves_elements_keeps_their_bits(operator, seed):
    d = Draw(seed * 100 + MOVES.index(operator))
    kind = d.one("float32", "float16", "bfloat16", "int64", "int32", "bool")
    shape = d.shape(1, 5, 7)
    axis = d.size(len(shape) - 1, -len(shape))
    x = d.operand("a", d.array(shape, kind))
    outputs = ["y"]
    if operator == "Concat":
        other = list(shape)
        other[axis] = d.size(5)
        d.add("Concat", [x, d.operand("b", d.array(other, kind)), x], "y", axis=axis)
    elif operator == "Split":
        count = d.size(shape[axis])
        cuts = sorted(d.rng.choice(range(1, shape[axis]), count - 1, replace=False))
        sizes = d.constant("sizes", np.diff([0, *cuts, shape[axis]]).astype(np.int64))
        outputs += [f"y{i}" for i in range(1, count)]
        d.add("Split", [x, sizes], *outputs, axis=axis)
        outputs = outputs[:1] + outputs[-1:] * (count > 1)
    elif operator == "Gather":
        index = d.rng.integers(-shape[axis], shape[axis], d.shape(0, 3, 4))
        index = d.operand("i", index.astype(d.one(np.int32, np.int64)))
        d.add("Gather", [x, index], "y", axis=axis)
    elif operator == "Squeeze":
        axes = d.constant("axes", [0, len(shape) + 1])
        d.add("Unsqueeze", [x, axes], "u")
        d.add("Concat", ["u"], "c", axis=0)
        d.add("Squeeze", ["c", axes], "y")
    elif operator == "Unsqueeze":
        d.add("Unsqueeze", [x, d.constant("axes", [-1, 1])], "y")
    elif operator == "Flatten":
        d.add("Flatten", [x], "y", axis=axis)
    else:
        d.add("Transpose", [x], "y")
    checked(d.model(outputs), d.feed, tolerance=0)


@pytest.mark.parametrize("seed", range(30))
def test_convolutions_that_are_products(seed):
    d = Draw(seed)
    rank = d.one(1, 1, 2, 3)
    batch, channels, filters = d.size(3), d.size(8), d.size(40)
    attributes = {}
    if rank == 1:
        kernel = (d.size(5),)
        sizes = (d.size(30, kernel[0]),)
        attributes["strides"] = [d.size(3)]
        if d.one(True, False):
            attributes["pads"] = [d.size(3, 0), d.size(3, 0)]
        else:
            modes = ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
            attributes["auto_pad"] = d.one(*modes)
    else:
        kernel = tuple(d.size(4) for _ in range(rank))
        sizes = tuple(k * d.size(3) + d.size(k - 1, 0) for k in kernel)
        attributes["strides"] = list(kernel)
    inputs = [
        d.operand("a", d.array((batch, channels, *sizes))),
        d.constant("w", d.array((filters, channels, *kernel))),
    ]
    if d.one(True, False):
        inputs.append(d.constant("bias", d.array((filters,))))
    last = d.add("Conv", inputs, "p", **attributes)
    if d.one(True, False):
        last = d.add(d.one("Relu", "Tanh"), [last], "r")
    if d.one(True, False):
        last = d.add("Mul", [last, d.constant("half", np.float32(0.5))], "m")
    if d.one(True, False):
        d.add("Transpose", [last], "y", perm=[0, *range(2, rank + 2), 1])
    else:
        d.add("Add", [last, "p"], "y")
    compared(d, "float32", "y")


# corners


def simple(operator, *arrays, constants=(), tolerance=None, moves=False, **attributes):
    d = Draw(0)
    names = [f"x{i}" for i in range(len(arrays))]
    for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if i in constants:
            d.constant(name, array)
        else:
            d.feed[name] = np.asarray(array)
    d.add(operator, names, "y", **attributes)
    proto = d.model(["y"], attributes.pop("opset", 20))
    with np.errstate(all="ignore"):
        return checked(proto, d.feed, tolerance=tolerance, moves=moves)


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(1, 1, 1), (3, 1025, 7), (50, 2000, 49), (1, 4096, 33), (97, 64, 1), (260, 5, 130),
     (13, 1024, 48), (400, 1500, 20)],
)  # fmt: skip
def test_products_of_sizes_at_the_edges_of_blocks(m, k, n):
    d = Draw(m)
    a, b = d.array((m, k)), d.array((k, n))
    simple("MatMul", a, b, tolerance=5e-6)
    simple("MatMul", a, b, constants=(1,), tolerance=5e-6)


def test_a_long_sum_with_an_epilogue_in_half_precision():
    d = Draw(4)
    a, b = d.array((70, 2100), "float16"), d.array((2100, 90), "float16")
    d.add("MatMul", [d.operand("a", a), d.constant("b", b)], "p")
    d.add("Tanh", ["p"], "t")
    d.add("Add", ["t", d.constant("r", d.array((90,), "float16"))], "y")
    assert groups(compared(d, "float16", "y"))[-1] == "MatMul+Tanh+Add"


SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-45, 3e38, -3e38, 1.0, -1.0, 88.8],
    np.float32,
)


@pytest.mark.parametrize(
    "operator",
    ["Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Erf", "Gelu", "Abs", "Neg",
     "Floor", "Softplus", "Reciprocal", "LeakyRelu", "Elu"],
)  # fmt: skip
def test_special_numbers_through_functions(operator):
    simple(operator, np.tile(SPECIAL, 3))


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
def test_special_numbers_through_arithmetic(operator):
    simple(operator, SPECIAL[:, None], SPECIAL)


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.5, 1.0, 2.0, 3.0])
def test_special_numbers_to_constant_powers(exponent):
    simple("Pow", SPECIAL, np.float32(exponent), constants=(1,))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("operator", ["Add", "Mul", "Sub"])
def test_integers_wrap_round(operator, kind):
    ends = np.array([np.iinfo(kind).max, np.iinfo(kind).min, 5], kind)
    simple(operator, ends, ends[::-1].copy())


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_nan_is_every_extreme(operator, axis, last):
    x = Draw(1).array((4, 40))
    x[1, 17], x[1, 30], x[2, 3] = np.nan, np.nan, np.inf
    simple(operator, x, axis=axis, select_last_index=last)


@pytest.mark.parametrize("operator", ["Softmax", "ReduceLogSumExp"])
def test_rows_of_negative_infinity(operator):
    x = np.full((2, 3), -np.inf, np.float32)
    if operator == "Softmax":
        simple(operator, x)
    else:
        simple(operator, x, np.array([1]), constants=(1,))


@pytest.mark.parametrize("bounds", [(-1, 1), (1, -1)])
def test_clip_of_special_numbers_and_crossed_bounds(bounds):
    simple("Clip", SPECIAL, *map(np.float32, bounds))


@pytest.mark.parametrize("code", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_special_numbers_become_narrow_ones(code):
    edges = np.float32([65504, 65519, 65520, 6e-8, 2.9e-8, 3.3961e38])
    simple("Cast", np.concatenate([SPECIAL, edges]), tolerance=0, to=code)


def test_denormals_are_kept():
    tiny = np.array([1e-40, -1e-42, 1e-45], np.float32)
    d = Draw(0)
    d.feed["x"] = tiny
    d.add("Abs", ["x"], "a")
    d.add("Mul", ["a", d.constant("one", np.float32(1))], "y")
    session = checked(d.model(["y"]), d.feed)
    np.testing.assert_array_equal(session.run(None, d.feed)[0], np.abs(tiny))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "operator", ["ReduceSum", "ReduceMax", "ReduceMean", "Softmax"]
)
def test_special_numbers_in_rows(operator, special):
    x = Draw(1).array((4, 40))
    x[1, 17] = special
    x[2] = special
    if operator == "Softmax":
        simple(operator, x)
    else:
        simple(operator, x, np.array([1]), constants=(1,), keepdims=0)
        simple(operator, x, np.array([0]), constants=(1,), keepdims=0)


def test_special_numbers_reach_no_other_row_of_a_product():
    d = Draw(2)
    a, b = d.array((9, 33)), d.array((33, 50))
    a[4, 7], a[5, 0] = np.nan, np.inf
    simple("MatMul", a, b)


def test_a_column_of_infinity_stays_in_its_column():
    d = Draw(3)
    a, b = d.array((9, 33)), d.array((33, 50))
    b[3, 49] = np.inf
    simple("MatMul", a, b, constants=(1,))


@pytest.mark.parametrize(
    "arrays",
    [
        (np.zeros((0, 4), np.float32), np.zeros((4, 3), np.float32)),
        (np.zeros((2, 0), np.float32), np.zeros((0, 3), np.float32)),
        (np.zeros((2, 4), np.float32), np.zeros((4, 0), np.float32)),
    ],
    ids=["rows", "depth", "columns"],
)
def test_empty_products_are_numpys(arrays):
    simple("MatMul", *arrays, moves=True)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3)])
def test_empty_tensors_are_numpys(shape):
    simple("Sigmoid", np.zeros(shape, np.float32), moves=True)


def test_an_empty_part_of_a_concatenation_counts_for_nothing():
    x = Draw(0).array((2, 3))
    empty = np.zeros((2, 0), np.float32)
    simple("Concat", x, empty, x, constants=(1,), axis=1)


def test_scalars():
    simple("Sigmoid", np.float32(0.5))
    simple("Mul", np.float32(0.5), np.float32(3))
    simple("MatMul", np.ones(5, np.float32), np.ones(5, np.float32))
    simple("Gather", np.arange(5, dtype=np.float32), np.array(3))


@pytest.mark.parametrize("step", [(-1, -1), (-100, 3), (2, -7), (0, 100)])
def test_slices_clamp_their_ends(step):
    start, end = step
    for stride in (1, -1):
        if len(range(*slice(start, end, stride).indices(5))) == 0:
            continue
        d = Draw(0)
        d.feed["x"] = d.array((5, 3))
        words = [
            d.constant(n, [v])
            for n, v in (("s", start), ("e", end), ("a", 0), ("t", stride))
        ]
        d.add("Slice", ["x", *words], "y")
        checked(d.model(["y"]), d.feed, tolerance=0)


def test_copies_of_more_axes_than_a_kernel_has_are_taken_apart():
    d = Draw(0)
    d.feed["x"] = d.array((2, 3, 2, 3, 2, 3, 2, 3))
    d.add("Transpose", ["x"], "t", perm=[6, 4, 2, 0, 7, 5, 3, 1])
    d.add("Concat", ["t", "t"], "y", axis=3)
    checked(d.model(["y"]), d.feed, tolerance=0)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_of_every_opset(operator, opset):
    d = Draw(0)
    d.feed["x"] = d.array((3, 4, 5))
    d.add(operator, ["x"], "y", axis=2)
    checked(d.model(["y"], opset), d.feed)
