"""Every attribute of ai.onnx.ml and of the training steps, at random."""

import numpy as np
import onnx
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from random_trees import MODES, Trees

ML = "ai.onnx.ml"
TRAINING = "ai.onnx.preview.training"
SEEDS = st.integers(0, 10_000)
COUNTS = st.integers(0, 5)
TRANSFORMS = st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
NUMBERS = st.floats(-9, 9, width=16)
WORDS = st.text("abжß ", max_size=2)


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def floats(self, *shape):
        return np.asarray(self.random.standard_normal(shape), np.float32)

    def list(self, *shape):
        return self.floats(*shape).ravel().tolist()


@given(SEEDS, COUNTS, NUMBERS)
def test_a_threshold_divides_zeros_from_ones(seed, count, threshold):
    x = Numbers(seed).floats(count, 2) * 5
    (got,) = run_node("Binarizer", [x], {"threshold": threshold}, 1, ML)
    np.testing.assert_array_equal(got, (x > np.float32(threshold)).astype(np.float32))


KINDS = {
    "int64": (st.integers(-5, 5), "ints", np.int64),
    "float": (NUMBERS, "floats", np.float32),
    "string": (WORDS, "strings", object),
}
KIND = st.sampled_from(sorted(KINDS))
DEFAULTS = {"int64": -1, "float": -0.0, "string": "_Unused"}


def listed(kind):
    return {"int64": "int64s", "float": "floats", "string": "strings"}[kind]


@given(KIND, KIND, st.booleans(), st.booleans(), st.data())
def test_labels_of_any_kind_are_encoded(source, target, tensors, default, data):
    """Keys and values are lists or tensors; without a default it is the standard's."""
    (keys, _, key_type), (values, _, value_type) = KINDS[source], KINDS[target]
    pairs = data.draw(st.dictionaries(keys, values, min_size=1, max_size=4))
    asked = data.draw(st.lists(keys | st.sampled_from(list(pairs)), max_size=6))
    made, missing = {}, DEFAULTS[target]
    if tensors:
        tensor = onnx.numpy_helper.from_array
        made["keys_tensor"] = tensor(np.array(list(pairs), key_type))
        made["values_tensor"] = tensor(np.array(list(pairs.values()), value_type))
    else:
        made[f"keys_{listed(source)}"] = list(pairs)
        made[f"values_{listed(target)}"] = list(pairs.values())
    if default:
        missing = data.draw(values)
        if tensors:
            held = np.array([missing], value_type)
            made["default_tensor"] = onnx.numpy_helper.from_array(held)
        else:
            made[f"default_{target}"] = missing
    x = np.array(asked, key_type)
    (got,) = run_node("LabelEncoder", [x], made, 4, ML)
    want = [pairs.get(key, missing) for key in asked]
    assert (got.dtype, got.shape) == (np.dtype(value_type), x.shape)
    assert got.tolist() == want


@given(st.dictionaries(st.integers(-5, 5), WORDS, min_size=1), st.data())
def test_categories_and_their_defaults(pairs, data):
    names = dict(zip(pairs.values(), pairs, strict=True))
    pairs = {number: name for name, number in names.items()}
    other, word = data.draw(st.integers(-9, 9)), data.draw(WORDS)
    made = {"cats_int64s": list(pairs), "cats_strings": list(pairs.values())}
    made |= {"default_int64": other, "default_string": word}
    asked = data.draw(st.lists(st.integers(-6, 6), max_size=5))
    (got,) = run_node("CategoryMapper", [np.array(asked, np.int64)], made, 1, ML)
    assert got.tolist() == [pairs.get(number, word) for number in asked]
    asked = data.draw(st.lists(WORDS, max_size=5))
    (got,) = run_node("CategoryMapper", [np.array(asked, object)], made, 1, ML)
    assert got.tolist() == [names.get(name, other) for name in asked]


