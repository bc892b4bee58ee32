"""ONNX's own cases: node cases, the models the onnx wheel ships, and how to compare."""

from __future__ import annotations

import functools
import glob
import os
import warnings
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

DATA = os.path.join(os.path.dirname(onnx.backend.test.__file__), "data")
KINDS = ("simple", "pytorch-operator", "pytorch-converted")


@functools.cache
def node_cases() -> dict[str, Any]:
    """Return the node cases by name; making them takes seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in collect_testcases(None)}


def node_feeds(case: Any) -> list[tuple[dict[str, Any], list[Any]]]:
    """Return a node case's data: what to feed, and what to expect, in order."""
    names = [info.name for info in case.model.graph.input]
    return [
        (
            dict(zip(names, map(value, inputs), strict=False)),
            [value(output) for output in outputs],
        )
        for inputs, outputs in case.data_sets
    ]


def model_folders() -> list[str]:
    """Return the folders of the models that come with data."""
    return sorted(path for kind in KINDS for path in glob.glob(f"{DATA}/{kind}/*"))


def light_models() -> list[str]:
    """Return the real architectures whose weights are made by the model itself."""
    return sorted(glob.glob(f"{DATA}/light/*.onnx"))


def folder_feeds(folder: str) -> list[tuple[dict[str, Any], list[Any]]]:
    """Return a model folder's data: what to feed, and what to expect, in order."""
    graph = onnx.load(f"{folder}/model.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in constants]
    return [
        (
            {
                info.name: read(f"{data}/input_{index}.pb", info)
                for index, info in enumerate(inputs)
                if os.path.exists(f"{data}/input_{index}.pb")
            },
            [
                read(f"{data}/output_{index}.pb", info)
                for index, info in enumerate(graph.output)
            ],
        )
        for data in sorted(glob.glob(f"{folder}/test_data_set_*"))
    ]


def light_feed(path: str) -> tuple[dict[str, Any], list[Any]]:
    """Return what ONNX's own runner feeds a light model, and what it expects."""
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    (info,) = (info for info in graph.input if info.name not in constants)
    shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    data = (np.arange(count).reshape(shape) / count).astype(np.float32)
    want = f"{DATA}/light/{os.path.basename(path)[:-5]}_output_0.pb"
    return {info.name: data}, [read(want, graph.output[0])]


def read(path: str, info: onnx.ValueInfoProto) -> Any:
    """Read one input or output file by the type the model declares."""
    with open(path, "rb") as file:
        data = file.read()
    match info.type.WhichOneof("value"):
        case "sequence_type":
            return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
        case "optional_type":
            return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
        case _:
            return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def value(item: Any) -> Any:
    """Return a case's input or output as a value: some are given as protobuf."""
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    return item


def same(got: Any, want: Any, rtol: float, atol: float) -> None:
    """Assert that a result has the wanted kind, element type, shape and values."""
    if want is None:
        assert got is None, f"expected nothing, found {got!r:.80}"
    elif isinstance(want, dict):
        assert got == want
    elif isinstance(want, (list, tuple)):
        assert isinstance(got, list), f"expected a list, found {type(got).__name__}"
        assert len(got) == len(want), f"expected {len(want)} items, found {len(got)}"
        for one, other in zip(got, want, strict=True):
            same(one, other, rtol, atol)
    else:
        _same_array(got, np.asarray(want), rtol, atol)


def _same_array(got: Any, want: Any, rtol: float, atol: float) -> None:
    assert isinstance(got, np.ndarray), f"expected an array, found {got!r:.80}"
    assert got.shape == want.shape, f"expected shape {want.shape}, found {got.shape}"
    if want.dtype == object or want.dtype.kind in "SU":
        assert got.dtype == object, f"expected strings, found {got.dtype}"
        assert [_text(item) for item in got.flat] == [_text(item) for item in want.flat]
        return
    assert got.dtype == want.dtype, f"expected {want.dtype}, found {got.dtype}"
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
    elif want.dtype.kind == "c":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
    else:
        wide = (got.astype(np.float64), want.astype(np.float64))
        np.testing.assert_allclose(*wide, rtol=rtol, atol=atol)


def _text(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)
