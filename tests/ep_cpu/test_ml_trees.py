"""Tree ensembles against a walk in plain Python, scikit-learn and onnxruntime."""

import warnings

import numpy as np
import onnx
import pytest
from evaluate import run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, run_onnxruntime
from random_trees import MODES, Trees
from runtime.errors import EngineError
from runtime.model import from_proto
from runtime_ep_cpu.ops import _ensembles, table

ML = "ai.onnx.ml"
SEEDS = st.integers(0, 10_000)


def regress(trees, x, version=3, **attributes):
    attributes = {
        **trees.attributes("target"),
        "n_targets": trees.targets,
        **attributes,
    }
    return run_node("TreeEnsembleRegressor", [x], attributes, version, ML)[0]


def classify(trees, x, version=3, **attributes):
    labels = {"classlabels_int64s": list(range(10, 10 + trees.targets))}
    attributes = {**trees.attributes("class"), **labels, **attributes}
    return run_node("TreeEnsembleClassifier", [x], attributes, version, ML, 2)


@given(
    SEEDS,
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
    st.sampled_from([MODES, ["LEQ"], ["GT"], ["EQ"]]),
    st.sampled_from([np.float32, np.float64, np.int64, np.int32]),
    st.integers(0, 40),
)
def test_regression_is_the_plain_walk(
    seed, targets, votes, aggregate, modes, dtype, count
):
    trees = Trees(seed, targets=targets, votes=votes, modes=modes)
    x = trees.rows(count, dtype)
    got = regress(trees, x, aggregate_function=aggregate)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, trees.scores(x, aggregate), rtol=1e-5, atol=1e-6)
    first = regress(trees, x, version=1, aggregate_function=aggregate)
    np.testing.assert_array_equal(first, got)


@given(SEEDS, st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]), st.integers(1, 4))
def test_regression_agrees_with_onnxruntime(seed, aggregate, targets):
    trees = Trees(seed, targets=targets)
    x = trees.rows(30)
    attributes = {
        **trees.attributes("target"),
        "n_targets": targets,
        "aggregate_function": aggregate,
        "base_values": [0.25 * n for n in range(targets)],
        "post_transform": "NONE" if targets == 1 else "SOFTMAX",
    }
    want = by_onnxruntime("TreeEnsembleRegressor", [x], attributes, 3, ML)[0]
    got = run_node("TreeEnsembleRegressor", [x], attributes, 3, ML)[0]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@given(SEEDS, st.integers(3, 5), st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC"]))
def test_classification_agrees_with_onnxruntime(seed, classes, transform):
    trees = Trees(seed, targets=classes)
    x = trees.rows(30)
    attributes = {
        **trees.attributes("class"),
        "classlabels_strings": [f"class {n}" for n in range(classes)],
        "post_transform": transform,
    }
    want = by_onnxruntime("TreeEnsembleClassifier", [x], attributes, 3, ML, 2)
    labels, scores = run_node("TreeEnsembleClassifier", [x], attributes, 3, ML, 2)
    assert labels.dtype == object
    assert labels.tolist() == want[0].tolist()
    np.testing.assert_allclose(scores, want[1], rtol=1e-4, atol=1e-6)


def stump(low, high):
    trees = Trees(0, features=1, targets=2)
    trees.trees = [(0, "LEQ", 0.0, False, {0: low}, {0: high})]
    return trees, np.array([[-1], [1]], np.float32)


@pytest.mark.parametrize("base", [None, [0.1]])
@pytest.mark.parametrize(
    ("low", "high", "transform"),
    [(0.2, 0.7, "NONE"), (-0.2, 0.7, "NONE"), (-0.2, 0.7, "LOGISTIC")],
)
def test_votes_for_one_of_two_classes_score_the_second(low, high, transform, base):
    trees, x = stump(low, high)
    attributes = {
        **trees.attributes("class"),
        "classlabels_int64s": [5, 6],
        "post_transform": transform,
    }
    if base:
        attributes["base_values"] = base
    want = by_onnxruntime("TreeEnsembleClassifier", [x], attributes, 3, ML, 2)
    got = run_node("TreeEnsembleClassifier", [x], attributes, 3, ML, 2)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5)