@given(st.booleans(), st.sampled_from([0, 1]), st.data())
def test_categories_become_columns(words, zeros, data):
    """With ``zeros`` an unknown one is a row of zeros, without it an error."""
    kind = WORDS if words else st.integers(-5, 5)
    known = data.draw(st.lists(kind, min_size=1, max_size=4, unique=True))
    kinds = st.sampled_from(known) | kind if zeros else st.sampled_from(known)
    asked = data.draw(st.lists(kinds, max_size=5))
    made = {"cats_strings" if words else "cats_int64s": known, "zeros": zeros}
    x = np.array(asked, object if words else np.int64)
    (got,) = run_node("OneHotEncoder", [x], made, 1, ML)
    want = [[float(name == entry) for entry in known] for name in asked]
    assert got.shape == (len(asked), len(known))
    assert got.tolist() == want


@given(st.booleans(), st.data(), SEEDS)
def test_what_stands_for_nothing_is_filled(whole, data, seed):
    width = data.draw(st.integers(1, 3))
    count = data.draw(st.sampled_from([1, width]))
    x = Numbers(seed).random.integers(-2, 3, (4, width))
    hole = data.draw(st.integers(-2, 2))
    filled = data.draw(st.lists(st.integers(-9, 9), min_size=count, max_size=count))
    if whole:
        made = {"imputed_value_int64s": filled, "replaced_value_int64": hole}
    else:
        x = x.astype(np.float32)
        made = {"imputed_value_floats": list(map(float, filled))}
        made["replaced_value_float"] = float(hole)
    (got,) = run_node("Imputer", [x], made, 1, ML)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, np.where(x == hole, np.array(filled), x))


MAPS = st.dictionaries(st.integers(0, 6), NUMBERS, max_size=4)
CASTS = {"TO_FLOAT": np.float32, "TO_INT64": np.int64, "TO_STRING": object}


@given(MAPS, st.sampled_from(sorted(CASTS)), st.booleans(), st.integers(0, 3))
def test_maps_are_cast_densely_or_sparsely(entries, cast, sparse, more):
    width = max(entries, default=0) + 1 + more
    made = {"cast_to": cast, "map_form": "SPARSE" if sparse else "DENSE"}
    made |= {"max_map": width} if sparse else {}
    held = {key: float(int(value)) for key, value in entries.items()}
    (got,) = run_node("CastMap", [held], made, 1, ML)
    keys = range(width) if sparse else sorted(held)
    want = [held.get(key, 0.0) for key in keys]
    assert got.dtype == np.dtype(CASTS[cast])
    assert got.shape == (1, len(want))
    if cast != "TO_STRING":
        assert got.ravel().tolist() == want
    elif not sparse:
        assert [float(text) for text in got.ravel()] == want


@given(st.dictionaries(WORDS, NUMBERS, max_size=4), st.lists(WORDS, unique=True))
def test_words_of_a_map_become_columns(entries, vocabulary):
    if not vocabulary:
        return
    made = {"string_vocabulary": vocabulary}
    (got,) = run_node("DictVectorizer", [entries], made, 1, ML)
    assert got.ravel().tolist() == [entries.get(word, 0.0) for word in vocabulary]


@given(st.booleans(), st.integers(1, 4), COUNTS, SEEDS)
def test_rows_become_maps_by_number_or_word(words, width, count, seed):
    x = Numbers(seed).floats(count, width)
    labels = [f"c{n}" for n in range(width)] if words else list(range(5, 5 + width))
    made = {f"classlabels_{'strings' if words else 'int64s'}": labels}
    (got,) = run_node("ZipMap", [x], made, 1, ML)
    assert got == [dict(zip(labels, row, strict=True)) for row in x.tolist()]


