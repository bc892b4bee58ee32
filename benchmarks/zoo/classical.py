"""Forests, and twenty scikit-learn pipelines, as most models of tables are.

They are fitted on rows drawn from a seed and converted by skl2onnx (the group ``sklearn``
of the project), without maps of probabilities. The forests have scikit-learn's defaults:
a hundred fully grown trees, and a hundred rounds of boosting for three classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx

from . import Entry

COLUMNS = 20
ROWS = {"tiny": 120, "full": 2000}
FORESTS = {"tiny": {"batch": (1, 40)}, "full": {"batch": (1, 10_000)}}
PIPELINES = {"tiny": {"batch": (1, 40)}, "full": {"batch": (100, 1)}}

Make = Callable[[Any], Any]


def _rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, COLUMNS), np.float32)


def _score(x: np.ndarray) -> np.ndarray:
    """Return what is to be learned: a smooth function of four columns, and noise."""
    noise = np.random.default_rng(1).standard_normal(len(x))
    return x[:, 0] + x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3]) + 0.3 * noise


def build(
    kind: str, size: str = "tiny", spelling: str = "", opset: int = 0, seed: int = 0
) -> onnx.ModelProto:
    """Return a fitted model by name; there is one spelling, skl2onnx's."""
    import sklearn
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    make, task, gaps = KINDS[kind]
    x = _rows(ROWS[size], seed)
    score = _score(x)
    classes = np.digitize(score, np.quantile(score, (1 / 3, 2 / 3)))
    if gaps:
        x = _holed(x)
    wanted = {"classes": classes, "numbers": score, "nothing": None}[task]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make(sklearn).fit(x, wanted)
        return to_onnx(
            model,
            initial_types=[("x", FloatTensorType([None, COLUMNS]))],
            options={id(model): {"zipmap": False}} if task == "classes" else None,
            target_opset={"": opset or 21, "ai.onnx.ml": 3},
        )


def feeds(
    kind: str, size: str = "tiny", batch: int = 1, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return rows the model was not fitted on."""
    x = _rows(batch, seed + 100)
    return {"x": _holed(x) if KINDS[kind][2] else x}


def _holed(x: np.ndarray) -> np.ndarray:
    holes = np.random.default_rng(7).random(x.shape) < 0.1
    return np.where(holes, np.float32(np.nan), x)


def _of(path: str, *steps: Any, **options: Any) -> Make:
    """Return what makes an estimator of scikit-learn by its module and class."""

    def make(sklearn: Any) -> Any:
        import importlib

        module, _, name = path.partition(".")
        found = getattr(importlib.import_module(f"sklearn.{module}"), name)
        made = [step(sklearn) if callable(step) else step for step in steps]
        return found(*made, **options)

    return make


def _piped(*steps: Make) -> Make:
    return _of("pipeline.make_pipeline", *steps)


_LOGISTIC = _of("linear_model.LogisticRegression", max_iter=300)
_SMALL_TREE = _of("tree.DecisionTreeClassifier", max_depth=4, random_state=0)
_BAYES = _of("naive_bayes.GaussianNB")
_SCALER = _of("preprocessing.StandardScaler")


def _pairs(name: str) -> Make:
    """Return an ensemble of a logistic regression and Bayes."""

    def make(sklearn: Any) -> Any:
        parts = [("a", _LOGISTIC(sklearn)), ("b", _BAYES(sklearn))]
        if name == "votes":
            from sklearn.ensemble import VotingClassifier

            return VotingClassifier(parts, voting="soft", flatten_transform=False)
        from sklearn.ensemble import StackingClassifier

        return StackingClassifier(parts, _LOGISTIC(sklearn), cv=2)

    return make


KINDS: Mapping[str, tuple[Make, str, bool]] = {
    "random_forest": (
        _of("ensemble.RandomForestClassifier", random_state=0),
        "classes",
        False,
    ),
    "gradient_boosting": (
        _of("ensemble.GradientBoostingClassifier", random_state=0),
        "classes",
        False,
    ),
    "least_squares": (_of("linear_model.LinearRegression"), "numbers", False),
    "logistic": (_LOGISTIC, "classes", False),
    "stochastic": (
        _of("linear_model.SGDClassifier", loss="log_loss", random_state=0),
        "classes",
        False,
    ),
    "scaled_components": (
        _piped(_SCALER, _of("decomposition.PCA", 8), _LOGISTIC),
        "classes",
        False,
    ),
    "imputed": (
        _piped(_of("impute.SimpleImputer"), _SCALER, _LOGISTIC),
        "classes",
        True,
    ),
    "chosen_columns": (
        _piped(
            _of("feature_selection.SelectKBest", k=10),
            _of("preprocessing.Normalizer"),
            _LOGISTIC,
        ),
        "classes",
        False,
    ),
    "joined_features": (
        _piped(
            _of(
                "pipeline.make_union",
                _of("decomposition.PCA", 5),
                _of("preprocessing.RobustScaler"),
            ),
            _LOGISTIC,
        ),
        "classes",
        False,
    ),
    "bins": (
        _piped(
            _of(
                "preprocessing.KBinsDiscretizer",
                4,
                encode="onehot-dense",
                quantile_method="averaged_inverted_cdf",
            ),
            _LOGISTIC,
        ),
        "classes",
        False,
    ),
    "polynomials": (
        _piped(_of("preprocessing.PolynomialFeatures", 2), _of("linear_model.Ridge")),
        "numbers",
        False,
    ),
    "calibrated": (
        _of(
            "calibration.CalibratedClassifierCV",
            _of("svm.LinearSVC", random_state=0),
            cv=2,
        ),
        "classes",
        False,
    ),
    "one_against_rest": (
        _of("multiclass.OneVsRestClassifier", _LOGISTIC),
        "classes",
        False,
    ),
    "votes": (_pairs("votes"), "classes", False),
    "stacked": (_pairs("stacked"), "classes", False),
    "bagged_trees": (
        _of("ensemble.BaggingClassifier", _SMALL_TREE, n_estimators=8, random_state=0),
        "classes",
        False,
    ),
    "adaptive_boosting": (
        _of("ensemble.AdaBoostClassifier", _SMALL_TREE, n_estimators=8, random_state=0),
        "classes",
        False,
    ),
    "bayes": (_BAYES, "classes", False),
    "perceptrons": (
        _piped(
            _SCALER,
            _of("neural_network.MLPClassifier", (32, 16), max_iter=40, random_state=0),
        ),
        "classes",
        False,
    ),
    "support_vectors": (
        _piped(_SCALER, _of("svm.SVC", probability=True, random_state=0)),
        "classes",
        False,
    ),
    "mixture": (_of("mixture.GaussianMixture", 3, random_state=0), "nothing", False),
    "k_means": (_of("cluster.KMeans", 4, n_init=1, random_state=0), "nothing", False),
}
"""By name: what makes an estimator, what it learns, whether its rows have gaps."""

_LARGE = ("random_forest", "gradient_boosting")

CLASSICAL: Mapping[str, Entry] = {
    name: Entry(
        f"scikit-learn: {name.replace('_', ' ')}",
        partial(build, name),
        partial(feeds, name),
        FORESTS if name in _LARGE else PIPELINES,
    )
    for name in KINDS
}
