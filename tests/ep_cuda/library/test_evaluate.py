"""What the host double computes for the libraries is what ONNX says."""

import ml_dtypes
import numpy as np
import pytest
from double.evaluate import MODES, evaluate
from library.specs import (
    attention,
    biased,
    convolution,
    product,
    rows,
    scaled,
    vector,
)
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from runtime_ep_cuda.operations import Pointwise

CASES = {
    "padded": convolution((2, 6, 9, 7), (4, 6, 3, 3), pads=1, dtype="float32"),
    "pads of either side": convolution(
        (1, 4, 8, 8), (5, 4, 3, 2), pads=(0, 1), end=(2, 0), strides=2, dtype="float32"
    ),
    "groups and dilations": convolution(
        (2, 6, 11, 12), (9, 2, 3, 2), groups=3, dilations=(2, 3), dtype="float32"
    ),
    "depthwise": convolution(
        (1, 5, 6, 6), (5, 1, 3, 3), groups=5, pads=1, dtype="float32"
    ),
    "one axis": convolution((3, 4, 13), (2, 4, 5), pads=2, strides=3, dtype="float32"),
    "three axes": convolution(
        (1, 3, 5, 4, 6), (2, 3, 2, 3, 1), pads=(1, 0, 2), dtype="float32"
    ),
    "transposed": convolution(
        (2, 4, 5, 6), (4, 3, 3, 2), strides=2, transposed=True, dtype="float32"
    ),
    "transposed, cut and in groups": convolution(
        (1, 6, 5, 5),
        (6, 2, 4, 3),
        pads=(1, 0),
        end=(2, 1),
        extra=(1, 0),
        strides=(3, 2),
        dilations=(1, 2),
        groups=3,
        transposed=True,
        dtype="float32",
    ),
    "transposed, one axis": convolution(
        (2, 3, 7), (3, 5, 4), strides=2, pads=1, transposed=True, dtype="float32"
    ),
}

EXTRA = {"transposed, cut and in groups": (1, 0)}


def drawn(spec, seed=0):
    """Random numbers of a spec's type, laid out by its strides."""
    random = np.random.default_rng(seed)
    dtype = ml_dtypes.bfloat16 if spec.dtype == "bfloat16" else np.dtype(spec.dtype)
    if np.dtype(dtype).kind == "i":
        values = random.integers(-128, 128, spec.shape)
    else:
        values = random.standard_normal(spec.shape)
    order = sorted(range(len(spec.shape)), key=lambda axis: -spec.strides[axis])
    laid = values.transpose(order).copy().transpose(np.argsort(order))
    return laid.astype(dtype, order="K")


def asked(op_type, inputs, opset=23, **attributes):
    """The answer of ONNX's reference, computed in the inputs' type."""
    names = [f"i{number}" for number in range(len(inputs))]
    kinds = [helper.np_dtype_to_tensor_dtype(array.dtype) for array in inputs]
    node = helper.make_node(op_type, names, ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(name, kind, array.shape)
            for name, kind, array in zip(names, kinds, inputs, strict=True)
        ],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    feeds = dict(zip(names, inputs, strict=True))
    return ReferenceEvaluator(model).run(None, feeds)[0]


@pytest.mark.parametrize("name", CASES)
def test_convolutions_are_those_of_onnx(name):
    operation = CASES[name]
    x, w = drawn(operation.x), drawn(operation.w, 1)
    attributes = {
        "strides": operation.strides,
        "dilations": operation.dilations,
        "pads": (*operation.pads_begin, *operation.pads_end),
    }
    if operation.transposed:
        attributes["output_padding"] = EXTRA.get(name, (0,) * (x.ndim - 2))
        expected = transposed_in_groups(x, w, operation.groups, attributes)
    else:
        expected = asked("Conv", [x, w], group=operation.groups, **attributes)
    found = evaluate(operation, [x, w])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def transposed_in_groups(x, w, groups, attributes):
    """Group by group: the reference fails where a group has several channels."""
    parts = zip(np.split(x, groups, 1), np.split(w, groups), strict=True)
    answers = [asked("ConvTranspose", list(part), **attributes) for part in parts]
    return np.concatenate(answers, axis=1)


def test_the_layout_in_memory_does_not_matter():
    operation = CASES["padded"]
    x, w = drawn(operation.x), drawn(operation.w, 1)
    assert not x.flags.c_contiguous
    expected = evaluate(operation, [np.ascontiguousarray(x), np.ascontiguousarray(w)])
    np.testing.assert_array_equal(evaluate(operation, [x, w]), expected)


def test_a_result_is_rounded_once_from_an_exact_sum():
    operation = product((1, 1, 3), (1, 3, 1))
    a = np.array([[[2048, 1, 1]]], np.float16)
    b = np.ones((1, 3, 1), np.float16)
    assert evaluate(operation, [a, b]) == np.float16(2050)
    narrow = product((1, 1, 2), (1, 2, 1), dtype="bfloat16")
    half = np.array([[[1.0, 0.001]]], ml_dtypes.bfloat16)
    found = evaluate(narrow, [half, b[:, :2].astype(ml_dtypes.bfloat16)])
    assert found.dtype == ml_dtypes.bfloat16
    assert found.item() == 1.0


@pytest.mark.parametrize("shared", [False, True])
def test_products_are_those_of_onnx_times_alpha(shared):
    operation = product(
        (3, 4, 5), (1 if shared else 3, 5, 6), dtype="float32", alpha=0.5
    )
    a, b = drawn(operation.a), drawn(operation.b, 1)
    expected = asked("MatMul", [a, b]) * np.float32(0.5)
    np.testing.assert_allclose(evaluate(operation, [a, b]), expected, rtol=1e-5)


