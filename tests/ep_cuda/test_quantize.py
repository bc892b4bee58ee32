"""Quantizing and dequantizing: as the CPU does it, and together with what is around."""

import numpy as np
import pytest
from models import FLOAT, model, node
from on_the_double import alone, error, opened, programs, share
from onnx import TensorProto, helper
from single import Single, floats

RANDOM = np.random.default_rng(0)
WHOLE = ("int8", "uint8", "int16")


def integers(dtype, *shape):
    about = np.iinfo(dtype)
    low, high = max(about.min, -1000), min(about.max, 1000)
    return RANDOM.integers(low, high + 1, shape).astype(dtype)


def numbers():
    """Return numbers that saturate, fall between two, or are none."""
    some = floats(RANDOM, 2, 4, 6) * 100
    some[0, 0, :5] = [np.nan, np.inf, -np.inf, 1e30, 0.75]
    some[0, 1] = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]) * 0.5
    return some


def check(op, inputs, **attributes):
    """Compare exactly, with scales that are held by the text and that are not."""
    for constant in ((1, 2) if inputs[2] is not None else (1,), ()):
        case = Single(op, inputs, domain="", constant=constant, **attributes)
        session = opened(case.model)
        assert share(session) == 1.0
        got = session.run(None, case.feed)[0]
        np.testing.assert_array_equal(got, case.want[0])


@pytest.mark.parametrize("dtype", WHOLE)
def test_a_tensor_is_quantized_by_one_scale(cuda, dtype):
    scale, zero = np.array(0.5, np.float32), np.array(7, dtype)
    check("QuantizeLinear", [numbers(), scale, zero])
    check("DequantizeLinear", [integers(dtype, 2, 4, 6), scale, zero])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_slices_are_quantized_by_a_scale_each(cuda, axis):
    count = (2, 4, 6)[axis]
    scale = RANDOM.uniform(0.1, 1, count).astype(np.float32)
    zero = integers("int8", count)
    check("QuantizeLinear", [numbers(), scale, zero], axis=axis)
    check("DequantizeLinear", [integers("int8", 2, 4, 6), scale, zero], axis=axis)


@pytest.mark.parametrize("zero", [None, np.array(3, np.int32)])
def test_sums_are_dequantized_too(cuda, zero):
    x = RANDOM.integers(-10000, 10000, (3, 5)).astype(np.int32)
    check("DequantizeLinear", [x, np.array(0.01, np.float32), zero])


def test_halves_are_divided_as_halves(cuda):
    scale, zero = np.array(0.3, np.float16), np.array(5, np.uint8)
    x = (floats(RANDOM, 4, 8) * 20).astype(np.float16)
    check("QuantizeLinear", [x, scale, zero])
    check("DequantizeLinear", [integers("uint8", 4, 8), scale, zero])


