"""Checks text pipelines in a process of its own, so that its locale can be chosen.

usage: LC_ALL=C python text_pipelines.py
"""

import locale
import sys
import warnings

import numpy as np
import runtime as ort
import skl2onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

WORDS = [
    "the", "quick", "brown", "fox", "Straße", "éclair", "naïve", "ЖУК", "жук",
    "ångström", "ÅNGSTRÖM", "数据", "ok", "a1", "don't", "e-mail", "x",
]  # fmt: skip


def texts(count: int, seed: int) -> list[str]:
    """Return lines of words."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 9, count)
    return [" ".join(random.choice(WORDS, n)) for n in lengths]


PIPELINES = [
    make_pipeline(TfidfVectorizer(token_pattern=r"\S+"), LogisticRegression()),
    make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), norm="l1", token_pattern=r"[^ ]+"),
        LogisticRegression(),
    ),
    make_pipeline(
        CountVectorizer(lowercase=False, token_pattern=r"[^ -]+", stop_words=["the"]),
        MultinomialNB(),
    ),
    make_pipeline(
        CountVectorizer(binary=True, analyzer="char", ngram_range=(1, 1)),
        LogisticRegression(),
    ),
]


def check(model: object) -> None:
    """Compare a pipeline with its converted self over 1,000 lines."""
    seen, unseen = texts(300, 1), texts(1000, 2)
    model.fit(seen, np.array([len(text.split()) % 3 for text in seen]))
    made = skl2onnx.to_onnx(
        model,
        initial_types=[("x", StringTensorType([None, 1]))],
        options={id(model): {"zipmap": False}},
        target_opset={"": 21, "ai.onnx.ml": 3},
    )
    session = ort.InferenceSession(made.SerializeToString())
    lines = np.array(unseen, object).reshape(-1, 1)
    labels, probabilities = session.run(None, {"x": lines})
    want = model.predict_proba(unseen)
    np.testing.assert_allclose(probabilities, want, rtol=1e-4, atol=1e-5)
    second, best = np.sort(want, axis=1)[:, -2:].T
    decided = best - second > 1e-5
    assert decided.mean() > 0.9
    assert (labels == model.predict(unseen))[decided].all()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for entry in PIPELINES:
        check(entry)
    chosen = locale.setlocale(locale.LC_ALL, "")
    sys.stdout.write(f"{chosen}\n{len(PIPELINES)} pipelines agree\n")
