"""Linear models and support vector machines against scikit-learn and onnxruntime."""

import warnings

import numpy as np
import pytest
from evaluate import run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, run_onnxruntime
from runtime.errors import EngineError

ML = "ai.onnx.ml"
SEEDS = st.integers(0, 10_000)
TRANSFORMS = st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
KERNELS = st.sampled_from(["LINEAR", "POLY", "RBF", "SIGMOID"])


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def rows(self, *shape):
        return self.random.standard_normal(shape).astype(np.float32)

    def list(self, *shape):
        return [float(value) for value in self.rows(*shape).ravel()]


def run(op, x, attributes, outputs=1):
    return run_node(op, [x], attributes, 1, ML, outputs)


def check(op, x, attributes, outputs=1):
    """Compare with onnxruntime: labels exactly, scores closely."""
    want = by_onnxruntime(op, [x], attributes, 1, ML, outputs)
    got = run(op, x, attributes, outputs)
    assert got[-1].dtype == want[-1].dtype
    np.testing.assert_allclose(got[-1], want[-1], rtol=1e-3, atol=1e-5)
    if outputs > 1:
        assert got[0].dtype == want[0].dtype
        assert got[0].tolist() == want[0].tolist()


@given(SEEDS, st.integers(2, 4), st.integers(0, 6), TRANSFORMS)
def test_linear_regression_agrees_with_onnxruntime(seed, targets, rows, transform):
    numbers = Numbers(seed)
    attributes = {
        "coefficients": numbers.list(targets, 3),
        "intercepts": numbers.list(targets),
        "targets": targets,
        "post_transform": transform,
    }
    check("LinearRegressor", numbers.rows(rows, 3), attributes)


@given(SEEDS, st.integers(2, 4), st.booleans(), TRANSFORMS)
def test_linear_classification_agrees_with_onnxruntime(
    seed, classes, strings, transform
):
    numbers = Numbers(seed)
    attributes = {
        "coefficients": numbers.list(classes, 3),
        "intercepts": numbers.list(classes),
        "post_transform": transform,
    }
    if strings:
        attributes["classlabels_strings"] = [f"class {n}" for n in range(classes)]
    else:
        attributes["classlabels_ints"] = list(range(5, 5 + classes))
    check("LinearClassifier", numbers.rows(6, 3), attributes, 2)


def test_one_row_of_coefficients_decides_between_two_classes():
    x = np.array([[1], [-2]], np.float32)
    attributes = {"coefficients": [2.0], "classlabels_ints": [3, 4]}
    labels, scores = run("LinearClassifier", x, attributes, 2)
    assert labels.tolist() == [4, 3]
    assert scores.tolist() == [[-2, 2], [4, -4]]


def test_a_single_class_is_told_from_none():
    x = np.array([[1], [-2]], np.float32)
    attributes = {"coefficients": [2.0], "classlabels_ints": [3]}
    labels, scores = run("LinearClassifier", x, attributes, 2)
    assert labels.tolist() == [3, 0]
    assert scores.tolist() == [[2], [-4]]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_features_of_any_number_type_are_taken(dtype):
    x = np.array([[1, 2], [3, 4]], dtype)
    attributes = {"coefficients": [1.0, 0.5], "intercepts": [1.0]}
    got = run("LinearRegressor", x, attributes)[0]
    assert got.dtype == np.float32
    assert got.tolist() == [[3], [6]]


@given(SEEDS, st.integers(1, 6), st.sampled_from([0, 1]), KERNELS)
def test_support_vector_regression_agrees_with_onnxruntime(
    seed, vectors, one_class, kernel
):
    numbers = Numbers(seed)
    attributes = {
        "coefficients": numbers.list(vectors),
        "support_vectors": numbers.list(vectors, 3),
        "n_supports": vectors,
        "rho": numbers.list(1),
        "kernel_type": kernel,
        "kernel_params": [0.5, 0.25, 3.0],
        "one_class": one_class,
    }
    check("SVMRegressor", numbers.rows(6, 3), attributes)


def test_without_support_vectors_regression_is_linear():
    x = np.array([[1, 2], [3, 4]], np.float32)
    attributes = {"coefficients": [1.0, 0.5], "rho": [1.0], "kernel_type": "RBF"}
    assert run("SVMRegressor", x, attributes)[0].tolist() == [[3], [6]]


@given(SEEDS, st.integers(2, 4), st.booleans(), st.booleans(), KERNELS)
def test_support_vector_classification_agrees_with_onnxruntime(
    seed, classes, strings, probable, kernel
):
    numbers = Numbers(seed)
    counts = [int(count) for count in numbers.random.integers(1, 4, classes)]
    pairs = classes * (classes - 1) // 2
    attributes = {
        "coefficients": numbers.list(classes - 1, sum(counts)),
        "support_vectors": numbers.list(sum(counts), 3),
        "vectors_per_class": counts,
        "rho": numbers.list(pairs),
        "kernel_type": kernel,
        "kernel_params": [0.5, 0.25, 3.0],
    }
    if probable:
        attributes["prob_a"] = numbers.list(pairs)
        attributes["prob_b"] = numbers.list(pairs)
    if strings:
        attributes["classlabels_strings"] = [f"class {n}" for n in range(classes)]
    else:
        attributes["classlabels_ints"] = list(range(5, 5 + classes))
    check("SVMClassifier", numbers.rows(6, 3), attributes, 2)


