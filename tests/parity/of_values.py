"""Probes of values, devices, memory, sparse tensors, and vectors of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from outcomes import Probe, state
from samples import X, options, session, sparse, value


def _stored(ort: Any) -> Any:
    return ort.OrtValue.ort_value_from_sparse_tensor(sparse(ort))


def _updated(ort: Any) -> Any:
    target = value(ort)
    target.update_inplace(X + 1)
    return target.numpy()


def _device(ort: Any, name: str = "cpu") -> Any:
    return ort.OrtDevice.make(name, 0)


def _types(ort: Any) -> Any:
    made = []
    for dtype in ("float32", "float64", "int8", "int64", "uint8", "float16", "bool"):
        array = np.ones(2, dtype)
        each = ort.OrtValue.ortvalue_from_numpy(array)
        made.append((each.data_type(), each.numpy().copy()))
    return made


VALUES: dict[str, Probe] = {
    "OrtValue": _types,
    "OrtValue.ortvalue_from_numpy": lambda ort: value(ort).numpy(),
    "OrtValue.ortvalue_from_numpy_with_onnx_type": lambda ort: (
        ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.full(2, 0x3F80, np.uint16), 16
        ).data_type()
    ),
    "OrtValue.ortvalue_from_shape_and_type": lambda ort: (
        ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.int32).data_type(),
        ort.OrtValue.ortvalue_from_shape_and_type([2, 3], 16).shape(),
    ),
    "OrtValue.ort_value_from_sparse_tensor": lambda ort: _stored(ort).data_type(),
    "OrtValue.as_sparse_tensor": lambda ort: _stored(ort).as_sparse_tensor().values(),
    "OrtValue.from_dlpack": lambda ort: ort.OrtValue.from_dlpack(X.copy()).numpy(),
    "OrtValue.data_ptr": lambda ort: (lambda a: ort.OrtValue.ortvalue_from_numpy(a)
        .data_ptr() == a.ctypes.data)(X.copy()),
    "OrtValue.device_name": lambda ort: value(ort).device_name(),
    "OrtValue.shape": lambda ort: (value(ort).shape(), _stored(ort).shape()),
    "OrtValue.data_type": lambda ort: value(ort).data_type(),
    "OrtValue.element_type": lambda ort: (
        value(ort).element_type(), _stored(ort).element_type()
    ),
    "OrtValue.tensor_size_in_bytes": lambda ort: value(ort).tensor_size_in_bytes(),
    "OrtValue.has_value": lambda ort: (
        value(ort).has_value(), _stored(ort).has_value()
    ),
    "OrtValue.is_tensor": lambda ort: (
        value(ort).is_tensor(), _stored(ort).is_tensor()
    ),
    "OrtValue.is_sparse_tensor": lambda ort: (
        value(ort).is_sparse_tensor(), _stored(ort).is_sparse_tensor()
    ),
    "OrtValue.is_tensor_sequence": lambda ort: value(ort).is_tensor_sequence(),
    "OrtValue.numpy": lambda ort: (np.asarray(value(ort)), value(ort).numpy()),
    "OrtValue.update_inplace": _updated,
    "OrtDevice": lambda ort: isinstance(_device(ort), ort.OrtDevice),
    "OrtDevice.make": lambda ort: _device(ort, "foo"),
    "OrtDevice.device_id": lambda ort: _device(ort).device_id(),
    "OrtDevice.device_type": lambda ort: [
        _device(ort, name).device_type() for name in ("cpu", "cuda", "npu", "dml")
    ],
    "OrtDevice.device_vendor_id": lambda ort: [
        ort.OrtDevice.make(name, 0, vendor).device_vendor_id()
        for name, vendor in (("cpu", -1), ("cuda", -1), ("npu", 0x5143), ("gpu", 0x1002))
    ],
    "OrtDevice.device_mem_type": lambda ort: _device(ort).device_mem_type(),
}  # fmt: skip

SPARSE: dict[str, Probe] = {
    "SparseTensor": lambda ort: isinstance(sparse(ort), ort.SparseTensor),
    "SparseTensor.sparse_coo_from_numpy": lambda ort: (
        sparse(ort).as_coo_view().indices()
    ),
    "SparseTensor.sparse_csr_from_numpy": lambda ort: (
        sparse(ort, "csr").as_csrc_view().outer()
    ),
    "SparseTensor.values": lambda ort: sparse(ort).values(),
    "SparseTensor.as_coo_view": lambda ort: sparse(ort, "csr").as_coo_view(),
    "SparseTensor.as_csrc_view": lambda ort: sparse(ort).as_csrc_view(),
    "SparseTensor.as_blocksparse_view": lambda ort: sparse(ort).as_blocksparse_view(),
    "SparseTensor.to_cuda": lambda ort: sparse(ort).to_cuda(_device(ort)),
    "SparseTensor.format": lambda ort: sparse(ort).format(),
    "SparseTensor.dense_shape": lambda ort: sparse(ort).dense_shape(),
    "SparseTensor.data_type": lambda ort: sparse(ort).data_type(),
    "SparseTensor.device_name": lambda ort: sparse(ort).device_name(),
    "capi.SparseCooView": lambda ort: type(sparse(ort).as_coo_view()).__name__,
    "capi.SparseCooView.indices": lambda ort: sparse(ort).as_coo_view().indices(),
    "capi.SparseCsrView": lambda ort: type(sparse(ort, "csr").as_csrc_view()).__name__,
    "capi.SparseCsrView.inner": lambda ort: sparse(ort, "csr").as_csrc_view().inner(),
    "capi.SparseCsrView.outer": lambda ort: sparse(ort, "csr").as_csrc_view().outer(),
    "capi.SparseBlockSparseView": lambda ort: state(ort).SparseBlockSparseView.__name__,
    "capi.SparseBlockSparseView.indices": lambda ort: callable(
        state(ort).SparseBlockSparseView.indices
    ),
}


def _info(ort: Any) -> Any:
    return ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )


def _arena(ort: Any, name: str) -> Any:
    made = ort.OrtArenaCfg(4, 1, 2, 3)
    before = getattr(made, name)
    setattr(made, name, 7)
    return before, getattr(made, name), getattr(ort.OrtArenaCfg({name: 9}), name)


_ARENA = (
    "max_mem", "arena_extend_strategy", "initial_chunk_size_bytes",
    "max_dead_bytes_per_chunk", "initial_growth_chunk_size_bytes",
    "max_power_of_two_extend_bytes",
)  # fmt: skip
_INFO = (
    "name", "allocator_type", "device_id", "mem_type", "device_mem_type",
    "device_vendor_id",
)  # fmt: skip


def _v2(ort: Any) -> Any:
    made = ort.OrtMemoryInfo.create_v2(
        "Mine",
        ort.OrtMemoryInfoDeviceType.GPU,
        0x10DE,
        1,
        ort.OrtDeviceMemoryType.DEFAULT,
        0,
        ort.OrtAllocatorType.ORT_DEVICE_ALLOCATOR,
    )
    return made.name, made.device_id, made.device_vendor_id


def _shared(ort: Any) -> Any:
    made = options(ort)
    made.add_session_config_entry("session.use_env_allocators", "1")
    return ort.InferenceSession(session.__defaults__[0], made).run(None, {"x": X})


MEMORY: dict[str, Probe] = {
    "OrtMemoryInfo": lambda ort: type(_info(ort)).__name__,
    "OrtMemoryInfo.create_v2": _v2,
    **{
        f"OrtMemoryInfo.{name}": (lambda ort, name=name: getattr(_info(ort), name))
        for name in _INFO
    },
    "OrtArenaCfg": lambda ort: ort.OrtArenaCfg({"nothing": 1}),
    **{
        f"OrtArenaCfg.{name}": (lambda ort, name=name: _arena(ort, name))
        for name in _ARENA
    },
    "create_and_register_allocator": lambda ort: (
        ort.create_and_register_allocator(_info(ort), ort.OrtArenaCfg({})),
        _shared(ort),
    ),
    "create_and_register_allocator_v2": lambda ort: (
        ort.create_and_register_allocator_v2(
            "CPUExecutionProvider", _info(ort), {}, ort.OrtArenaCfg({})
        )
    ),
}


def _vector(ort: Any) -> Any:
    made = state(ort).OrtValueVector()
    one = value(ort)
    made.push_back(getattr(one, "_ortvalue", one))
    return made


def _batch(ort: Any) -> Any:
    made, array = state(ort).OrtValueVector(), X.copy()
    place = _device(ort)
    made.push_back_batch(
        [array],
        [array.ctypes.data],
        [np.float32],
        [list(array.shape)],
        [getattr(place, "_ort_device", place)],
    )
    return made[0].numpy()


VECTOR: dict[str, Probe] = {
    "capi.OrtValueVector": lambda ort: [each.numpy() for each in _vector(ort)],
    "capi.OrtValueVector.push_back": lambda ort: len(_vector(ort)),
    "capi.OrtValueVector.push_back_batch": _batch,
    "capi.OrtValueVector.reserve": lambda ort: _vector(ort).reserve(3),
    "capi.OrtValueVector.shrink_to_fit": lambda ort: _vector(ort).shrink_to_fit(),
    "capi.OrtValueVector.element_type_at": lambda ort: _vector(ort).element_type_at(0),
    "capi.OrtValueVector.dlpack_at": lambda ort: _vector(ort).dlpack_at(0),
    "capi.OrtValueVector.bool_tensor_indices": lambda ort: _vector(
        ort
    ).bool_tensor_indices(),
    "capi.is_dlpack_uint8_tensor": lambda ort: [
        state(ort).is_dlpack_uint8_tensor(np.ones(2, dtype).__dlpack__())
        for dtype in (np.uint8, np.int8, np.float32)
    ],
    "capi.OrtValueVector.to_dlpacks": lambda ort: _vector(ort).to_dlpacks(None),
}

PROBES = VALUES | SPARSE | MEMORY | VECTOR
