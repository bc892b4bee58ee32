"""Activations against their definitions in float64, and the Softmax family."""

from __future__ import annotations

import inspect
import math

import ml_dtypes
import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime
from runtime.errors import ExecutionError
from runtime_ep_cpu import formulas
from runtime_ep_cpu.ops import activation, elementwise
from runtime_ep_cpu.ops._array_math import math_of
from runtime_ep_cpu.ops._formula_kernel import BLOCK

pytestmark = pytest.mark.filterwarnings("error")

erf = np.vectorize(math.erf, otypes=[float])
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def hard_sigmoid(x, alpha=0.2, beta=0.5):
    return np.clip(alpha * x + beta, 0, 1)


def gelu(x, approximate="none"):
    if approximate == "none":
        return 0.5 * x * (1 + erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def elu(x, alpha=1.0):
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


DEFINITIONS = {
    "Celu": lambda x, alpha=1.0: (
        np.maximum(0, x) + np.minimum(0, alpha * np.expm1(x / alpha))
    ),
    "Elu": elu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda x: x * hard_sigmoid(x, 1 / 6),
    "LeakyRelu": lambda x, alpha=0.01: np.where(x < 0, alpha * x, x),
    "Mish": lambda x: x * np.tanh(softplus(x)),
    "Relu": lambda x: np.maximum(x, 0),
    "Selu": lambda x, alpha=1.6732632, gamma=1.0507010: gamma * elu(x, alpha),
    "Shrink": lambda x, bias=0.0, lambd=0.5: np.where(
        x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)
    ),
    "Sigmoid": sigmoid,
    "Softplus": softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Swish": lambda x, alpha=1.0: x * sigmoid(alpha * x),
    "ThresholdedRelu": lambda x, alpha=1.0: np.where(x > alpha, x, 0),
}
ATTRIBUTES = [
    ("Celu", {"alpha": 2.5}),
    ("Elu", {"alpha": 0.5}),
    ("Gelu", {"approximate": "tanh"}),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.25}),
    ("LeakyRelu", {"alpha": 0.25}),
    ("LeakyRelu", {"alpha": -1.5}),
    ("Selu", {"alpha": 2.0, "gamma": 1.5}),
    ("Shrink", {"bias": 0.25, "lambd": 1.5}),
    ("Swish", {"alpha": 1.75}),
    ("ThresholdedRelu", {"alpha": 0.5}),
]
CASES = [(op_type, {}) for op_type in DEFINITIONS] + ATTRIBUTES


def numbers(shape, dtype="float32", seed=0, scale=3.0):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return np.asarray(values).astype(dtype)


def one(op_type, *inputs, opset=0, **attributes):
    [result] = run_node(op_type, list(inputs), attributes, opset)
    return result


