"""Features, categories, maps and training steps against NumPy and the reference."""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, by_reference

SEEDS = st.integers(0, 10_000)
SIDES = st.integers(0, 3)
SHAPES = st.lists(SIDES, max_size=3).map(tuple)
ML = "ai.onnx.ml"
TRAINING = "ai.onnx.preview.training"


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def floats(self, *shape):
        return np.asarray(self.random.standard_normal(shape), np.float32)


def same(got, want, rtol=1e-4, atol=1e-5):
    for ours, theirs in zip(got, want, strict=True):
        theirs = np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        if ours.dtype == object:
            assert ours.tolist() == theirs.tolist()
        else:
            np.testing.assert_allclose(ours, theirs, rtol, atol)


@given(SEEDS, SIDES, st.integers(1, 4), st.sampled_from(["MAX", "L1", "L2"]))
def test_features_are_scaled(seed, count, width, norm):
    numbers = Numbers(seed)
    x = numbers.floats(count, width)
    offset, scale = numbers.floats(width).tolist(), numbers.floats(width).tolist()
    (got,) = run_node("Scaler", [x], {"offset": offset, "scale": scale}, 1, ML)
    np.testing.assert_allclose(got, (x - np.float32(offset)) * np.float32(scale), 1e-5)
    (got,) = run_node("Binarizer", [x], {"threshold": 0.25}, 1, ML)
    same([got], [np.asarray(x > 0.25, np.float32)])
    (got,) = run_node("Normalizer", [x], {"norm": norm}, 1, ML)
    size = {
        "MAX": abs(x).max(axis=1, keepdims=True, initial=0),
        "L1": abs(x).sum(axis=1, keepdims=True),
        "L2": np.sqrt((x * x).sum(axis=1, keepdims=True)),
    }[norm]
    if norm == "MAX":  # the largest number, which onnxruntime takes with its sign
        want = by_onnxruntime("Normalizer", [x], {"norm": norm}, 1, ML)[0]
        np.testing.assert_allclose(got, want, 1e-5)
    else:
        np.testing.assert_allclose(got, x / np.where(size == 0, 1, size), 1e-4)


@given(SEEDS, SIDES, st.integers(1, 3))
def test_features_are_chosen_filled_and_joined(seed, count, width):
    numbers = Numbers(seed)
    x, y = numbers.floats(count, width), numbers.floats(count, 2)
    places = numbers.random.integers(0, width, 2)
    (got,) = run_node("ArrayFeatureExtractor", [x, places], {}, 1, ML)
    same([got], [x[:, places]])
    made = {"imputed_value_floats": [7.0], "replaced_value_float": float("nan")}
    holes = np.where(x > 0.5, np.float32(np.nan), x)
    (got,) = run_node("Imputer", [holes], made, 1, ML)
    same([got], [np.where(x > 0.5, np.float32(7), x)])
    made = {"inputdimensions": [width, 2]}
    (got,) = run_node("FeatureVectorizer", [x, y], made, 1, ML)
    same([got], [np.concatenate([x, y], axis=1)])


@given(SEEDS, SIDES)
def test_categories(seed, count):
    numbers = Numbers(seed)
    codes = numbers.random.integers(0, 4, count)
    names = np.array(["a", "b", "c", "?"], object)[codes]
    made = {"cats_int64s": [0, 1, 2], "cats_strings": ["a", "b", "c"]}
    made |= {"default_string": "?", "default_int64": 3}
    (got,) = run_node("CategoryMapper", [names], made, 1, ML)
    assert got.tolist() == codes.tolist()
    (got,) = run_node("CategoryMapper", [codes], made, 1, ML)
    assert got.tolist() == names.tolist()
    made = {"cats_int64s": [0, 1, 2], "zeros": 1}
    (got,) = run_node("OneHotEncoder", [codes], made, 1, ML)
    same([got], [np.eye(4, 3, dtype=np.float32)[codes]])


@given(st.dictionaries(st.integers(0, 6), st.floats(-9, 9, width=32), max_size=4))
def test_maps_become_rows_and_back(entries):
    keys = list(range(7))
    dense = [entries.get(key, 0.0) for key in keys]
    made = {"int64_vocabulary": keys}
    (got,) = run_node("DictVectorizer", [entries], made, 1, ML)
    assert got.ravel().tolist() == dense
    made = {"cast_to": "TO_FLOAT", "map_form": "SPARSE", "max_map": 7}
    (got,) = run_node("CastMap", [entries], made, 1, ML)
    assert got.ravel().tolist() == dense
    row = np.array([dense], np.float32)
    (got,) = run_node("ZipMap", [row], {"classlabels_int64s": keys}, 1, ML)
    assert got == [dict(zip(keys, dense, strict=True))]


STEPS = {
    "Adagrad": (1, {"decay_factor": 0.1, "epsilon": 1e-3, "norm_coefficient": 0.01}),
    "Adam": (2, {"alpha": 0.9, "beta": 0.99, "norm_coefficient": 0.01}),
    "Momentum": (1, {"alpha": 0.9, "beta": 0.5, "mode": "nesterov"}),
}


@pytest.mark.parametrize("op", STEPS)
@given(seed=SEEDS, shape=SHAPES, step=st.integers(0, 3))
def test_steps_of_training(op, seed, shape, step):
    states, made = STEPS[op]
    made = made | ({"norm_coefficient": 0.01} if op == "Momentum" else {})
    numbers = Numbers(seed)
    tensors = [numbers.floats(*shape) for _ in range(2)]
    tensors += [abs(numbers.floats(*shape)) for _ in range(states)]
    inputs = [np.array(0.1, np.float32), np.array(step), *tensors]
    want = by_reference(op, inputs, made, 1, TRAINING, 1 + states)
    got = run_node(op, inputs, made, 1, TRAINING, 1 + states)
    same(got, [np.asarray(x, np.float32) for x in want])  # Adam's are float64
