"""Kernels compute in the array library of their inputs, whatever that is.

Each operator's call is made with arrays of a second, strict library, and gives what it
gives with NumPy's. Sizes, axes and scales are on the host, where a provider for a device
keeps them.
"""

import sys

import numpy as np
import pytest
import strict_namespace as device
from cases import same
from retyped import templates
from runtime.errors import EngineError
from spoiled import Spoiled, run

OPERATORS = sorted(templates())
DRAWN = {"Bernoulli", "Multinomial"} | {
    f"Random{kind}{like}" for kind in ("Normal", "Uniform") for like in ("", "Like")
}

# features and tokens are looked up on the host
HOST_ONLY = {
    ("", "TfIdfVectorizer"),
    *(
        ("ai.onnx.ml", name)
        for name in (
            "ArrayFeatureExtractor",
            "CategoryMapper",
            "FeatureVectorizer",
            "Imputer",
            "LinearClassifier",
            "LinearRegressor",
            "Normalizer",
            "OneHotEncoder",
            "SVMClassifier",
            "SVMRegressor",
            "Scaler",
            "TreeEnsemble",
        )
    ),
}
# small integers that are data
DATA = {"Mod", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}


@pytest.fixture(autouse=True)
def _library(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", device.cupy)


def stays(op_type, place, item):
    """Whether an input is one of sizes, axes and scales."""
    if op_type in ("ConstantOfShape", "Range") or (op_type == "Resize" and place):
        return True
    small = isinstance(item, np.ndarray) and item.dtype.name in ("int32", "int64")
    return small and item.ndim < 2 and place > 0 and op_type not in DATA


def on_device(key):
    node, inputs = templates()[key].node, templates()[key].inputs
    moved = [
        item if stays(key[1], place, item) else device.to_device(item)
        for place, item in enumerate(inputs)
    ]
    return Spoiled("", node, tuple(moved))


@pytest.mark.parametrize("key", OPERATORS, ids=":".join)
def test_an_operator_computes_in_the_library_of_its_inputs(key):
    if key in HOST_ONLY:
        with pytest.raises(EngineError, match="device|ufuncs"):
            run(on_device(key))
        return
    got = run(on_device(key))
    if key[1] in DRAWN:
        return
    want = run(Spoiled("", templates()[key].node, templates()[key].inputs))
    for ours, theirs in zip(got, want, strict=True):
        same(device.to_host(ours), theirs, 1e-5, 1e-6)


def test_the_second_library_is_strict():
    array = device.to_device(np.ones(3, np.float32))
    for mixed in (
        lambda: np.asarray(array),
        lambda: np.sqrt(array),
        lambda: np.concatenate([array, array]),
        lambda: array + np.ones(3, np.float32),
        lambda: device.cupy.add(array, np.ones(3, np.float32)),
    ):
        with pytest.raises(TypeError):
            mixed()