def test_integers_are_summed_exactly_into_int32():
    operation = convolution(
        (2, 7, 6, 6), (4, 7, 3, 3), dtype="int8", out="int32", pads=1
    )
    x, w = drawn(operation.x), drawn(operation.w, 1)
    expected = asked("ConvInteger", [x, w], pads=[1, 1, 1, 1])
    found = evaluate(operation, [x, w])
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_scales_and_biases_bring_integers_back_to_int8():
    operation = convolution(
        (1, 3, 5, 5),
        (4, 3, 3, 3),
        dtype="int8",
        operands=[vector("float32", 4), vector("float32", 4)],
        epilogue=[scaled(0), biased(1), Pointwise("relu")],
    )
    x, w = drawn(operation.x), drawn(operation.w, 1)
    scale, bias = (drawn(spec, 2 + i) for i, spec in enumerate(operation.operands))
    scale *= np.float32(0.01)
    whole = asked("ConvInteger", [x, w])
    exact = np.maximum(whole * scale.astype(float) + bias, 0)
    expected = np.clip(np.rint(exact), -128, 127).astype(np.int8)
    found = evaluate(operation, [x, w, scale, bias])
    assert found.max() == 127, "some saturate"
    np.testing.assert_array_equal(found, expected)


ACTIVATIONS = {
    "relu": ("Relu", {}, 0.0),
    "sigmoid": ("Sigmoid", {}, 0.0),
    "tanh": ("Tanh", {}, 0.0),
    "softplus": ("Softplus", {}, 0.0),
    "mish": ("Mish", {}, 0.0),
    "hard_swish": ("HardSwish", {}, 0.0),
    "gelu": ("Gelu", {}, 0.0),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}, 0.0),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.25}, 0.25),
    "elu": ("Elu", {"alpha": 1.5}, 1.5),
    "swish": ("Swish", {"alpha": 1.25}, 1.25),
}
ARITHMETIC = {"add": "Add", "sub": "Sub", "mul": "Mul", "max": "Max", "min": "Min"}


@pytest.mark.parametrize("mode", ACTIVATIONS)
def test_activations_of_an_epilogue_are_those_of_onnx(mode):
    op_type, attributes, scalar = ACTIVATIONS[mode]
    operation = product(
        (1, 3, 4),
        (1, 4, 8),
        dtype="float32",
        epilogue=(Pointwise(mode, scalar=scalar),),
    )
    a, b = drawn(operation.a), drawn(operation.b, 1)
    expected = asked(op_type, [a @ b], opset=24, **attributes)
    np.testing.assert_allclose(
        evaluate(operation, [a, b]), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("mode", ARITHMETIC)
@pytest.mark.parametrize("scalar", [False, True])
def test_arithmetic_of_an_epilogue_takes_tensors_and_numbers(mode, scalar):
    step = Pointwise(mode, scalar=0.25) if scalar else Pointwise(mode, 0)
    operation = product(
        (2, 3, 4),
        (2, 4, 8),
        dtype="float32",
        operands=(rows("float32", 1, 1, 8),),
        epilogue=(step,),
    )
    a, b, c = drawn(operation.a), drawn(operation.b, 1), drawn(operation.operands[0], 2)
    second = np.float32(0.25) if scalar else c
    expected = asked(ARITHMETIC[mode], [a @ b, np.asarray(second)])
    np.testing.assert_allclose(
        evaluate(operation, [a, b, c]), expected, rtol=1e-5, atol=1e-6
    )


def test_every_mode_is_tested():
    assert set(MODES) == {*ACTIVATIONS, *ARITHMETIC}


@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("bias", [None, (2, 4, 5, 7), (1, 1, 5, 7), (2, 1, 1, 7)])
def test_attention_is_that_of_onnx(heads, bias):
    operation = attention(
        (2, 4, 5, 8), (2, heads, 7, 8), values=16, bias=bias, dtype="float32"
    )
    specs = [operation.q, operation.k, operation.v, *filter(None, [operation.bias])]
    arrays = [drawn(spec, seed) for seed, spec in enumerate(specs)]
    mask = [np.broadcast_to(arrays[3], (2, 4, 5, 7)).copy()] if bias else []
    expected = asked("Attention", [*arrays[:3], *mask], scale=0.125)
    np.testing.assert_allclose(
        evaluate(operation, arrays), expected, rtol=1e-5, atol=1e-5
    )


def test_what_comes_after_is_counted_from_the_first_key():
    operation = attention(
        (1, 2, 5, 8), (1, 2, 5, 8), causal="top_left", dtype="float32"
    )
    arrays = [
        drawn(s, i) for i, s in enumerate([operation.q, operation.k, operation.v])
    ]
    expected = asked("Attention", arrays, scale=0.125, is_causal=1)
    np.testing.assert_allclose(
        evaluate(operation, arrays), expected, rtol=1e-5, atol=1e-5
    )


def test_or_from_the_last():
    operation = attention(
        (1, 2, 3, 8), (1, 2, 5, 8), causal="bottom_right", dtype="float32"
    )
    arrays = [
        drawn(s, i) for i, s in enumerate([operation.q, operation.k, operation.v])
    ]
    mask = np.tri(3, 5, 2, dtype=bool)
    expected = asked("Attention", [*arrays, mask], scale=0.125)
    np.testing.assert_allclose(
        evaluate(operation, arrays), expected, rtol=1e-5, atol=1e-5
    )