@given(SEEDS, st.integers(2, 4), st.sampled_from([0, 1]), TRANSFORMS, COUNTS)
def test_linear_classes_whatever_multi_class_says(
    seed, classes, multi_class, transform, rows
):
    numbers = Numbers(seed)
    made = {
        "coefficients": numbers.list(classes, 3),
        "intercepts": numbers.list(classes),
        "classlabels_ints": list(range(classes)),
        "multi_class": multi_class,
        "post_transform": transform,
    }
    x = numbers.floats(rows + 1, 3)
    want = by_onnxruntime("LinearClassifier", [x], made, 1, ML, 2)
    got = run_node("LinearClassifier", [x], made, 1, ML, 2)
    assert got[0].tolist() == want[0].tolist()
    np.testing.assert_allclose(got[1], want[1], 1e-4, 1e-5)
    labels, scores = run_node("LinearClassifier", [x[:0]], made, 1, ML, 2)
    assert (labels.shape, scores.shape) == ((0,), (0, classes))


KERNELS = st.sampled_from(["LINEAR", "POLY", "RBF", "SIGMOID"])


@given(
    SEEDS,
    st.integers(1, 4),
    KERNELS,
    st.floats(0.125, 1, width=16),
    st.floats(-1, 1, width=16),
    st.sampled_from([1.0, 2.0, 3.0]),
    COUNTS,
)
def test_support_vectors_by_every_kernel(
    seed, vectors, kernel, gamma, coef0, degree, rows
):
    numbers = Numbers(seed)
    held, weights = numbers.floats(vectors, 3), numbers.floats(vectors)
    x, rho = numbers.floats(rows, 3), 0.25
    made = {
        "coefficients": weights.tolist(),
        "kernel_params": [gamma, coef0, degree],
        "kernel_type": kernel,
        "n_supports": vectors,
        "rho": [rho],
        "support_vectors": held.ravel().tolist(),
        "post_transform": "NONE",
    }
    (got,) = run_node("SVMRegressor", [x], made, 1, ML)
    dots = narrow(x) @ narrow(held).T
    apart = ((narrow(x)[:, None] - narrow(held)) ** 2).sum(-1)
    values = {
        "LINEAR": dots,
        "POLY": (gamma * dots + coef0) ** degree,
        "RBF": np.exp(-gamma * apart),
        "SIGMOID": np.tanh(gamma * dots + coef0),
    }[kernel]
    assert got.shape == (rows, 1)
    np.testing.assert_allclose(got[:, 0], values @ weights + rho, 1e-4, 1e-4)


@given(SEEDS, KERNELS, TRANSFORMS, st.booleans(), st.integers(1, 5))
def test_classes_by_support_vectors_and_transform(seed, kernel, transform, words, rows):
    numbers = Numbers(seed)
    labels = ["a", "b", "c"] if words else [3, 5, 9]
    made = {
        "coefficients": numbers.list(2, 6),
        "kernel_params": [0.5, 0.25, 2.0],
        "kernel_type": kernel,
        "rho": numbers.list(3),
        "support_vectors": numbers.list(6, 2),
        "vectors_per_class": [1, 2, 3],
        "post_transform": transform,
        f"classlabels_{'strings' if words else 'ints'}": labels,
    }
    x = numbers.floats(rows, 2)
    want = by_onnxruntime("SVMClassifier", [x], made, 1, ML, 2)
    got = run_node("SVMClassifier", [x], made, 1, ML, 2)
    assert got[0].tolist() == want[0].tolist()
    np.testing.assert_allclose(got[1], want[1], 1e-3, 1e-4)


def transformed(scores, name):
    if name == "LOGISTIC":
        return 1 / (1 + np.exp(-scores))
    if name == "SOFTMAX":
        powers = np.exp(scores - scores.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)
    return scores


