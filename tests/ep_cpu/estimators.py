"""Thirty-odd scikit-learn estimators and pipelines, and the rows they see.

Numbers are multiples of 1/64: they, the thresholds halfway between them and their
float32 copies are one and the same, so that a row on a threshold is a tie for
scikit-learn and for the converted model alike, and no row needs to be left out. Trees
are given numbers as they are: a scaled number is rounded, and thresholds with it.

Left out are what skl2onnx 1.20 converts wrongly (onnxruntime gives the same wrong numbers
as we do: neighbours weighted by distance, linear discriminants of two classes) or
not at all (histogram boosting) from scikit-learn 1.9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    mixture,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

COLUMNS = 5
Make = Callable[[], Any]


def rows(count: int, seed: int) -> np.ndarray:
    """Return rows of exact float32 numbers."""
    random = np.random.default_rng(seed)
    return (random.integers(-192, 193, (count, COLUMNS)) / 64).astype(np.float32)


def classes(x: np.ndarray, count: int) -> np.ndarray:
    """Return labels that depend on the rows, all of them taken."""
    score = x[:, 0] - x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3])
    return np.digitize(score, np.quantile(score, np.arange(1, count) / count))


def targets(x: np.ndarray) -> np.ndarray:
    """Return positive numbers that depend on the rows."""
    return np.abs(x[:, 0] * 2 - x[:, 1] + np.cos(x[:, 2])) + 0.5


def gaps(x: np.ndarray) -> np.ndarray:
    """Return the rows with a tenth of their numbers missing."""
    random = np.random.default_rng(7)
    return np.where(random.random(x.shape) < 0.1, np.float32(np.nan), x)


def piped(*steps: Any) -> Any:
    """Return a pipeline of steps."""
    return pipeline.make_pipeline(*steps)


def logistic() -> Any:
    """Return the classifier that stands at the end of pipelines."""
    return linear_model.LogisticRegression(max_iter=300)


def small_tree() -> Any:
    """Return the tree that ensembles are made of."""
    return tree.DecisionTreeClassifier(max_depth=3, random_state=0)


CLASSIFIERS: dict[str, Make] = {
    "logistic regression": logistic,
    "stochastic gradient": lambda: linear_model.SGDClassifier(
        loss="log_loss", random_state=0
    ),
    "calibrated": lambda: calibration.CalibratedClassifierCV(
        svm.LinearSVC(random_state=0), cv=2
    ),
    "quadratic discriminants": discriminant_analysis.QuadraticDiscriminantAnalysis,
    "gaussian bayes": naive_bayes.GaussianNB,
    "bernoulli bayes": naive_bayes.BernoulliNB,
    "nearest neighbours": lambda: neighbors.KNeighborsClassifier(5, algorithm="brute"),
    "radial support vectors": lambda: svm.SVC(probability=True, random_state=0),
    "polynomial support vectors": lambda: svm.SVC(
        kernel="poly", degree=2, coef0=1, probability=True, random_state=0
    ),
    "perceptrons": lambda: neural_network.MLPClassifier(
        (8, 4), max_iter=60, random_state=0
    ),
    "tree": lambda: tree.DecisionTreeClassifier(max_depth=6, random_state=0),
    "random forest": lambda: ensemble.RandomForestClassifier(12, random_state=0),
    "extra trees": lambda: ensemble.ExtraTreesClassifier(12, random_state=0),
    "gradient boosting": lambda: ensemble.GradientBoostingClassifier(
        n_estimators=12, random_state=0
    ),
    "adaptive boosting": lambda: ensemble.AdaBoostClassifier(
        small_tree(), n_estimators=6, random_state=0
    ),
    "bagged trees": lambda: ensemble.BaggingClassifier(
        small_tree(), n_estimators=6, random_state=0
    ),
    "votes": lambda: ensemble.VotingClassifier(
        [("a", logistic()), ("b", naive_bayes.GaussianNB())],
        voting="soft",
        flatten_transform=False,
    ),
    "stacked": lambda: ensemble.StackingClassifier(
        [("a", small_tree()), ("b", naive_bayes.GaussianNB())], logistic(), cv=2
    ),
    "one against the rest": lambda: multiclass.OneVsRestClassifier(logistic()),
    "scaled components": lambda: piped(
        preprocessing.StandardScaler(), decomposition.PCA(3), logistic()
    ),
    "counts": lambda: piped(
        preprocessing.MinMaxScaler(clip=True), naive_bayes.MultinomialNB()
    ),
    "bins": lambda: piped(
        preprocessing.KBinsDiscretizer(
            4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"
        ),
        logistic(),
    ),
    "chosen columns": lambda: piped(
        feature_selection.SelectKBest(k=3), preprocessing.Normalizer(), logistic()
    ),
    "joined features": lambda: piped(
        pipeline.make_union(decomposition.PCA(2), preprocessing.RobustScaler()),
        logistic(),
    ),
}

# these have no probabilities
DECIDERS: dict[str, Make] = {
    "ridge": linear_model.RidgeClassifier,
    "linear support vectors": lambda: svm.LinearSVC(random_state=0),
    "perceptron": lambda: linear_model.Perceptron(random_state=0),
}

REGRESSORS: dict[str, Make] = {
    "least squares": linear_model.LinearRegression,
    "elastic net": lambda: linear_model.ElasticNet(alpha=0.01),
    "robust": linear_model.HuberRegressor,
    "poisson": linear_model.PoissonRegressor,
    "support vectors": svm.SVR,
    "nearest neighbours": lambda: neighbors.KNeighborsRegressor(4, algorithm="brute"),
    "perceptrons": lambda: neural_network.MLPRegressor(
        hidden_layer_sizes=(8,), max_iter=60, random_state=0
    ),
    "tree": lambda: tree.DecisionTreeRegressor(max_depth=8, random_state=0),
    "random forest": lambda: ensemble.RandomForestRegressor(12, random_state=0),
    "gradient boosting": lambda: ensemble.GradientBoostingRegressor(
        n_estimators=12, random_state=0
    ),
    "polynomials": lambda: piped(
        preprocessing.PolynomialFeatures(2), linear_model.Ridge()
    ),
}

# these are given rows with missing numbers
WITH_GAPS: dict[str, Make] = {
    "imputed by the most frequent": lambda: piped(
        impute.SimpleImputer(strategy="most_frequent"), naive_bayes.GaussianNB()
    ),
    "imputed by mean": lambda: piped(impute.SimpleImputer(), logistic()),
    "imputed by median": lambda: piped(
        impute.SimpleImputer(strategy="median"), small_tree()
    ),
}

# these find groups or strangers without being told labels
UNSUPERVISED: dict[str, Make] = {
    "k means": lambda: cluster.KMeans(4, n_init=1, random_state=0),
    "gaussian mixture": lambda: mixture.GaussianMixture(3, random_state=0),
    "isolation forest": lambda: ensemble.IsolationForest(
        n_estimators=12, random_state=0
    ),
}


def of_columns() -> Any:
    """Return a pipeline over a column of words, one of codes and two of numbers."""
    numbers = piped(impute.SimpleImputer(), preprocessing.StandardScaler())
    words = preprocessing.OneHotEncoder(handle_unknown="ignore")
    codes = preprocessing.OrdinalEncoder()
    return piped(
        compose.ColumnTransformer(
            [
                ("numbers", numbers, ["length", "width"]),
                ("words", words, ["colour"]),
                ("codes", codes, ["size"]),
            ]
        ),
        logistic(),
    )
