"""Every attribute of elementwise, casting, reducing and reshaping operators, at random.

Wanted values are computed in float64 by the standard's formulas.
"""

import math

import ml_dtypes
import numpy as np
import onnx
import pytest
from evaluate import narrow, run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from peers import by_reference

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 10_000)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
FLAGS = st.sampled_from([0, 1])
SLOPES = st.floats(0.125, 3, width=32)
SHIFTS = st.floats(-2, 2, width=32)


def floats(seed, shape, size=3.0, dtype=np.float32):
    random = np.random.default_rng(seed)
    return np.asarray(random.standard_normal(shape) * size, dtype)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ERF = np.vectorize(math.erf, otypes=[np.float64])
FORMULAS = {
    "Elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(x), x),
    "Celu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(x / alpha), x),
    "LeakyRelu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "ThresholdedRelu": lambda x, alpha: np.where(x > alpha, x, 0),
    "Swish": lambda x, alpha: x * sigmoid(alpha * x),
}
TWO = {
    "HardSigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "Selu": lambda x, alpha, gamma: gamma * np.where(x > 0, x, alpha * np.expm1(x)),
    "Shrink": lambda x, bias, lambd: np.where(
        x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)
    ),
}
GELU = {
    "none": lambda x: x * (1 + ERF(x / np.sqrt(2))) / 2,
    "tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
}


@pytest.mark.parametrize("op_type", FORMULAS)
@given(seed=SEEDS, shape=SHAPES, alpha=SLOPES)
def test_activations_of_one_number(op_type, seed, shape, alpha):
    x = floats(seed, shape)
    (got,) = run_node(op_type, [x], {"alpha": alpha})
    assert (got.dtype, got.shape) == (x.dtype, x.shape)
    want = FORMULAS[op_type](narrow(x), alpha)
    np.testing.assert_allclose(got, want, 1e-5, 1e-6)


@pytest.mark.parametrize("op_type", TWO)
@given(seed=SEEDS, shape=SHAPES, first=SLOPES, second=SLOPES)
def test_activations_of_two_numbers(op_type, seed, shape, first, second):
    names = TWO[op_type].__code__.co_varnames[1:3]
    x = floats(seed, shape)
    (got,) = run_node(op_type, [x], dict(zip(names, (first, second), strict=True)))
    assert (got.dtype, got.shape) == (x.dtype, x.shape)
    want = TWO[op_type](narrow(x), first, second)
    np.testing.assert_allclose(got, want, 1e-5, 1e-6)


@given(SEEDS, SHAPES, st.sampled_from(sorted(GELU)))
def test_both_ways_of_gelu(seed, shape, approximate):
    x = floats(seed, shape)
    (got,) = run_node("Gelu", [x], {"approximate": approximate})
    assert (got.dtype, got.shape) == (x.dtype, x.shape)
    np.testing.assert_allclose(got, GELU[approximate](narrow(x)), 1e-5, 1e-6)


REDUCTIONS = {
    "ReduceL1": lambda x, **k: abs(x).sum(**k),
    "ReduceL2": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "ReduceLogSum": lambda x, **k: np.log(x.sum(**k)),
    "ReduceLogSumExp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "ReduceMax": lambda x, **k: x.max(**k),
    "ReduceMean": lambda x, **k: x.mean(**k),
    "ReduceMin": lambda x, **k: x.min(**k),
    "ReduceProd": lambda x, **k: x.prod(**k),
    "ReduceSum": lambda x, **k: x.sum(**k),
    "ReduceSumSquare": lambda x, **k: (x * x).sum(**k),
}


@pytest.mark.parametrize("op_type", REDUCTIONS)
@given(
    seed=SEEDS,
    shape=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    data=st.data(),
    keepdims=FLAGS,
    noop=FLAGS,
)
def test_reductions_with_and_without_axes(op_type, seed, shape, data, keepdims, noop):
    """``noop_with_empty_axes`` counts for no axes as for an empty list of them."""
    x = abs(floats(seed, shape, 1)) + np.float32(0.25)
    rank = len(shape)
    chosen = data.draw(st.sets(st.integers(0, max(rank - 1, 0)), max_size=rank))
    signs = [data.draw(st.booleans()) for _ in chosen]
    axes = [a - rank if s else a for a, s in zip(chosen, signs, strict=True)]
    given_ = np.array(axes, np.int64) if axes or data.draw(st.booleans()) else None
    made = {"keepdims": keepdims, "noop_with_empty_axes": noop}
    (got,) = run_node(op_type, [x, given_], made, 18)
    axis = tuple(chosen) if chosen else () if noop else None
    want = REDUCTIONS[op_type](narrow(x), axis=axis, keepdims=bool(keepdims))
    assert (got.dtype, got.shape) == (x.dtype, np.shape(want))
    np.testing.assert_allclose(got, want, 1e-4, 1e-5)


