"""Random operators: shapes, types, seeds, and distributions by large samples."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from runtime.errors import EngineError, ExecutionError
from runtime_ep_cpu.ops.random import set_seed

pytestmark = pytest.mark.filterwarnings("error")

FLOATS = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}
SIZE = 20_000


@pytest.fixture(autouse=True)
def _repeatable():
    set_seed(1)


def one(op_type, *inputs, opset=22, **attributes):
    [result] = run_node(op_type, list(inputs), attributes, opset)
    assert isinstance(result, np.ndarray)
    return result


@pytest.mark.parametrize("op_type", ["RandomNormal", "RandomUniform"])
class TestGenerators:
    @pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
    @pytest.mark.parametrize("code", FLOATS)
    @pytest.mark.parametrize("opset", [1, 22])
    def test_shape_and_type_are_attributes(self, op_type, shape, code, opset):
        if not shape:
            like = one(f"{op_type}Like", np.zeros((), np.int8), dtype=code, opset=opset)
            assert (like.dtype, like.shape) == (FLOATS[code], ())
            return
        x = one(op_type, shape=shape, dtype=code, opset=opset)
        assert (x.dtype, x.shape) == (FLOATS[code], shape)
        like = one(f"{op_type}Like", np.zeros(shape, FLOATS[code]), opset=opset)
        assert (like.dtype, like.shape) == (FLOATS[code], shape)

    def test_float32_is_the_default(self, op_type):
        assert one(op_type, shape=[2]).dtype == np.float32

    def test_a_seed_repeats_itself(self, op_type):
        first = one(op_type, shape=[5], seed=3.0)
        assert (first == one(op_type, shape=[5], seed=3.0)).all()
        assert (first != one(op_type, shape=[5], seed=3.5)).any()
        like = one(f"{op_type}Like", np.zeros(5, np.float32), seed=3.0)
        assert (first == like).all()

    def test_without_a_seed_numbers_differ_until_set_seed(self, op_type):
        first, second = one(op_type, shape=[5]), one(op_type, shape=[5])
        assert (first != second).any()
        set_seed(1)
        assert (first == one(op_type, shape=[5])).all()

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [({"shape": [-1]}, "shape"), ({"shape": [2], "dtype": 99}, "no element type")],
    )
    def test_impossible_results_are_refused(self, op_type, attributes, message):
        with pytest.raises(ExecutionError, match=message):
            one(op_type, **attributes)

    def test_results_larger_than_memory_are_refused_before_they_are_made(self, op_type):
        with pytest.raises(EngineError, match="bytes"):
            one(op_type, shape=[1 << 40])


def test_normal_numbers_have_mean_and_scale():
    x = one("RandomNormal", shape=[SIZE], mean=5.0, scale=2.0)
    assert abs(x.mean() - 5) < 0.1
    assert abs(x.std() - 2) < 0.1


def test_uniform_numbers_fill_their_range():
    x = one("RandomUniform", shape=[SIZE], low=-1.0, high=3.0)
    assert -1 <= x.min() < -0.9
    assert 2.9 < x.max() <= 3
    assert abs(x.mean() - 1) < 0.1


class TestBernoulli:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_ones_are_as_frequent_as_asked_for(self, dtype):
        x = np.repeat([0, 0.25, 1], SIZE).astype(dtype)
        result = one("Bernoulli", x)
        assert result.dtype == dtype
        rates = result.reshape(3, SIZE).astype(float).mean(axis=1)
        assert rates[0] == 0
        assert abs(rates[1] - 0.25) < 0.02
        assert rates[2] == 1

    @pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16])
    def test_the_type_may_be_another(self, dtype):
        from runtime.valuetypes import element_code

        x = np.full((2, 3), 0.5, np.float32)
        result = one("Bernoulli", x, opset=15, dtype=element_code(dtype))
        assert (result.dtype, result.shape) == (np.dtype(dtype), x.shape)

    def test_a_seed_repeats_itself(self):
        x = np.full(100, 0.5, np.float32)
        assert (one("Bernoulli", x, seed=2.0) == one("Bernoulli", x, seed=2.0)).all()

    @pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
    def test_what_is_no_probability_is_refused(self, value):
        with pytest.raises(ExecutionError, match="outside of 0 … 1"):
            one("Bernoulli", np.array([value], np.float32))


class TestMultinomial:
    def test_classes_are_drawn_by_their_log_probabilities(self):
        shares = np.array([[1, 2, 0, 5], [0, 0, 1, 0]])
        with np.errstate(divide="ignore"):
            x = np.log(shares).astype(np.float32) + 7
        result = one("Multinomial", x, sample_size=SIZE)
        assert (result.dtype, result.shape) == (np.int32, (2, SIZE))
        for row, share in zip(result, shares, strict=True):
            found = np.bincount(row, minlength=4) / SIZE
            np.testing.assert_allclose(found, share / share.sum(), atol=0.02)
            assert not found[share == 0].any()

    @pytest.mark.parametrize("opset", [7, 22])
    def test_the_type_is_an_attribute(self, opset):
        x = np.zeros((3, 2), np.float16)
        result = one("Multinomial", x, opset=opset, dtype=TensorProto.INT64)
        assert (result.dtype, result.shape) == (np.int64, (3, 1))

    def test_a_seed_repeats_itself(self):
        x = np.zeros((1, 50), np.float32)
        draws = [one("Multinomial", x, sample_size=9, seed=4.0) for _ in range(2)]
        assert (draws[0] == draws[1]).all()

    @pytest.mark.parametrize("shape", [(3,), (2, 0)])
    def test_the_input_is_batch_by_classes(self, shape):
        with pytest.raises(ExecutionError, match="batch, classes"):
            one("Multinomial", np.zeros(shape, np.float32))

    def test_a_row_without_classes_is_refused(self):
        with pytest.raises(ExecutionError, match="no class"):
            one("Multinomial", np.full((1, 2), -np.inf, np.float32))


class TestDropout:
    X = np.arange(1, 1 + SIZE, dtype=np.float32)

    @pytest.mark.parametrize("opset", [7, 10, 12, 13, 22])
    def test_inference_copies(self, opset):
        x, mask = run_node("Dropout", [self.X], {}, opset, outputs=2)
        np.testing.assert_array_equal(x, self.X)
        assert mask.all()
        assert mask.dtype == (np.float32 if opset == 7 else bool)

    @pytest.mark.parametrize("opset", [1, 6])
    def test_opset_1_trains_unless_told_otherwise(self, opset):
        kept = one("Dropout", self.X, opset=opset, is_test=1)
        np.testing.assert_array_equal(kept, self.X)
        x, mask = run_node("Dropout", [self.X], {"ratio": 0.25}, opset, outputs=2)
        assert mask.dtype == np.float32
        assert abs(mask.mean() - 0.75) < 0.02
        np.testing.assert_allclose(x, self.X * mask / 0.75, rtol=1e-6)

    @pytest.mark.parametrize("ratio_type", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
    def test_training_zeroes_a_ratio_and_scales_the_rest(self, ratio_type, dtype):
        data = np.ones(SIZE, dtype)
        inputs = [data, np.array(0.75, ratio_type), np.array(True)]
        x, mask = run_node("Dropout", inputs, {}, 22, outputs=2)
        assert (x.dtype, mask.dtype) == (data.dtype, bool)
        assert abs(mask.mean() - 0.25) < 0.02
        np.testing.assert_array_equal(x.astype(float), np.where(mask, 4, 0))

    def test_half_is_the_default_ratio(self):
        [x] = run_node("Dropout", [self.X, None, np.array(True)], {}, 13)
        assert abs((x != 0).mean() - 0.5) < 0.02

    def test_a_seed_repeats_itself(self):
        inputs = [self.X, None, np.array(True)]
        first = run_node("Dropout", inputs, {"seed": 5}, 13)
        np.testing.assert_array_equal(
            first, run_node("Dropout", inputs, {"seed": 5}, 13)
        )
        run_node("Dropout", inputs, {"seed": -(2**40)}, 13)

    @pytest.mark.parametrize("ratio", [-0.5, 1, 2])
    def test_the_ratio_is_below_one(self, ratio):
        inputs = [self.X, np.array(ratio, np.float32), np.array(True)]
        with pytest.raises(ExecutionError, match="below 1"):
            run_node("Dropout", inputs, {}, 13)


SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
NODE_SEEDS = st.one_of(st.floats(-1e9, 1e9, width=32), st.integers(0, 9).map(float))
CODES = st.sampled_from(sorted(FLOATS))


def repeated(op_type, *inputs, **attributes):
    """Draw twice, check that both are the same, and return one."""
    first, second = (one(op_type, *inputs, **attributes) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    return first


@pytest.mark.parametrize(
    ("op_type", "names"),
    [("RandomNormal", ("mean", "scale")), ("RandomUniform", ("low", "high"))],
)
@given(
    shape=SHAPES,
    code=CODES,
    seed=NODE_SEEDS,
    low=st.floats(-10, 10, width=32),
    size=st.floats(0, 10, width=32),
)
def test_numbers_of_any_shape(op_type, names, shape, code, seed, low, size):
    high = low + size if op_type == "RandomUniform" else size
    given_ = {"seed": seed, "dtype": code, **dict(zip(names, (low, high), strict=True))}
    if shape:
        x = repeated(op_type, shape=shape, **given_)
        assert (x.dtype, x.shape) == (FLOATS[code], shape)
    like = repeated(f"{op_type}Like", np.zeros(shape, np.int8), **given_)
    assert (like.dtype, like.shape) == (FLOATS[code], shape)
    if shape:
        assert like.tobytes() == x.tobytes()
    if op_type == "RandomUniform":
        bounds = np.array([low, high]).astype(FLOATS[code]).astype(float)
        assert ((bounds[0] <= like) & (like.astype(float) <= bounds[1])).all()


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "RandomUniformLike"])
@given(shape=SHAPES, dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_numbers_like_an_input_have_its_type(op_type, shape, dtype):
    x = one(op_type, np.ones(shape, dtype))
    assert (x.dtype, x.shape) == (dtype, shape)


@given(SHAPES, st.sampled_from([np.float16, np.float32, np.float64]), NODE_SEEDS)
def test_certain_outcomes_of_any_shape(shape, dtype, seed):
    x = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    ones = repeated("Bernoulli", x, seed=seed)
    assert (ones.dtype, ones.shape) == (dtype, shape)
    assert (ones == x).all()


@given(
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(0, 6),
    NODE_SEEDS,
    st.sampled_from([TensorProto.INT32, TensorProto.INT64]),
)
def test_classes_that_cannot_be_are_not_drawn(batch, classes, size, seed, code):
    random = np.random.default_rng(size)
    possible = random.integers(0, 2, (batch, classes))
    possible[:, random.integers(classes)] = 1
    x = np.where(possible, random.standard_normal((batch, classes)), -np.inf)
    drawn = repeated(
        "Multinomial", x.astype(np.float32), sample_size=size, seed=seed, dtype=code
    )
    assert drawn.shape == (batch, size)
    assert drawn.dtype == (np.int32 if code == TensorProto.INT32 else np.int64)
    assert np.take_along_axis(possible, drawn.astype(int), 1).all()