def test_the_label_is_the_class_of_the_best_score():
    trees, x = stump(0.0, 0.0)
    trees.trees = [(0, "LEQ", 0.0, False, {0: 0.6, 1: 0.4}, {0: 0.3, 1: 0.7})]
    labels, scores = classify(trees, x)
    assert labels.tolist() == [10, 11]
    np.testing.assert_allclose(scores, [[0.6, 0.4], [0.3, 0.7]], rtol=1e-6)


@pytest.mark.parametrize(
    ("transform", "want"),
    [
        ("NONE", [0.0, 2.0]),
        ("LOGISTIC", [0.5, 1 / (1 + np.exp(-2))]),
        ("SOFTMAX", [1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))]),
        ("SOFTMAX_ZERO", [0.0, 1.0]),
    ],
)
def test_scores_are_transformed(transform, want):
    trees = Trees(0, features=1, targets=2)
    trees.trees = [{0: 0.0, 1: 2.0}]
    x = np.zeros((1, 1), np.float32)
    got = regress(trees, x, post_transform=transform)
    np.testing.assert_allclose(got, [want], rtol=1e-6)


def test_the_probit_is_the_quantile_of_the_normal_distribution():
    trees = Trees(0, features=1, targets=1)
    trees.trees = [{0: 0.975}]
    x = np.zeros((1, 1), np.float32)
    assert regress(trees, x, post_transform="PROBIT").item() == pytest.approx(
        1.96, abs=0.005
    )


@given(SEEDS, st.integers(1, 3), st.sampled_from([0, 1, 2, 3]))
def test_flat_trees_are_the_plain_walk(seed, targets, aggregate):
    trees = Trees(seed, targets=targets, votes=1)
    x = trees.rows(25)
    attributes = {**trees.flat_attributes(), "aggregate_function": aggregate}
    names = ("AVERAGE", "SUM", "MIN", "MAX")
    got = run_node("TreeEnsemble", [x], attributes, 5, ML)[0]
    want = trees.scores(x, names[aggregate])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_flat_trees_keep_the_type_of_their_input(dtype):
    trees = Trees(3, votes=1, modes=["LEQ"])
    x = trees.rows(5, dtype)
    got = run_node("TreeEnsemble", [x], trees.flat_attributes(dtype), 5, ML)[0]
    assert got.dtype == dtype


def test_a_branch_may_ask_for_membership():
    tensor = onnx.numpy_helper.from_array
    attributes = {
        "nodes_featureids": [0, 0],
        "nodes_modes": tensor(np.array([6, 6], np.uint8)),
        "nodes_splits": tensor(np.zeros(2, np.float32)),
        "membership_values": tensor(np.array([1, 3, np.nan, 2, np.nan], np.float32)),
        "nodes_missing_value_tracks_true": [0, 1],
        "nodes_truenodeids": [0, 1],
        "nodes_trueleafs": [1, 1],
        "nodes_falsenodeids": [1, 2],
        "nodes_falseleafs": [0, 1],
        "leaf_targetids": [0, 0, 0],
        "leaf_weights": tensor(np.array([10, 20, 30], np.float32)),
        "tree_roots": [0],
        "n_targets": 1,
    }
    x = np.array([[1], [2], [3], [4], [2.5], [np.nan]], np.float32)
    got = run_node("TreeEnsemble", [x], attributes, 5, ML)[0]
    assert got.ravel().tolist() == [10, 20, 10, 30, 30, 20]


def test_many_rows_give_the_same_as_single_ones():
    trees = Trees(11, targets=3, depth=6)
    x = trees.rows(3000)
    together = regress(trees, np.tile(x, (10, 1)))
    np.testing.assert_array_equal(together[:3000], together[-3000:])
    alone = np.concatenate([regress(trees, x[n : n + 1]) for n in range(20)])
    np.testing.assert_allclose(together[:20], alone, rtol=1e-6)


@pytest.mark.parametrize("aggregate", ["SUM", "MIN", "MAX"])
def test_few_votes_among_very_many_targets(aggregate):
    trees = Trees(5, targets=20_000, votes=2, depth=7)
    x = trees.rows(20)
    got = regress(trees, x, aggregate_function=aggregate)
    np.testing.assert_allclose(got, trees.scores(x, aggregate), rtol=1e-5)


