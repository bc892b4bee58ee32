"""SparseTensor: values with their coordinates, in the layouts onnxruntime has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.api.devices import OrtDevice
from runtime.api.enums import OrtSparseFormat
from runtime.valuetypes import ELEMENT_TYPES, element_code


@dataclass(frozen=True, slots=True)
class SparseCooView:
    """A COO tensor's coordinates: linear, or one row of coordinates for each value."""

    _indices: Any

    def indices(self) -> Any:
        """Return them, read-only, of int64."""
        return self._indices


@dataclass(frozen=True, slots=True)
class SparseCsrView:
    """A CSR matrix's columns, and where each row begins."""

    _inner: Any
    _outer: Any

    def inner(self) -> Any:
        """Return each value's column, read-only."""
        return self._inner

    def outer(self) -> Any:
        """Return where each row's values begin, and their number at the end, read-only."""
        return self._outer


@dataclass(frozen=True, slots=True)
class SparseBlockSparseView:
    """A block-sparse tensor's coordinates."""

    _indices: Any

    def indices(self) -> Any:
        """Return them, read-only, of int32."""
        return self._indices


class SparseTensor:
    """A tensor of which only some values are stored; it lives on the host."""

    def __init__(
        self, layout: OrtSparseFormat, shape: Sequence[int], values: Any, *index: Any
    ) -> None:
        self._layout = layout
        self._shape = [int(dim) for dim in shape]
        self._values = _read_only(np.asarray(values))
        self._index = tuple(_read_only(np.asarray(each)) for each in index)

    @staticmethod
    def sparse_coo_from_numpy(
        dense_shape: Sequence[int],
        values: Any,
        coo_indices: Any,
        ort_device: OrtDevice | None = None,
    ) -> SparseTensor:
        """Make a COO tensor; indices are linear, or a pair of coordinates for each value.

        Raises ``RuntimeError`` for indices that are not as many as the values, or lie
        outside the shape.
        """
        indices = np.asarray(coo_indices, np.int64)
        given = indices.size // 2 if indices.ndim == 2 else indices.size
        if given != np.size(values):
            raise RuntimeError(
                f"{given} coordinates for {np.size(values)} values: give one for each"
            )
        if indices.ndim == 2 and len(dense_shape) != 2:
            raise RuntimeError("pairs of coordinates need a dense shape of two dims")
        limits = dense_shape if indices.ndim == 2 else [int(np.prod(dense_shape))]
        if indices.size and ((indices < 0).any() or (indices >= limits).any()):
            raise RuntimeError(f"an index lies outside the shape {list(dense_shape)}")
        layout = OrtSparseFormat.ORT_SPARSE_COO
        return SparseTensor(layout, dense_shape, values, indices)

    @staticmethod
    def sparse_csr_from_numpy(
        dense_shape: Sequence[int],
        values: Any,
        inner_indices: Any,
        outer_indices: Any,
        ort_device: OrtDevice | None = None,
    ) -> SparseTensor:
        """Make a CSR matrix from each value's column and where each row begins.

        Raises ``RuntimeError`` for indices that do not fit the values or the shape.
        """
        inner = np.asarray(inner_indices, np.int64)
        outer = np.asarray(outer_indices, np.int64)
        if inner.size != np.size(values):
            raise RuntimeError(f"{inner.size} columns for {np.size(values)} values")
        if len(dense_shape) != 2 or outer.size not in (0, dense_shape[0] + 1):
            raise RuntimeError(
                f"{outer.size} row starts for the shape {list(dense_shape)}; give one "
                "more than there are rows"
            )
        layout = OrtSparseFormat.ORT_SPARSE_CSRC
        return SparseTensor(layout, dense_shape, values, inner, outer)

    def values(self) -> Any:
        """Return the stored values, read-only."""
        return self._values

    def as_coo_view(self) -> SparseCooView:
        """Return the coordinates of a COO tensor; another layout is a RuntimeError."""
        self._must_be(OrtSparseFormat.ORT_SPARSE_COO, "COO")
        return SparseCooView(*self._index)

    def as_csrc_view(self) -> SparseCsrView:
        """Return the indices of a CSR matrix; another layout is a RuntimeError."""
        self._must_be(OrtSparseFormat.ORT_SPARSE_CSRC, "CSR(C)")
        return SparseCsrView(*self._index)

    def as_blocksparse_view(self) -> SparseBlockSparseView:
        """Return the coordinates of blocks; another layout is a RuntimeError."""
        self._must_be(OrtSparseFormat.ORT_SPARSE_BLOCK_SPARSE, "BlockSparse")
        return SparseBlockSparseView(*self._index)

    def _must_be(self, layout: OrtSparseFormat, name: str) -> None:
        if self._layout != layout:
            raise RuntimeError(
                f"This sparse tensor does not contain {name} format; it is "
                f"{self._layout.name}"
            )

    def to_cuda(self, ort_device: OrtDevice) -> SparseTensor:
        """Refuse: sparse tensors live on the host."""
        raise RuntimeError(
            "sparse tensors live on the host here; give numpy() to a device instead"
        )

    def format(self) -> OrtSparseFormat:
        """Return the layout."""
        return self._layout

    def dense_shape(self) -> list[int]:
        """Return the shape with every value in it."""
        return list(self._shape)

    def data_type(self) -> str:
        """Return the type as ``sparse_tensor(float)``."""
        return f"sparse_tensor({ELEMENT_TYPES[self.element_type()].name})"

    def element_type(self) -> int:
        """Return the ONNX number of the element type."""
        return element_code(self._values.dtype)

    def device_name(self) -> str:
        """Return ``cpu``."""
        return "cpu"

    def numpy(self) -> Any:
        """Return the tensor with every value in it, zeros included."""
        dense = np.zeros(self._shape, self._values.dtype)
        if self._layout == OrtSparseFormat.ORT_SPARSE_CSRC:
            inner, outer = self._index
            rows = np.repeat(np.arange(len(outer) - 1), np.diff(outer))
            dense[rows, inner] = self._values
        elif self._index[0].ndim == 2:
            dense[tuple(self._index[0].T)] = self._values
        else:
            dense.reshape(-1)[self._index[0]] = self._values
        return dense


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
