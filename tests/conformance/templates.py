"""Calls of the operators that ONNX has no node case of."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, helper

ML = "ai.onnx.ml"


def call(
    domain: str, op_type: str, inputs: list[Any], outputs: int = 1, **attributes: Any
) -> tuple[tuple[str, str], tuple[NodeProto, tuple[Any, ...]]]:
    """Return an operator's key, and its node and inputs."""
    names = [f"x{n}" for n in range(len(inputs))]
    results = [f"y{n}" for n in range(outputs)]
    node = helper.make_node(op_type, names, results, domain=domain, **attributes)
    return (domain, op_type), (node, tuple(inputs))


X = np.array([[1, 2, 0], [-1, 0, 3]], np.float32)
IMAGE = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
ROIS = np.array([[0, 0, 0, 2, 2]], np.float32)
PLACE = np.array(1, np.int64)
MACHINE = {
    "coefficients": [1.0, -0.5],
    "kernel_params": [0.5, 0.0, 3.0],
    "kernel_type": "RBF",
    "rho": [0.25],
    "support_vectors": [1.0, 0.0, 2.0, 0.0, 1.0, -1.0],
}

CALLS = (
    call(ML, "SVMRegressor", [X], n_supports=2, **MACHINE),
    call(
        ML,
        "SVMClassifier",
        [X],
        2,
        vectors_per_class=[1, 1],
        classlabels_ints=[3, 5],
        **MACHINE,
    ),
    call(ML, "LinearRegressor", [X], coefficients=[1.0, 2.0, 3.0], intercepts=[0.5]),
    call(
        ML,
        "LinearClassifier",
        [X],
        2,
        coefficients=[1.0, 0.0, 2.0, 0.0, 1.0, -1.0],
        intercepts=[0.5, 0.0],
        classlabels_ints=[3, 5],
    ),
    call(
        ML,
        "CategoryMapper",
        [np.array([1, 2, 4])],
        cats_int64s=[1, 2],
        cats_strings=["1", "2"],
    ),
    call(ML, "Scaler", [X], offset=[1.0], scale=[2.0]),
    call(ML, "Imputer", [X], imputed_value_floats=[9.0], replaced_value_float=0.0),
    call(ML, "Normalizer", [X], norm="L2"),
    call(ML, "FeatureVectorizer", [X, X], inputdimensions=[3, 3]),
    call(ML, "OneHotEncoder", [np.array([1, 2, 4])], cats_int64s=[1, 2]),
    call("", "Optional", [X]),
    call("", "OptionalHasElement", [X]),
    call("", "MeanVarianceNormalization", [IMAGE]),
    call("", "SequenceLength", [[X, X]]),
    call("", "SequenceAt", [[X, X + 1], PLACE]),
    call("", "SequenceConstruct", [X, X]),
    call("", "SequenceErase", [[X, X + 1], PLACE]),
    call("", "SequenceEmpty", []),
    call("", "ConcatFromSequence", [[X, X + 1]], axis=0),
    call("", "RandomNormal", [], shape=[2, 3], seed=1.0),
    call("", "RandomUniform", [], shape=[2, 3], seed=1.0),
    call("", "RandomNormalLike", [X], seed=1.0),
    call("", "RandomUniformLike", [X], seed=1.0),
    call("", "Multinomial", [X], sample_size=4, seed=1.0),
    call("", "MaxRoiPool", [IMAGE, ROIS], pooled_shape=[2, 2]),
    call("", "GlobalLpPool", [IMAGE], p=2),
)

TEMPLATES = dict(CALLS)

WITHOUT: dict[tuple[str, str], str] = {
    (ML, "CastMap"): "maps are given, not tensors",
    (ML, "DictVectorizer"): "maps are given, not tensors",
    (ML, "ZipMap"): "maps are returned; the input is float only",
    ("", "If"): "its branches fix the types",
    ("", "Loop"): "its body fixes the types",
    ("", "Scan"): "its body fixes the types",
    ("", "SequenceMap"): "its body fixes the types",
    ("ai.onnx.preview.training", "Gradient"): "differentiates a graph, not a call",
}
"""Operators whose types are not those of tensors that a call can vary."""