def test_trees_are_prepared_once(monkeypatch):
    built = []
    grown = _ensembles.grown
    monkeypatch.setattr(
        _ensembles, "grown", lambda *args: built.append(1) or grown(*args)
    )
    trees = Trees(2)
    attributes = {**trees.attributes("target"), "n_targets": 2}
    node = onnx.helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain=ML, **attributes
    )
    graph = onnx.helper.make_graph(
        [node], "g", [onnx.ValueInfoProto(name="x")], [onnx.ValueInfoProto(name="y")]
    )
    imports = [onnx.helper.make_opsetid(ML, 3)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    run = table.bind(next(iter(from_proto(model).graph)))
    first, second = run(trees.rows(3)), run(trees.rows(5))
    assert (len(first), len(second), len(built)) == (3, 5, 1)


def sklearn_models():
    ensemble = pytest.importorskip("sklearn.ensemble")
    tree = pytest.importorskip("sklearn.tree")
    return {
        "tree": tree.DecisionTreeClassifier(random_state=0),
        "forest": ensemble.RandomForestClassifier(10, random_state=0),
        "extra": ensemble.ExtraTreesClassifier(10, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=5),
        "tree regression": tree.DecisionTreeRegressor(random_state=0),
        "forest regression": ensemble.RandomForestRegressor(10, random_state=0),
        "boosting regression": ensemble.GradientBoostingRegressor(n_estimators=5),
    }


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "name",
    [
        "tree",
        "forest",
        "extra",
        "boosting",
        "tree regression",
        "forest regression",
        "boosting regression",
    ],
)
def test_scikit_learn_models_predict_the_same(name, classes):
    convert = pytest.importorskip("skl2onnx").to_onnx
    data = pytest.importorskip("sklearn.datasets")
    estimator = sklearn_models()[name]
    x, y = data.make_classification(
        200, 8, n_informative=5, n_classes=classes, random_state=0
    )
    x = x.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
        regression = name.endswith("regression")
        options = None if regression else {"zipmap": False}
        opsets = {"": 18, ML: 3}
        model = convert(estimator, x[:1], options=options, target_opset=opsets)
    got = run_model(model, [x])
    peer = run_onnxruntime(model, {model.graph.input[0].name: x})
    if regression:
        want = estimator.predict(x)
        np.testing.assert_allclose(got[0].ravel(), want, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(got[0], estimator.predict(x))
        want = estimator.predict_proba(x)
        np.testing.assert_allclose(got[1], want, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(got, peer, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes_modes": ["BRANCH_LEQ", "LEAF", "TWIG"]}, "unknown mode .TWIG."),
        ({"nodes_truenodeids": [7, 0, 0]}, "has no node 7"),
        ({"nodes_truenodeids": [0, 0, 0]}, "no root"),
        ({"nodes_nodeids": [0, 1, 1]}, "two nodes of the same id"),
        ({"nodes_treeids": [0, 0]}, "differ in length"),
        ({"nodes_values": [0.0]}, "nodes_values"),
        ({"nodes_featureids": [4, 0, 0]}, "ask for 5 features"),
        ({"nodes_featureids": [-1, 0, 0]}, "nodes_featureids holds -1"),
        ({"target_ids": [5, 0]}, "outside of 2"),
        ({"target_weights": [1.0]}, "differ in number"),
        ({"base_values": [1.0, 2.0, 3.0]}, "3 base values"),
        ({"aggregate_function": "MEAN"}, "unknown aggregate_function"),
        ({"post_transform": "EXP"}, "unknown post_transform"),
        ({"n_targets": 0}, "needs n_targets"),
    ],
)
def test_trees_that_make_no_sense_are_refused(changes, message):
    trees, x = stump(0.2, 0.7)
    with pytest.raises(EngineError, match=message):
        regress(trees, x, **changes)


def test_a_circle_of_nodes_is_refused():
    trees = Trees(1, votes=1, modes=["LEQ"])
    trees.trees = [
        (0, "LEQ", 0.0, False, (0, "LT", 0.0, False, {0: 1.0}, {0: 1.0}), {0: 1.0})
    ]
    attributes = trees.flat_attributes()
    attributes["nodes_truenodeids"], attributes["nodes_trueleafs"] = (0, 0), (0, 1)
    with pytest.raises(EngineError, match="leads back"):
        run_node("TreeEnsemble", [trees.rows(1)], attributes, 5, ML)


def test_a_classifier_needs_labels():
    trees, x = stump(0.2, 0.7)
    with pytest.raises(EngineError, match="class labels"):
        classify(trees, x, classlabels_strings=["a", "b"])