FLOAT8 = {
    TensorProto.FLOAT8E4M3FN: (ml_dtypes.float8_e4m3fn, 448.0),
    TensorProto.FLOAT8E5M2: (ml_dtypes.float8_e5m2, 57344.0),
    TensorProto.FLOAT8E4M3FNUZ: (ml_dtypes.float8_e4m3fnuz, 240.0),
    TensorProto.FLOAT8E5M2FNUZ: (ml_dtypes.float8_e5m2fnuz, 57344.0),
}


def to_float8(x, code, saturate):
    """Round to the type; beyond its largest number saturate, or be none (or infinite)."""
    dtype, largest = FLOAT8[code]
    kept = np.clip(x, -largest, largest) if saturate else x
    with np.errstate(all="ignore"):
        return kept.astype(dtype)


@pytest.mark.parametrize("op_type", ["Cast", "CastLike"])
@given(
    seed=SEEDS,
    shape=SHAPES,
    code=st.sampled_from(sorted(FLOAT8)),
    saturate=FLAGS,
    size=st.sampled_from([1.0, 100.0, 1e5]),
)
def test_casts_to_8_bits_saturate_when_told(op_type, seed, shape, code, saturate, size):
    x = floats(seed, shape, size)
    like = [np.zeros(1, FLOAT8[code][0])] if op_type == "CastLike" else []
    made = {"saturate": saturate} | ({} if like else {"to": code})
    (got,) = run_node(op_type, [x, *like], made)
    want = to_float8(x, code, saturate)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(narrow(got), narrow(want))


@pytest.mark.parametrize("op_type", ["Cast", "CastLike"])
@given(seed=SEEDS, shape=SHAPES, mode=st.sampled_from(["up", "down", "nearest"]))
def test_casts_to_powers_of_two_are_rounded_as_told(op_type, seed, shape, mode):
    x = abs(floats(seed, shape)) + np.float32(1e-3)
    like = [np.zeros(1, ml_dtypes.float8_e8m0fnu)] if op_type == "CastLike" else []
    made = {"round_mode": mode} | ({} if like else {"to": TensorProto.FLOAT8E8M0})
    (got,) = run_node(op_type, [x, *like], made)
    exponent = np.floor(np.log2(narrow(x)))
    above = {
        "up": x > 2**exponent,
        "down": np.zeros(shape, bool),
        "nearest": x >= 1.5 * 2**exponent,
    }[mode]
    assert got.shape == shape
    np.testing.assert_array_equal(narrow(got), 2.0 ** (exponent + above))


@given(SEEDS, SHAPES, st.sampled_from(sorted(FLOAT8)), FLAGS, st.booleans())
def test_quantization_names_its_type_and_may_saturate(
    seed, shape, code, saturate, wide
):
    """``precision`` says in which type x is divided by its scale."""
    x, scale = floats(seed, shape, 300), np.float32(0.5)
    made = {"output_dtype": code, "saturate": saturate}
    if wide:
        made["precision"] = TensorProto.DOUBLE
    (got,) = run_node("QuantizeLinear", [x, np.array(scale)], made)
    want = to_float8(x / scale, code, saturate)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(narrow(got), narrow(want))
    made = {"output_dtype": TensorProto.FLOAT16}
    (back,) = run_node("DequantizeLinear", [got, np.array(scale)], made)
    assert back.dtype == np.float16
    with np.errstate(all="ignore"):
        wanted = (narrow(got) * scale).astype(np.float16)
    np.testing.assert_array_equal(back, wanted)


def made_by(node):
    graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")])
    imports = [helper.make_opsetid("", onnx.defs.onnx_opset_version())]
    return run_model(helper.make_model(graph, opset_imports=imports), [])


CONSTANTS = {
    "value_int": (st.integers(-(2**63), 2**63 - 1), np.int64),
    "value_ints": (st.lists(st.integers(-(2**63), 2**63 - 1)), np.int64),
    "value_float": (st.floats(width=32, allow_nan=False), np.float32),
    "value_floats": (st.lists(st.floats(width=32, allow_nan=False)), np.float32),
    "value_string": (st.text(max_size=3), object),
    "value_strings": (st.lists(st.text(max_size=3)), object),
}


@pytest.mark.parametrize("name", CONSTANTS)
@given(data=st.data())
def test_constants_of_every_kind(name, data):
    strategy, dtype = CONSTANTS[name]
    value = data.draw(strategy)
    kind = getattr(onnx.AttributeProto, name.removeprefix("value_").upper())
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    (got,) = made_by(node)
    want = np.array(value, dtype)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert got.tolist() == want.tolist()


