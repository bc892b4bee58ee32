"""Shapes of the results of ai.onnx.ml, for which ONNX's inference has none or half of one.

A size that is not known is left open; what matters is how many dims there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import onnx

Dim = int | None
Shape = Sequence[Dim]

DOMAIN: Final = "ai.onnx.ml"


def complete(graph: onnx.GraphProto) -> bool:
    """Give types that lack one a shape, in place; return whether any was given.

    What follows from these shapes a further inference finds out.
    """
    if not any(node.domain == DOMAIN for node in graph.node):
        return False
    types = {info.name: info.type for info in (*graph.input, *graph.value_info)}
    results = {info.name: info.type for info in graph.output}
    types |= results
    constants = {t.name: tuple(t.dims) for t in graph.initializer}
    given = False
    for node in graph.node:
        shapes = [_shape(types.get(name), constants.get(name)) for name in node.input]
        for name, shape in zip(node.output, _results(node, shapes), strict=False):
            kind = types.get(name)
            if shape is None or kind is None or not kind.tensor_type.elem_type:
                continue
            if not kind.tensor_type.HasField("shape"):
                _give(kind.tensor_type, shape)
                given = True
    return given


def _shape(
    kind: onnx.TypeProto | None, constant: tuple[int, ...] | None
) -> Shape | None:
    if constant is not None:
        return constant
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def _give(kind: onnx.TypeProto.Tensor, shape: Shape) -> None:
    kind.shape.Clear()
    for size in shape:
        dim = kind.shape.dim.add()
        if size is not None:
            dim.dim_value = size
    kind.shape.SetInParent()


def _results(
    node: onnx.NodeProto, shapes: list[Shape | None]
) -> Sequence[Shape | None]:
    rule = _RULES.get(node.op_type) if node.domain == DOMAIN else None
    return () if rule is None or not shapes else rule(node, shapes)


Rule = Callable[[onnx.NodeProto, Sequence[Shape | None]], Sequence[Shape | None]]


def _same(
    node: onnx.NodeProto, shapes: Sequence[Shape | None]
) -> Sequence[Shape | None]:
    return shapes[:1]


def _rows(shape: Shape | None) -> Dim:
    if shape is None:
        return None
    return shape[0] if len(shape) > 1 else 1


def _classified(
    node: onnx.NodeProto, shapes: Sequence[Shape | None]
) -> Sequence[Shape | None]:
    return [_rows(shapes[0])], [_rows(shapes[0]), None]


def _regressed(
    node: onnx.NodeProto, shapes: Sequence[Shape | None]
) -> Sequence[Shape | None]:
    return ([_rows(shapes[0]), None],)


def _chosen(
    node: onnx.NodeProto, shapes: Sequence[Shape | None]
) -> Sequence[Shape | None]:
    x = shapes[0]
    if x is None:
        return ()
    return ([1, None] if len(x) == 1 else [*x[:-1], None],)


def _encoded(
    node: onnx.NodeProto, shapes: Sequence[Shape | None]
) -> Sequence[Shape | None]:
    x = shapes[0]
    return () if x is None else ([*x, None],)


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        ("Scaler", "Normalizer", "Binarizer", "Imputer", "LabelEncoder", "CategoryMapper"),
        _same,
    ),
    **dict.fromkeys(
        ("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier"), _classified
    ),
    **dict.fromkeys(
        ("TreeEnsembleRegressor", "TreeEnsemble", "LinearRegressor", "SVMRegressor",
         "FeatureVectorizer"),
        _regressed,
    ),
    "ArrayFeatureExtractor": _chosen,
    "OneHotEncoder": _encoded,
}  # fmt: skip
