"""ONNX's own cases as this suite runs them: node cases, and the models of the wheel."""

from __future__ import annotations

import functools
import glob
import os
import warnings
from typing import Any

import numpy as np
import onnx
import onnx.backend.test

DATA = os.path.join(os.path.dirname(onnx.backend.test.__file__), "data")
KINDS = ("simple", "pytorch-operator", "pytorch-converted")


@functools.cache
def node_cases() -> dict[str, Any]:
    """Return the node cases by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in collect_testcases(None)}


def model_folders() -> list[str]:
    """Return the folders of the models that come with data."""
    return sorted(path for kind in KINDS for path in glob.glob(f"{DATA}/{kind}/*"))


def light_models() -> list[str]:
    """Return the real architectures whose weights are made by the model itself."""
    return sorted(glob.glob(f"{DATA}/light/*.onnx"))


def read(path: str, info: onnx.ValueInfoProto) -> Any:
    """Read one input or output file by the type the model declares."""
    with open(path, "rb") as file:
        data = file.read()
    match info.type.WhichOneof("value"):
        case "sequence_type":
            sequence = onnx.SequenceProto.FromString(data)
            return onnx.numpy_helper.to_list(sequence)
        case "optional_type":
            optional = onnx.OptionalProto.FromString(data)
            return onnx.numpy_helper.to_optional(optional)
        case _:
            return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))


def value(item: Any) -> Any:
    """Return a case's input or output as a value: some are given as protobuf."""
    if isinstance(item, onnx.TensorProto):
        return onnx.numpy_helper.to_array(item)
    return item


def same(got: Any, want: Any, rtol: float, atol: float) -> None:
    """Assert that a result has the wanted dtype, shape and values."""
    if want is None:
        assert got is None
    elif isinstance(want, dict):
        assert got == want
    elif isinstance(want, (list, tuple)):
        assert isinstance(got, list)
        for one, other in zip(got, want, strict=True):
            same(one, other, rtol, atol)
    else:
        _same_array(got, np.asarray(want), rtol, atol)


def _same_array(got: Any, want: Any, rtol: float, atol: float) -> None:
    assert isinstance(got, np.ndarray)
    assert got.shape == want.shape
    if want.dtype == object or want.dtype.kind in "SU":
        assert got.dtype == object
        assert got.tolist() == np.vectorize(_text, otypes=[object])(want).tolist()
        return
    assert got.dtype == want.dtype
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
    elif want.dtype.kind == "c":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
    else:
        wide = (got.astype(np.float64), want.astype(np.float64))
        np.testing.assert_allclose(*wide, rtol=rtol, atol=atol)


def _text(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)
