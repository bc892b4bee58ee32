"""Trees, machines and what prepares features give natively what NumPy's kernels give."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from beside_numpy import checked, opened, programs
from hypothesis import given
from hypothesis import strategies as st
from learned_models import CODES, ML, node_model

sys.path.append(str(Path(__file__).parent.parent))
from random_trees import MODES, Trees

SEEDS = st.integers(0, 10_000)
TYPES = [np.float32, np.float64, np.int64, np.int32]
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
COUNTS = [1, 2, 7, 13, 64, 300]
tensor = onnx.numpy_helper.from_array


def feeds(trees, dtype, counts):
    return [{"x": trees.rows(count, dtype)} for count in counts]


@given(
    SEEDS,
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
    st.sampled_from([MODES, ["LEQ"], ["GT"], ["EQ"], ["NEQ", "GTE"]]),
    st.sampled_from(TYPES),
    st.sampled_from(COUNTS),
)
def test_regressions(seed, targets, votes, aggregate, modes, dtype, count):
    trees = Trees(seed, targets=targets, votes=votes, modes=modes)
    attributes = {
        **trees.attributes("target"),
        "n_targets": targets,
        "aggregate_function": aggregate,
        "base_values": [0.5] * targets,
    }
    x = trees.rows(2, dtype)
    model = node_model("TreeEnsembleRegressor", x, attributes)
    checked(model, *feeds(trees, dtype, [1, count]))


@given(SEEDS, st.sampled_from(TRANSFORMS), st.integers(1, 5), st.booleans())
def test_classes(seed, transform, classes, texts):
    trees = Trees(seed, targets=classes)
    labels = (
        {"classlabels_strings": [f"class {n}" for n in range(classes)]}
        if texts
        else {"classlabels_int64s": list(range(10, 10 + classes))}
    )
    attributes = {**trees.attributes("class"), **labels, "post_transform": transform}
    x = trees.rows(2)
    model = node_model("TreeEnsembleClassifier", x, attributes, 2)
    checked(model, *feeds(trees, np.float32, [1, 40]), tolerance=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.7), (-0.2, 0.7), (0.5, 0.4)])
@pytest.mark.parametrize("labels", [[5], [5, 6]])
@pytest.mark.parametrize("voted", [0, 1])
def test_votes_for_one_of_two_classes(transform, low, high, labels, voted):
    if voted >= len(labels):
        pytest.skip("there is no such class")
    trees = Trees(0, features=1, targets=2)
    trees.trees = [(0, "LEQ", 0.0, False, {voted: low}, {voted: high})]
    attributes = {
        **trees.attributes("class"),
        "classlabels_int64s": labels,
        "post_transform": transform,
    }
    x = np.array([[-1], [1], [0]], np.float32)
    model = node_model("TreeEnsembleClassifier", x, attributes, 2)
    checked(model, {"x": x}, tolerance=1e-5)


@given(
    SEEDS, st.integers(1, 3), st.integers(0, 3), st.sampled_from([np.float32, float])
)
def test_flat_trees(seed, targets, aggregate, dtype):
    trees = Trees(seed, targets=targets, votes=1)
    attributes = {
        **trees.flat_attributes(dtype),
        "aggregate_function": aggregate,
        "post_transform": seed % 5,
    }
    x = trees.rows(2, dtype)
    model = node_model("TreeEnsemble", x, attributes, version=5)
    checked(model, *feeds(trees, dtype, [1, 30]), tolerance=1e-5)


def members(sets, missing):
    """Return trees of one member node each, behind each other in one tree."""
    count = len(sets)
    values = np.array([v for part in sets for v in (*part, np.nan)], np.float32)
    return {
        "nodes_featureids": [0] * count,
        "nodes_modes": tensor(np.full(count, 6, np.uint8)),
        "nodes_splits": tensor(np.zeros(count, np.float32)),
        "membership_values": tensor(values),
        "nodes_missing_value_tracks_true": missing,
        "nodes_truenodeids": list(range(count)),
        "nodes_trueleafs": [1] * count,
        "nodes_falsenodeids": [*range(1, count), count],
        "nodes_falseleafs": [0] * (count - 1) + [1],
        "leaf_targetids": [0] * (count + 1),
        "leaf_weights": tensor(np.arange(10, 11 + count, dtype=np.float32)),
        "tree_roots": [0],
        "n_targets": 1,
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_membership(dtype):
    sets = [[1, 3, 8, -2.5], [2], [0.1, 7, 5]]
    attributes = members(sets, [0, 0, 1])
    if dtype is np.float64:
        for name in ("nodes_splits", "membership_values", "leaf_weights"):
            array = onnx.numpy_helper.to_array(attributes[name])
            attributes[name] = tensor(array.astype(dtype))
    x = np.array([[v] for v in (1, 3, 2, 7, 4, np.nan, 0.1, -2.5, np.inf)], dtype)
    checked(node_model("TreeEnsemble", x, attributes, version=5), {"x": x})


SPLITS = [-np.inf, -1.0, -0.0, 0.0, 0.1, 1.0, np.inf, np.nan, 1e300, 1e-300]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("split_type", [np.float32, np.float64])
def test_splits_and_numbers_at_the_ends(mode, missing, dtype, split_type):
    trees = Trees(0, features=1, targets=1)
    with np.errstate(over="ignore"):
        splits = np.array(SPLITS, split_type)
        found = np.concatenate([splits, np.nextafter(splits, split_type(0))])
        x = found.astype(dtype)[:, None]
    trees.trees = [
        (0, mode, float(split), missing, {0: 2.0**n}, {0: 0.0})
        for n, split in enumerate(splits)
    ]
    attributes = {**trees.attributes("target"), "n_targets": 1}
    if split_type is np.float64:
        values = np.array(attributes.pop("nodes_values"))
        attributes["nodes_values_as_tensor"] = tensor(values)
        weights = np.array(attributes.pop("target_weights"))
        attributes["target_weights_as_tensor"] = tensor(weights)
    checked(node_model("TreeEnsembleRegressor", x, attributes), {"x": x})


def test_any_number_of_threads_and_rows_gives_the_same_bits():
    trees = Trees(11, targets=3, depth=7, features=6)
    attributes = {**trees.attributes("target"), "n_targets": 3}
    x = np.tile(trees.rows(997), (7, 1))
    model = node_model("TreeEnsembleRegressor", x, attributes)
    alone, shared = (opened(model, threads=n) for n in (1, 3))
    (want,) = alone.run(None, {"x": x})
    np.testing.assert_array_equal(shared.run(None, {"x": x})[0], want)
    np.testing.assert_array_equal(want[:997], want[-997:])
    for count in (1, 5, 100):
        part = alone.run(None, {"x": x[:count]})[0]
        np.testing.assert_array_equal(part, want[:count])


@pytest.mark.parametrize("target", ["avx2", "generic"])
def test_targets(target):
    trees = Trees(5, targets=3, depth=6)
    attributes = {
        **trees.attributes("class"),
        "classlabels_int64s": [3, 4, 5],
        "post_transform": "SOFTMAX",
    }
    x = trees.rows(2)
    model = node_model("TreeEnsembleClassifier", x, attributes, 2)
    checked(model, *feeds(trees, np.float32, [1, 100]), target=target, tolerance=1e-5)


def test_more_features_than_there_are_is_numpys_to_say():
    trees = Trees(1, features=5, depth=6, modes=["LEQ"])
    attributes = {**trees.attributes("target"), "n_targets": 2}
    x = trees.rows(2)[:, :1]
    model = node_model("TreeEnsembleRegressor", x, attributes)
    with pytest.raises(Exception, match="the trees ask for 5 features, found 1"):
        opened(model).run(None, {"x": x})


def test_a_forest_too_wide_for_compact_nodes():
    trees = Trees(3, features=6000, depth=4)
    trees.trees = [
        (i, "LEQ", 0.0, False, {0: float(i % 7)}, {1: 1.0}) for i in range(5000)
    ]
    attributes = {**trees.attributes("target"), "n_targets": 2}
    x = trees.rows(20)
    model = node_model("TreeEnsembleRegressor", x, attributes)
    checked(model, {"x": x}, {"x": x[:1]})


# linear models and machines


@given(
    SEEDS,
    st.integers(1, 9),
    st.integers(1, 20),
    st.sampled_from(TRANSFORMS),
    st.sampled_from(TYPES),
    st.sampled_from(COUNTS),
    st.booleans(),
)
def test_linear_models(seed, classes, features, transform, dtype, count, texts):
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, features)).astype(dtype)
    rows = 1 if classes == 2 and seed % 2 else classes
    weights = random.standard_normal((rows, features)).astype(np.float32)
    attributes = {
        "coefficients": weights.ravel().tolist(),
        "intercepts": random.standard_normal(rows).astype(np.float32).tolist(),
        "post_transform": transform,
    }
    labels = [f"c{i}" for i in range(classes)] if texts else list(range(classes))
    named = {f"classlabels_{'strings' if texts else 'ints'}": labels}
    model = node_model("LinearClassifier", x, {**attributes, **named}, 2, 1)
    checked(model, {"x": x}, tolerance=2e-5)
    model = node_model("LinearRegressor", x, {**attributes, "targets": rows}, 1, 1)
    checked(model, {"x": x}, tolerance=2e-5)


def machine(random, kind, features, counts, degree=3.0):
    vectors = random.standard_normal((sum(counts), features)).astype(np.float32)
    return {
        "kernel_type": kind,
        "kernel_params": [0.3, 0.2, degree],
        "support_vectors": vectors.ravel().tolist(),
    }


@given(
    SEEDS,
    st.sampled_from(["LINEAR", "POLY", "RBF", "SIGMOID"]),
    st.integers(2, 5),
    st.booleans(),
    st.sampled_from(TYPES),
    st.sampled_from([1, 3, 20, 100]),
)
def test_machines(seed, kind, classes, probable, dtype, count):
    random = np.random.default_rng(seed)
    features = int(random.integers(1, 7))
    counts = random.integers(1, 11, classes).tolist()
    pairs = classes * (classes - 1) // 2

    def drawn(size):
        return random.standard_normal(size).astype(np.float32).tolist()

    attributes = {
        **machine(random, kind, features, counts, 2.0 if seed % 3 else 2.5),
        "coefficients": drawn(sum(counts) * (classes - 1)),
        "rho": drawn(pairs),
        "vectors_per_class": counts,
        "classlabels_ints": list(range(classes)),
    }
    if probable:
        attributes |= {"prob_a": drawn(pairs), "prob_b": drawn(pairs)}
    x = random.standard_normal((count, features)).astype(dtype)
    model = node_model("SVMClassifier", x, attributes, 2, 1)
    checked(model, {"x": x}, tolerance=1e-5)


@pytest.mark.parametrize("kind", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("one_class", [0, 1])
def test_machines_that_regress(kind, one_class):
    random = np.random.default_rng(1)
    attributes = {
        **machine(random, kind, 4, [9]),
        "coefficients": random.standard_normal(9).astype(np.float32).tolist(),
        "rho": [0.25],
        "n_supports": 9,
        "one_class": one_class,
    }
    x = random.standard_normal((50, 4)).astype(np.float32)
    model = node_model("SVMRegressor", x, attributes, 1, 1)
    checked(model, {"x": x}, {"x": x[:1]}, tolerance=1e-5)


@pytest.mark.parametrize("labels", [2, 3])
def test_machines_without_vectors_are_linear(labels):
    random = np.random.default_rng(2)
    attributes = {
        "coefficients": random.standard_normal(labels * 4).astype(np.float32).tolist(),
        "rho": [0.5],
        "classlabels_strings": [f"c{i}" for i in range(labels)],
    }
    x = random.standard_normal((30, 4)).astype(np.float32)
    checked(node_model("SVMClassifier", x, attributes, 2, 1), {"x": x}, tolerance=1e-5)


# what prepares features


def table(dtype, rows=37, columns=5):
    x = np.random.default_rng(3).integers(-3, 4, (rows, columns)).astype(dtype)
    if x.dtype.kind == "f":
        x[2, 1], x[5, 0] = np.nan, np.inf
    return x


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 5])
def test_scaling(dtype, size):
    x = table(dtype)
    offset, scale = [0.1, 0.2, -3.0, 0.0, 5.0], [2.0, -1.0, 0.5, 1.0, 3.0]
    attributes = {"offset": offset[:size], "scale": scale[:size]}
    checked(node_model("Scaler", x, attributes, 1, 1), {"x": x}, {"x": x[:1]})


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_norms(dtype, norm):
    x = table(dtype)
    x[4] = 0
    checked(node_model("Normalizer", x, {"norm": norm}, 1, 1), {"x": x}, {"x": x[:1]})


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 5])
def test_imputing(dtype, size):
    x = table(dtype)
    floating = x.dtype.kind == "f"
    kind = "float" if floating else "int64"
    values = [1, 2, 3, 4, 5][:size]
    attributes = {
        f"imputed_value_{kind}s": [float(v) for v in values] if floating else values
    }
    for replaced in (np.nan, 2.0) if floating else (2,):
        more = {f"replaced_value_{kind}": replaced}
        checked(node_model("Imputer", x, attributes | more, 1, 1), {"x": x})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binarizing(dtype):
    x = table(dtype)
    checked(node_model("Binarizer", x, {"threshold": 0.5}, 1, 1), {"x": x})


@pytest.mark.parametrize("dtype", TYPES)
def test_encoding(dtype):
    x = table(dtype, 9, 2)
    model = node_model("OneHotEncoder", x, {"cats_int64s": [-3, 0, 2]}, 1, 1)
    checked(model, {"x": x})


@pytest.mark.parametrize("places", [[0], [4, 1, 1], [1, 3], [4, 3, 2]])
@pytest.mark.parametrize("dtype", TYPES)
def test_choosing(places, dtype):
    x = table(dtype)
    model = node_model("ArrayFeatureExtractor", x, {}, 1, 1, [np.array(places)])
    checked(model, {"x": x})


def test_choosing_what_is_not_there_is_numpys_to_say():
    x = table(np.float32)
    model = node_model("ArrayFeatureExtractor", x, {}, 1, 1, [np.array([5])])
    with pytest.raises(Exception, match="there is no feature 5"):
        opened(model).run(None, {"x": x})


@pytest.mark.parametrize("keys", ["int64s", "floats"])
@pytest.mark.parametrize("values", ["int64s", "floats", "strings"])
def test_mapping(keys, values):
    x = table(np.int64 if keys == "int64s" else np.float32)
    given_keys = [-3, 0, 2, 0, 1]
    found = {
        "int64s": [1, 2, 3, 4, 5],
        "floats": [0.5, 1, 2, 3, 4],
        "strings": list("abcde"),
    }
    attributes = {
        f"keys_{keys}": given_keys if keys == "int64s" else [*map(float, given_keys)],
        f"values_{values}": found[values],
        "default_string": "none",
    }
    checked(node_model("LabelEncoder", x, attributes, 1, 2), {"x": x})


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_tables_side_by_side(dtype):
    helper = onnx.helper
    node = helper.make_node(
        "FeatureVectorizer", ["a", "b"], ["y"], domain=ML, inputdimensions=[2, 3]
    )
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("a", CODES[np.dtype(dtype)], [None, 2]),
            helper.make_tensor_value_info("b", CODES[np.dtype(dtype)], [None, 3]),
        ],
        [onnx.ValueInfoProto(name="y")],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(ML, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    a, b = table(dtype, 12, 2), table(dtype, 12, 3)
    checked(model, {"a": a, "b": b})


def test_labels_that_are_texts_stay_numbers_until_they_leave():
    helper = onnx.helper
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=1),
        helper.make_node(
            "ArrayFeatureExtractor", ["names", "best"], ["found"], domain=ML
        ),
        helper.make_node("Reshape", ["found", "flat"], ["label"]),
    ]
    names = np.array(["ant", "bee", "cat"], object)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 3])],
        [onnx.ValueInfoProto(name="label")],
        [tensor(names, "names"), tensor(np.array([-1]), "flat")],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(ML, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    session = checked(model, {"x": x})
    (program,) = programs(session)
    assert len(program.stages[0].extent.nodes) == 3
    assert session.run(None, {"x": x})[0].tolist() == [
        names[i] for i in x.argmax(axis=1)
    ]


@pytest.mark.parametrize("count", [1, 20])
def test_maps_of_probabilities_follow_a_native_call(count):
    helper = onnx.helper
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node(
            "ZipMap",
            ["p"],
            ["maps"],
            domain=ML,
            classlabels_strings=["it's", 'a "b"', "c"],
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 3])],
        [onnx.ValueInfoProto(name="p"), onnx.ValueInfoProto(name="maps")],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(ML, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    session = opened(model)
    for seed in range(4):
        random = np.random.default_rng(seed)
        x = random.standard_normal((count, 3)).astype(np.float32)
        p, maps = session.run(None, {"x": x})
        assert [list(row) for row in maps] == [["it's", 'a "b"', "c"]] * count
        assert [list(row.values()) for row in maps] == p.tolist()
    prepared = session._runnable.plan().prepared
    assert prepared.run([x])[1] == maps
    maps[0]["c"] = 2.0
    assert session.run(None, {"x": x})[1][0]["c"] != 2.0
