"""scikit-learn's estimators, converted by skl2onnx, give what scikit-learn gives.

Each is shown 1,000 rows that it was not fitted on. Numbers agree within float32. A
label may differ only where scikit-learn's own two best scores are a tie within float32.
"""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import runtime as ort

pytest.importorskip("sklearn")
skl2onnx = pytest.importorskip("skl2onnx")

from estimators import (  # noqa: E402
    CLASSIFIERS,
    COLUMNS,
    DECIDERS,
    REGRESSORS,
    UNSUPERVISED,
    WITH_GAPS,
    classes,
    gaps,
    of_columns,
    rows,
    targets,
)
from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # noqa: E402

SEEN, UNSEEN = rows(300, 1), rows(1000, 2)
NEAR = {"rtol": 1e-4, "atol": 1e-5}
TIE = 1e-5


def fitted(model, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*data)


def converted(model, **options):
    """Return a session of the converted model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = skl2onnx.to_onnx(
            model,
            initial_types=[("x", FloatTensorType([None, COLUMNS]))],
            options={id(model): options} if options else None,
            target_opset={"": 21, "ai.onnx.ml": 3},
        )
    return ort.InferenceSession(made.SerializeToString())


def close(got, want):
    np.testing.assert_allclose(np.squeeze(got), np.squeeze(want), **NEAR)


def same_labels(got, want, scores):
    """Compare labels; they may differ only where the best two scores are a tie."""
    scores = np.stack([-scores, scores], 1) if scores.ndim == 1 else scores
    second, best = np.sort(scores, axis=1)[:, -2:].T
    differ = got != want
    assert not (differ & (best - second > TIE)).any()
    assert differ.mean() < 0.01


def compare_classifier(model, session, x):
    labels, probabilities = session.run(None, {"x": x})
    want = model.predict_proba(x)
    close(probabilities, want)
    same_labels(labels, model.predict(x), want)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_and_probabilities(name, count):
    model = fitted(CLASSIFIERS[name](), SEEN, classes(SEEN, count))
    compare_classifier(model, converted(model, zipmap=False), UNSEEN)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", DECIDERS)
def test_classes_by_decision(name, count):
    model = fitted(DECIDERS[name](), SEEN, classes(SEEN, count))
    session = converted(model)
    labels = session.run(None, {"x": UNSEEN})[0]
    same_labels(labels, model.predict(UNSEEN), model.decision_function(UNSEEN))


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressions(name):
    model = fitted(REGRESSORS[name](), SEEN, targets(SEEN))
    close(converted(model).run(None, {"x": UNSEEN})[0], model.predict(UNSEEN))


@pytest.mark.parametrize("name", WITH_GAPS)
def test_missing_numbers(name):
    model = fitted(WITH_GAPS[name](), gaps(SEEN), classes(SEEN, 3))
    compare_classifier(model, converted(model, zipmap=False), gaps(UNSEEN))


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_groups_and_strangers(name):
    model = fitted(UNSUPERVISED[name](), SEEN)
    session = converted(model)
    labels, scores = session.run(None, {"x": UNSEEN})[:2]
    method = {
        "k means": "transform",
        "gaussian mixture": "predict_proba",
        "isolation forest": "decision_function",
    }[name]
    want = getattr(model, method)(UNSEEN)
    close(scores, want)
    nearest = -want if method == "transform" else want
    same_labels(labels.ravel(), model.predict(UNSEEN), nearest)


def test_probabilities_by_name_of_the_class():
    names = np.array(["ant", "bee", "cat"])
    model = fitted(CLASSIFIERS["tree"](), SEEN, names[classes(SEEN, 3)])
    labels, maps = converted(model).run(None, {"x": UNSEEN})
    assert list(labels) == list(model.predict(UNSEEN))
    assert list(maps[0]) == list(names)
    close([list(row.values()) for row in maps], model.predict_proba(UNSEEN))


def test_columns_of_several_types():
    pandas = pytest.importorskip("pandas")

    def frame(x):
        colours = np.array(["red", "green", "blue", "black"])
        return pandas.DataFrame(
            {
                "length": gaps(x)[:, 0],
                "width": x[:, 1],
                "colour": colours[(x[:, 2] * 64).astype(int) % 4],
                "size": (x[:, 3] * 64).astype(int) % 3,
            }
        ).astype({"size": str})

    seen = frame(SEEN)
    model = fitted(
        of_columns(),
        seen[seen.colour != "black"],
        classes(SEEN, 3)[(seen.colour != "black").to_numpy()],
    )
    made = skl2onnx.to_onnx(
        model,
        initial_types=[
            ("length", FloatTensorType([None, 1])),
            ("width", FloatTensorType([None, 1])),
            ("colour", StringTensorType([None, 1])),
            ("size", StringTensorType([None, 1])),
        ],
        options={id(model): {"zipmap": False}},
    )
    table = frame(UNSEEN)
    feeds = {
        name: table[[name]].to_numpy(object if table[name].dtype != "f4" else "f4")
        for name in table
    }
    session = ort.InferenceSession(made.SerializeToString())
    labels, probabilities = session.run(None, feeds)
    want = model.predict_proba(table)
    close(probabilities, want)
    same_labels(labels, model.predict(table), want)


def test_texts_need_no_locale():
    """Ask a process whose locale is C, which knows no letter beyond ASCII."""
    script = Path(__file__).parent / "text_pipelines.py"
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"}
    environment["PYTHONCOERCECLOCALE"] = "0"
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["C", "4 pipelines agree"]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_lightgbm(count, missing):
    lightgbm = pytest.importorskip("lightgbm")
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType as Floats

    x, unseen = (gaps(SEEN), gaps(UNSEEN)) if missing else (SEEN, UNSEEN)
    model = lightgbm.LGBMClassifier(n_estimators=25, verbose=-1)
    model = fitted(model, x, classes(SEEN, count))
    made = onnxmltools.convert_lightgbm(
        model, initial_types=[("x", Floats([None, COLUMNS]))], zipmap=False
    )
    session = ort.InferenceSession(made.SerializeToString())
    compare_classifier(model, session, unseen)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_xgboost(count, missing):
    xgboost = pytest.importorskip("xgboost")
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType as Floats

    x, unseen = (gaps(SEEN), gaps(UNSEEN)) if missing else (SEEN, UNSEEN)
    model = fitted(xgboost.XGBClassifier(n_estimators=25), x, classes(SEEN, count))
    made = onnxmltools.convert_xgboost(
        model, initial_types=[("x", Floats([None, COLUMNS]))]
    )
    session = ort.InferenceSession(made.SerializeToString())
    compare_classifier(model, session, unseen)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_boosted_regressions(library):
    boosting = pytest.importorskip(library)
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType as Floats

    kinds = {"lightgbm": "LGBMRegressor", "xgboost": "XGBRegressor"}
    options = {"verbose": -1} if library == "lightgbm" else {}
    model = getattr(boosting, kinds[library])(n_estimators=25, **options)
    model = fitted(model, SEEN, targets(SEEN))
    convert = getattr(onnxmltools, f"convert_{library}")
    made = convert(model, initial_types=[("x", Floats([None, COLUMNS]))])
    session = ort.InferenceSession(made.SerializeToString())
    close(session.run(None, {"x": UNSEEN})[0], model.predict(UNSEEN))