@given(SEEDS, st.sampled_from(["NONE", "LOGISTIC", "SOFTMAX"]), st.integers(0, 6))
def test_trees_ask_for_members_and_transform(seed, transform, rows):
    """A node may ask whether its feature is one of a set, closed by NaN."""
    trees = Trees(seed, targets=2, votes=1, depth=3)
    made = trees.flat_attributes()
    made["post_transform"] = ["NONE", "SOFTMAX", "LOGISTIC"].index(transform)
    made["aggregate_function"] = 1
    made["nodes_hitrates"] = onnx.numpy_helper.from_array(
        np.ones(len(made["nodes_featureids"]), np.float32)
    )
    x = trees.rows(rows)
    (got,) = run_node("TreeEnsemble", [x], made, 5, ML)
    want = transformed(trees.scores(x), transform)
    np.testing.assert_allclose(got, want.reshape(rows, 2), 1e-4, 1e-5)
    modes = onnx.numpy_helper.to_array(made["nodes_modes"]).copy()
    splits = onnx.numpy_helper.to_array(made["nodes_splits"])
    equal = modes == MODES.index("EQ")
    modes[equal] = 6
    made["nodes_modes"] = onnx.numpy_helper.from_array(modes)
    sets = [[split, np.nan] for split in splits[equal]]
    if sets:
        held = np.array(sets, np.float32).ravel()
        made["membership_values"] = onnx.numpy_helper.from_array(held)
    (again,) = run_node("TreeEnsemble", [x], made, 5, ML)
    np.testing.assert_allclose(again, got, 1e-6)


COEFFICIENTS = st.sampled_from([0.0, 0.25, 0.5])


@given(SEEDS, st.integers(0, 4), st.lists(st.integers(0, 3), max_size=2), st.data())
def test_training_steps(seed, step, shape, data):
    """Adagrad, Adam and Momentum as their pseudo code reads, in float64."""
    numbers = Numbers(seed)
    x, g, v, h = (numbers.floats(*shape) for _ in range(4))
    h = abs(h)
    rate, norm, post, decay = 0.1, *(data.draw(COEFFICIENTS) for _ in range(3))
    count, epsilon = np.array(step), 0.125
    inputs = [np.array(rate, np.float32), count]
    made = {"norm_coefficient": norm, "decay_factor": decay, "epsilon": epsilon}
    got = run_node("Adagrad", [*inputs, x, g, h], made, 1, TRAINING, 2)
    regular = norm * narrow(x) + g
    total = h + regular**2
    moved = x - rate / (1 + step * decay) * regular / (np.sqrt(total) + epsilon)
    close(got, [moved, total])
    made = {"alpha": decay, "beta": 0.75, "epsilon": epsilon}
    made |= {"norm_coefficient": norm, "norm_coefficient_post": post}
    got = run_node("Adam", [*inputs, x, g, v, h], made, 1, TRAINING, 3)
    first = decay * narrow(v) + (1 - decay) * regular
    second = 0.75 * narrow(h) + 0.25 * regular**2
    if step:
        rate = rate * np.sqrt(1 - 0.75**step) / (1 - decay**step)
    moved = x - rate * first / (np.sqrt(second) + epsilon)
    close(got, [(1 - post) * moved, first, second])


@given(
    SEEDS,
    st.integers(0, 2),
    st.lists(st.integers(0, 3), max_size=2),
    COEFFICIENTS,
    COEFFICIENTS,
    st.sampled_from(["standard", "nesterov"]),
)
def test_steps_with_momentum(seed, step, shape, norm, alpha, mode):
    numbers = Numbers(seed)
    x, g, v = (numbers.floats(*shape) for _ in range(3))
    rate, beta = 0.1, 0.75
    made = {"alpha": alpha, "beta": beta, "mode": mode, "norm_coefficient": norm}
    inputs = [np.array(rate, np.float32), np.array(step), x, g, v]
    got = run_node("Momentum", inputs, made, 1, TRAINING, 2)
    regular = norm * narrow(x) + g
    speed = alpha * narrow(v) + (beta if step else 1) * regular
    direction = regular + alpha * speed if mode == "nesterov" else speed
    close(got, [x - rate * direction, speed])


def close(got, want):
    for ours, theirs in zip(got, want, strict=True):
        assert (ours.dtype, ours.shape) == (np.float32, np.shape(theirs))
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)