def assert_close(result, wanted, dtype, rtol):
    wanted = np.asarray(wanted)
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (np.dtype(dtype), wanted.shape)
    np.testing.assert_allclose(result.astype(float), wanted, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize(("op_type", "attributes"), CASES)
@given(shape=shapes, dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_activations_are_what_they_are_defined_as(op_type, attributes, shape, dtype):
    x = numbers(shape, dtype)
    tolerance = {"float16": 2e-3, "float32": 5e-6, "float64": 1e-7}[dtype]
    wanted = DEFINITIONS[op_type](x.astype(np.float64), **attributes)
    assert_close(one(op_type, x, **attributes), wanted, dtype, tolerance)


@pytest.mark.parametrize("op_type", DEFINITIONS)
def test_activations_stay_finite_where_exp_overflows(op_type):
    x = np.array([-1e4, -200, -90, 90, 200, 1e4])
    with np.errstate(over="ignore"):
        wanted = DEFINITIONS[op_type](x)
    assert_close(one(op_type, x.astype(np.float32)), wanted, np.float32, 1e-5)


@pytest.mark.parametrize("op_type", DEFINITIONS)
def test_nan_goes_through_unless_every_comparison_decides(op_type):
    x = np.array([np.nan], np.float32)
    zeroed = op_type in ("Shrink", "ThresholdedRelu")
    assert np.isnan(one(op_type, x))[0] != zeroed


@pytest.mark.parametrize("op_type", ["Celu", "Elu", "Selu", "Mish", "Swish", "Gelu"])
def test_results_near_zero_keep_their_precision(op_type):
    x = np.array([-1e-6, -1e-5, 1e-6, 1e-5, 1e-4])
    wanted = DEFINITIONS[op_type](x)
    result = one(op_type, x.astype(np.float32))
    np.testing.assert_allclose(result, wanted, rtol=1e-6)


@pytest.mark.parametrize(("op_type", "attributes"), CASES)
def test_long_inputs_are_computed_like_short_ones(op_type, attributes):
    x = numbers((3, BLOCK + 7))
    result = one(op_type, x, **attributes)
    rows = [one(op_type, row[:500], **attributes) for row in x]
    np.testing.assert_allclose(result[:, :500], np.stack(rows), rtol=1e-6)
    last = one(op_type, np.ascontiguousarray(x[:, -3:]), **attributes)
    np.testing.assert_allclose(result[:, -3:], last, rtol=1e-6)


@pytest.mark.parametrize("op_type", ["Relu", "Shrink"])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_integers_stay_integers(op_type, dtype):
    x = np.array([-3, 0, 4], dtype)
    result = one(op_type, x)
    np.testing.assert_array_equal(result, DEFINITIONS[op_type](x))
    assert result.dtype == dtype


@pytest.mark.parametrize(
    "op_type", ["Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid"]
)
def test_opset_1_ignores_consumed_inputs(op_type):
    x = numbers((2, 3))
    result = one(op_type, x, opset=1, consumed_inputs=[0])
    np.testing.assert_array_equal(result, one(op_type, x, opset=6))


def test_selu_of_opset_1_has_shorter_constants():
    x = np.array([-1, 1], np.float32)
    wanted = DEFINITIONS["Selu"](x.astype(float), 1.6732, 1.0507)
    assert_close(one("Selu", x, opset=1), wanted, np.float32, 1e-6)


def test_gelu_knows_two_ways_only():
    with pytest.raises(ExecutionError, match="none or tanh, found 'fast'"):
        one("Gelu", numbers(3), approximate="fast")


class TestPRelu:
    @pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (2, 3, 4)])
    def test_the_slope_is_broadcast_to_the_input(self, shape):
        x, slope = numbers((2, 3, 4)), numbers(shape, seed=1)
        assert_close(
            one("PRelu", x, slope), np.where(x < 0, slope * x, x), np.float32, 1e-6
        )

    def test_the_input_is_not_broadcast_to_the_slope(self):
        with pytest.raises(ExecutionError, match=r"slope of shape \[2, 3\]"):
            one("PRelu", numbers(3), numbers((2, 3)))

    @pytest.mark.parametrize("opset", [1, 6])
    def test_before_opset_7_slopes_belong_to_channels(self, opset):
        x, slope = numbers((2, 3, 3)), numbers(3, seed=1)
        wanted = np.where(x < 0, slope[:, None] * x, x)
        assert_close(one("PRelu", x, slope, opset=opset), wanted, np.float32, 1e-6)
        shared = one("PRelu", x, slope[:1], opset=opset)
        assert_close(shared, np.where(x < 0, slope[0] * x, x), np.float32, 1e-6)

    def test_integers_stay_integers(self):
        x, slope = np.array([-3, 3], np.int32), np.array([2, 2], np.int32)
        np.testing.assert_array_equal(one("PRelu", x, slope), [-6, 3])


class TestSwiGLU:
    def test_it_is_swish_of_the_gate_times_the_input(self):
        a, b = numbers((2, 3)), numbers((2, 3), seed=1)
        wanted = DEFINITIONS["Swish"](a.astype(float), 1.5) * b
        assert_close(one("SwiGLU", a, b, alpha=1.5), wanted, np.float32, 1e-6)

    def test_nothing_is_broadcast(self):
        with pytest.raises(ExecutionError, match="must have one shape"):
            one("SwiGLU", numbers((2, 3)), numbers(3))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def hardmax(x, axis):
    result = np.zeros_like(x)
    places = np.expand_dims(x.argmax(axis=axis), axis)
    np.put_along_axis(result, places, 1, axis)
    return result


ALONG_AXIS = {
    "Softmax": softmax,
    "LogSoftmax": lambda x, axis: np.log(softmax(x, axis)),
    "Hardmax": hardmax,
}