def test_a_range_that_is_found_quantizes(cuda):
    for x in (
        floats(RANDOM, 3, 9),
        np.zeros((2, 2), np.float32),
        floats(RANDOM, 5) ** 2,
    ):
        case = Single("DynamicQuantizeLinear", [x], 3, domain="")
        got = opened(case.model).run(None, case.feed)
        for ours, theirs in zip(got, case.want, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_scales_of_blocks_are_refused(cuda):
    inputs = [integers("int8", 4, 8), floats(RANDOM, 2, 8) ** 2]
    case = Single("DequantizeLinear", inputs, domain="", axis=0, block_size=2)
    assert "scales of blocks" in case.refusal()


def wrapped(nodes, outputs, initializers=None):
    """Return a model from int8 x, whose nodes have scales s, t and a zero point z."""
    return model(
        nodes,
        {"x": (TensorProto.INT8, [2, 4, 6])},
        outputs,
        {
            "s": np.float32(0.1), "t": np.float32(0.07), "z": np.int8(4),
            **(initializers or {}),
        },
        opset=21,
    )  # fmt: skip


def labels(session):
    (program,) = programs(session)
    return [group.label for group, _ in program._walk]


def agree(made, most=0.0):
    session, x = opened(made), integers("int8", 2, 4, 6)
    for ours, theirs in zip(
        session.run(None, {"x": x}), alone(made).run(None, {"x": x}), strict=True
    ):
        assert error(ours, theirs) <= most
    return session


def test_what_is_between_quantized_tensors_is_one_kernel(cuda):
    made = wrapped(
        [
            node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("QuantizeLinear", ["b", "t", "z"], ["y"]),
        ],
        {"y": (TensorProto.INT8, [2, 4, 6])},
    )
    session = agree(made)
    assert labels(session) == ["DequantizeLinear+Relu+QuantizeLinear"]


def test_every_reader_dequantizes_for_itself(cuda):
    made = wrapped(
        [
            node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            node("Relu", ["a"], ["y"]),
            node("Softmax", ["a"], ["w"], axis=-1),
            node("Transpose", ["a"], ["v"]),
        ],
        {
            "y": (FLOAT, [2, 4, 6]),
            "w": (FLOAT, [2, 4, 6]),
            "v": (FLOAT, [6, 4, 2]),
        },
    )
    session = agree(made, 1e-6)
    assert labels(session) == [
        "DequantizeLinear",
        "DequantizeLinear+Relu",
        "DequantizeLinear+Softmax",
        "Transpose",
    ]


def test_the_end_of_a_kernel_may_quantize(cuda):
    made = wrapped(
        [
            node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            node("Softmax", ["a"], ["w"], axis=-1),
            node("QuantizeLinear", ["w", "t", "z"], ["y"]),
        ],
        {"y": (TensorProto.INT8, [2, 4, 6])},
    )
    session = agree(made)
    assert labels(session) == ["DequantizeLinear+Softmax+QuantizeLinear"]


def test_dequantized_weights_are_constants_and_no_work(cuda):
    weights, scale = integers("int8", 6, 5), np.full(5, 0.02, np.float32)
    made = model(
        [
            node("DequantizeLinear", ["w", "s"], ["v"], axis=1),
            node("MatMul", ["x", "v"], ["y"]),
        ],
        {"x": (FLOAT, [3, 6])},
        {"y": (FLOAT, [3, 5])},
        {"w": weights, "s": scale},
        opset=21,
    )
    session, x = opened(made), floats(RANDOM, 3, 6)
    assert labels(session) == ["MatMul"]
    got, want = session.run(None, {"x": x})[0], alone(made).run(None, {"x": x})[0]
    assert error(got, want) < 2e-6


BLOCKS = {"plain": {}, "zeros": {"zeros": True}, "order": {"order": True}}


@pytest.mark.parametrize("case", BLOCKS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_of_few_bits_are_unpacked_on_their_way(cuda, case, bits):
    depth, columns, size = 40, 6, 16
    blocks, width = 3, 16 * bits // 8
    zeros = order = None
    if "zeros" in BLOCKS[case]:
        packed = -(-blocks * bits // 8)
        zeros = RANDOM.integers(0, 256, columns * packed).astype(np.uint8)
    if "order" in BLOCKS[case]:
        order = RANDOM.integers(0, blocks, depth).astype(np.int32)
    inputs = [
        floats(RANDOM, 2, 3, depth),
        RANDOM.integers(0, 256, (columns, blocks, width)).astype(np.uint8),
        floats(RANDOM, columns * blocks) * np.float32(0.1),
        zeros,
        order,
        floats(RANDOM, columns),
    ]
    constant = [place for place in range(1, 6) if inputs[place] is not None]
    case = Single(
        "MatMulNBits", inputs, constant=constant, K=depth, N=columns, bits=bits,
        block_size=size,
    )  # fmt: skip
    case.check()


@pytest.mark.parametrize("zeros", [False, True])
def test_rows_of_few_bits_are_unpacked_and_gathered(cuda, zeros):
    inputs = [
        RANDOM.integers(0, 256, (9, 16)).astype(np.uint8),
        RANDOM.integers(0, 9, (2, 3)),
        floats(RANDOM, 9, 2),
        RANDOM.integers(0, 256, (9, 1)).astype(np.uint8) if zeros else None,
    ]
    constant = (0, 2, 3) if zeros else (0, 2)
    Single("GatherBlockQuantized", inputs, constant=constant, block_size=16).check()


@pytest.mark.parametrize(
    "op", ["QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"]
)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_formulas_of_bytes_give_bytes(cuda, op, dtype):
    def scaled(scale, zero):
        return [np.float32(scale), np.array(zero, dtype)]

    inputs = [integers(dtype, 3, 4, 5), *scaled(0.05, 3)]
    if op in ("QLinearAdd", "QLinearMul"):
        inputs += [integers(dtype, 4, 5), *scaled(0.03, 7)]
    inputs += scaled(0.02, 9)
    inputs = [np.asarray(x) for x in inputs]
    constant = [place for place, x in enumerate(inputs) if x.ndim == 0]
    alpha = {"alpha": 0.2} if op == "QLinearLeakyRelu" else {}
    case = Single(op, inputs, constant=constant, **alpha)
    session = opened(case.model)
    assert share(session) == 1.0
    got, want = session.run(None, case.feed)[0], case.want[0]
    assert np.abs(got.astype(int) - want.astype(int)).max() <= (op == "QLinearSigmoid")


MOVES = {
    "Transpose": ({"perm": [0, 2, 1]}, []),
    "Reshape": ({}, [("r", np.array([4, -1]))]),
    "Slice": ({}, [("f", np.array([1])), ("e", np.array([4])), ("d", np.array([2]))]),
    "Tile": ({}, [("r", np.array([1, 2, 1]))]),
    "Gather": ({"axis": 2}, [("i", np.array([5, 0, 3]))]),
    "MaxPool": ({"kernel_shape": [2], "pads": [1, 1]}, []),
}


@pytest.mark.parametrize("op", [*MOVES, "Concat"])
def test_what_moves_quantized_elements_moves_bytes(cuda, op):
    attributes, others = MOVES.get(op, ({"axis": 1}, []))
    inputs = ["a", "a"] if op == "Concat" else ["a", *(name for name, _ in others)]
    made = wrapped(
        [
            node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            node(op, inputs, ["b"], **attributes),
            node("QuantizeLinear", ["b", "s", "z"], ["y"]),
        ],
        {"y": (TensorProto.INT8, None)},
        dict(others),
    )
    session = agree(made)
    assert labels(session) == [f"DequantizeLinear+{op}+QuantizeLinear"]
    (program,) = programs(session)
    (plan,) = program._plans.values()
    kinds = {t.dtype.name for a in plan.actions for t in a.work.tensors}
    assert "float32" not in kinds


def test_elements_that_get_another_scale_are_moved_as_floats(cuda):
    made = wrapped(
        [
            node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            node("Transpose", ["a"], ["b"]),
            node("QuantizeLinear", ["b", "t", "z"], ["y"]),
            node("Relu", ["a"], ["w"]),
        ],
        {"y": (TensorProto.INT8, None), "w": (FLOAT, None)},
    )
    assert "DequantizeLinear+Relu" in labels(agree(made))


def test_moved_bytes_are_floats_for_who_reads_them_so(cuda):
    made = wrapped(
        [
            node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("QuantizeLinear", ["b", "s", "z"], ["c"]),
            node("DequantizeLinear", ["c", "s", "z"], ["d"]),
            node("Flatten", ["d"], ["y"]),
            node("Flatten", ["a"], ["w"]),
        ],
        {"y": (FLOAT, None), "w": (FLOAT, None)},
    )
    agree(made)


def test_weights_of_four_bits_in_blocks_are_dequantized_beforehand(cuda):
    weights = RANDOM.integers(-8, 8, (32, 6)).astype(np.int8)
    packed = helper.make_tensor("w", TensorProto.INT4, weights.shape, weights.flatten())
    made = model(
        [
            node("DequantizeLinear", ["w", "s"], ["v"], axis=0, block_size=16),
            node("MatMul", ["x", "v"], ["y"]),
        ],
        {"x": (FLOAT, [3, 32])},
        {"y": (FLOAT, [3, 6])},
        {"s": RANDOM.uniform(0.1, 1, (2, 6)).astype(np.float32)},
        opset=21,
    )
    made.graph.initializer.append(packed)
    session, x = opened(made), floats(RANDOM, 3, 32)
    assert labels(session) == ["MatMul"]
    got, want = session.run(None, {"x": x})[0], alone(made).run(None, {"x": x})[0]
    assert error(got, want) < 2e-6