@given(SEEDS, st.integers(3, 4))
def test_linear_machines_score_each_class(seed, classes):
    numbers = Numbers(seed)
    attributes = {
        "coefficients": numbers.list(classes, 3),
        "rho": numbers.list(1),
        "kernel_params": [0.0, 0.0, 0.0],
        "classlabels_ints": list(range(classes)),
    }
    check("SVMClassifier", numbers.rows(6, 3), attributes, 2)


def sklearn_model(name):
    linear = pytest.importorskip("sklearn.linear_model")
    svm = pytest.importorskip("sklearn.svm")
    return {
        "logistic": lambda: linear.LogisticRegression(),
        "ridge": lambda: linear.RidgeClassifier(),
        "perceptron": lambda: linear.Perceptron(),
        "linear machine": lambda: svm.LinearSVC(),
        "machine": lambda: svm.SVC(),
        "polynomial": lambda: svm.SVC(kernel="poly"),
        "sigmoid": lambda: svm.SVC(kernel="sigmoid"),
        "nu": lambda: svm.NuSVC(nu=0.2),
        "regression": lambda: linear.LinearRegression(),
        "machine regression": lambda: svm.SVR(),
        "one class": lambda: svm.OneClassSVM(),
    }[name]()


CLASSIFIERS = [
    "logistic",
    "ridge",
    "perceptron",
    "linear machine",
    "machine",
    "polynomial",
    "sigmoid",
    "nu",
]


def fitted(name, classes):
    convert = pytest.importorskip("skl2onnx").to_onnx
    data = pytest.importorskip("sklearn.datasets")
    estimator = sklearn_model(name)
    x, y = data.make_classification(
        120, 6, n_informative=4, n_classes=classes, random_state=0
    )
    x = x.astype(np.float32)
    mapped = name in CLASSIFIERS and name != "linear machine"
    options = {"zipmap": False} if mapped else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
        model = convert(estimator, x[:1], options=options, target_opset={"": 18, ML: 3})
    return estimator, model, x


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scikit_learn_classifiers_predict_the_same(name, classes):
    estimator, model, x = fitted(name, classes)
    labels, scores = run_model(model, [x])
    np.testing.assert_array_equal(labels, estimator.predict(x))
    if hasattr(estimator, "predict_proba"):
        want = estimator.predict_proba(x)
        np.testing.assert_allclose(scores, want, rtol=1e-3, atol=1e-3)
    theirs = run_onnxruntime(model, {model.graph.input[0].name: x})
    np.testing.assert_allclose(scores, theirs[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["regression", "machine regression", "one class"])
def test_scikit_learn_regressions_predict_the_same(name):
    estimator, model, x = fitted(name, 3)
    got = run_model(model, [x])[0]
    np.testing.assert_allclose(got.ravel(), estimator.predict(x), rtol=1e-3, atol=1e-4)


X = np.ones((2, 3), np.float32)
LABELS = {"classlabels_ints": [0, 1]}
SVC = {"support_vectors": [1.0] * 6, "vectors_per_class": [1, 1], "rho": [0.0]}


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("LinearRegressor", {"coefficients": [1.0]}, "has 1 features, found 3"),
        ("LinearRegressor", {"targets": 2, "coefficients": [1.0]}, "make 2 rows"),
        ("LinearRegressor", {}, "0 coefficients"),
        ("LinearClassifier", {"coefficients": [1.0] * 3}, "class labels"),
        ("LinearClassifier", {"coefficients": [1.0] * 9, **LABELS}, "3 rows"),
        ("SVMRegressor", {"coefficients": [1.0] * 3}, "needs coefficients and rho"),
        ("SVMRegressor", {"kernel_type": "TREE"}, "unknown kernel_type"),
        ("SVMClassifier", {**SVC, **LABELS}, "needs coefficients"),
        (
            "SVMClassifier",
            {**SVC, **LABELS, "coefficients": [1.0] * 4},
            "1 rows of coefficients",
        ),
        (
            "SVMClassifier",
            {**SVC, **LABELS, "coefficients": [1.0] * 2, "prob_a": [1.0]},
            "prob_a and prob_b",
        ),
    ],
)
def test_models_that_make_no_sense_are_refused(op, attributes, message):
    with pytest.raises(EngineError, match=message):
        run(op, X, attributes, 2 if op.endswith("Classifier") else 1)