@pytest.mark.parametrize("op_type", ALONG_AXIS)
class TestSoftmaxFamily:
    @given(
        shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
        axis=st.integers(-4, 3),
        dtype=st.sampled_from(["float16", "float32", "float64", "bfloat16"]),
    )
    def test_one_axis_is_normalized(self, op_type, shape, axis, dtype):
        axis = axis % (2 * len(shape)) - len(shape)
        x = numbers(shape, dtype)
        wanted = ALONG_AXIS[op_type](x.astype(np.float64), axis)
        tolerance = {"float16": 2e-3, "bfloat16": 1e-2}.get(dtype, 1e-5)
        assert_close(one(op_type, x, axis=axis), wanted, x.dtype, tolerance)

    @given(
        shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
        axis=st.integers(-4, 3),
        opset=st.sampled_from([1, 11]),
    )
    def test_before_opset_13_all_axes_from_one_on_are(
        self, op_type, shape, axis, opset
    ):
        axis = axis % (2 * len(shape)) - len(shape)
        x = numbers(shape)
        rows = x.reshape(math.prod(shape[: axis % len(shape)]), -1)
        wanted = ALONG_AXIS[op_type](rows.astype(np.float64), 1).reshape(shape)
        result = one(op_type, x, opset=opset, axis=axis)
        assert_close(result, wanted, np.float32, 1e-5)

    @pytest.mark.parametrize("opset", [1, 11, 13])
    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
    def test_nothing_gives_nothing(self, op_type, opset, shape):
        result = one(op_type, np.empty(shape, np.float32), opset=opset)
        assert (result.dtype, result.shape) == (np.float32, shape)

    @pytest.mark.parametrize(("opset", "axis"), [(1, 2), (11, -3), (13, 2), (13, -3)])
    def test_an_axis_outside_the_rank_is_refused(self, op_type, opset, axis):
        with pytest.raises(ExecutionError, match=f"axis {axis} is out of range"):
            one(op_type, numbers((2, 3)), opset=opset, axis=axis)

    def test_onnxruntime_agrees(self, op_type):
        x = numbers((2, 3, 4))
        [wanted] = by_onnxruntime(op_type, [x], {"axis": 1}, 13)
        result = one(op_type, x, opset=13, axis=1)
        np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)


def test_large_scores_do_not_overflow():
    x = np.array([[1e4, 1e4, -1e4]], np.float32)
    np.testing.assert_allclose(one("Softmax", x), [[0.5, 0.5, 0]])
    np.testing.assert_allclose(one("LogSoftmax", x)[0, :2], -math.log(2), rtol=1e-3)


WITH_FORMULAS = [
    kernel
    for kernel in (*activation.table, *elementwise.table)
    if kernel.formula is not None
]


@pytest.mark.parametrize("kernel", WITH_FORMULAS, ids=lambda k: k.op_type)
class TestFormulas:
    def test_a_formula_says_what_its_kernel_computes(self, kernel):
        inputs = example_inputs(kernel.formula)
        m = math_of(np)
        with np.errstate(all="ignore"):
            by_formula = kernel.formula(m, *inputs)
        np.testing.assert_array_equal(by_formula, kernel.function(*inputs))

    def test_a_formula_has_its_kernels_attributes(self, kernel):
        def keywords(function):
            parameters = inspect.signature(function).parameters.values()
            return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

        assert keywords(kernel.formula) == keywords(kernel.function)

    def test_float32_is_computed_in_float32(self, kernel):
        inputs = example_inputs(kernel.formula)
        seen = []

        class Recording:
            def __getattr__(self, name):
                def call(*values):
                    result = getattr(math_of(np), name)(*values)
                    seen.append(np.asarray(result).dtype)
                    return result

                return call

        with np.errstate(all="ignore"):
            seen.append(kernel.formula(Recording(), *inputs).dtype)
        assert set(seen) == {np.dtype(np.float32)}


def example_inputs(formula):
    """A few numbers for each input of a formula, for optional ones a scalar."""
    _, *parameters = inspect.signature(formula).parameters.values()
    inputs = []
    for seed, entry in enumerate(parameters):
        if entry.name == "condition":
            inputs.append(np.array([True, False, True]))
        elif entry.kind is not entry.KEYWORD_ONLY:
            inputs.append(numbers(() if entry.default is None else 3, seed=seed))
    return inputs


def test_quick_gelu_is_swish_with_its_own_slope():
    x = numbers(50)
    wanted = DEFINITIONS["Swish"](x.astype(float), 1.702)
    result = formulas.quick_gelu(math_of(np), x)
    np.testing.assert_allclose(result, wanted, rtol=1e-5)


def test_bfloat16_is_rounded_once():
    x = numbers(1000, ml_dtypes.bfloat16)
    result = one("Sigmoid", x)
    wanted = sigmoid(x.astype(np.float64)).astype(ml_dtypes.bfloat16)
    assert (result == wanted).mean() > 0.99