@given(st.sets(st.integers(0, 11), max_size=6), SEEDS)
def test_sparse_constants_are_zero_elsewhere(places, seed):
    chosen = sorted(places)
    values = floats(seed, len(chosen))
    sparse = helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(values, "values"),
        onnx.numpy_helper.from_array(np.array(chosen, np.int64), "places"),
        [3, 4],
    )
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.append(helper.make_attribute("sparse_value", sparse))
    (got,) = made_by(node)
    want = np.zeros(12, np.float32)
    want[chosen] = values
    np.testing.assert_array_equal(got, want.reshape(3, 4))


@given(SEEDS, FLAGS, st.data())
def test_a_zero_in_a_shape_copies_unless_it_is_allowed(seed, allowzero, data):
    sides = st.integers(1 - allowzero, 3)
    shape = data.draw(st.lists(sides, min_size=1, max_size=4))
    wanted = list(data.draw(st.permutations(shape)))
    asked = list(wanted)
    if not allowzero:
        same = [n == m for n, m in zip(wanted, shape, strict=True)]
        asked = [
            0 if kept and data.draw(st.booleans()) else n
            for n, kept in zip(wanted, same, strict=True)
        ]
    x = floats(seed, shape)
    inputs = [x, np.array(asked, np.int64)]
    (got,) = run_node("Reshape", inputs, {"allowzero": allowzero})
    np.testing.assert_array_equal(got, x.reshape(wanted))


@given(st.integers(1, 9), st.integers(1, 5), SEEDS, st.sampled_from([0, 1, -1, -2]))
def test_a_number_of_outputs_splits_evenly_but_for_the_last(length, count, seed, axis):
    shape = (length, 2) if axis in (0, -2) else (2, length)
    x = floats(seed, shape)
    each = -(-length // count)
    ends = [min(each * n, length) for n in range(count + 1)]
    got = run_node("Split", [x], {"axis": axis, "num_outputs": count}, outputs=count)
    for part, first, last in zip(got, ends, ends[1:], strict=False):
        index = [slice(None)] * 2
        index[axis] = slice(first, last)
        np.testing.assert_array_equal(part, x[tuple(index)])


@given(
    st.floats(-9, 9, width=16),
    st.floats(-9, 9, width=16),
    st.floats(0.25, 3, width=16),
    st.booleans(),
    st.sampled_from([np.float16, ml_dtypes.bfloat16]),
)
def test_ranges_of_narrow_floats_are_counted_wide(start, limit, step, down, dtype):
    delta = -step if down else step
    given_ = [np.array(n).astype(dtype) for n in (start, limit, delta)]
    (got,) = run_node("Range", given_, {"stash_type": TensorProto.FLOAT}, 27)
    first, last, each = map(float, given_)
    count = max(math.ceil((last - first) / each), 0)
    want = np.float32(first) + np.arange(count, dtype=np.float32) * np.float32(each)
    assert got.dtype == dtype
    assert got.shape == (count,)
    np.testing.assert_allclose(narrow(got), narrow(want.astype(dtype)), 2e-2, 1e-3)


@given(st.integers(2, 9), FLAGS, FLAGS, SEEDS, st.sampled_from([1, -2]))
def test_both_kinds_of_transforms_and_their_inverses(
    length, onesided, inverse, seed, axis
):
    x = floats(seed, (2, length, 1), 1)
    made = {"onesided": onesided, "inverse": 0}
    (got,) = run_node("DFT", [x, None, np.array(axis)], made)
    signal = narrow(x)[..., 0]
    want = np.fft.rfft(signal, axis=1) if onesided else np.fft.fft(signal, axis=1)
    np.testing.assert_allclose(got[..., 0] + 1j * got[..., 1], want, 1e-3, 1e-4)
    if inverse:
        made = {"onesided": onesided, "inverse": 1}
        size = np.array(length)
        (back,) = run_node("DFT", [got, size, np.array(axis)], made)
        np.testing.assert_allclose(back[..., 0], signal, 1e-3, 1e-4)


@given(st.integers(1, 12), FLAGS, st.sampled_from([1, 11, 10]))
def test_filters_by_mel_have_the_type_they_are_told(bands, seed, code):
    given_ = [np.array(n) for n in (bands, 16, 8000)]
    given_ += [np.array(n, np.float32) for n in (100.0 * seed, 3500.0)]
    made = {"output_datatype": code}
    (got,) = run_node("MelWeightMatrix", given_, made)
    (want,) = by_reference("MelWeightMatrix", given_, made)
    assert got.dtype == helper.tensor_dtype_to_np_dtype(code)
    np.testing.assert_allclose(got, want, 1e-3, 1e-5)
