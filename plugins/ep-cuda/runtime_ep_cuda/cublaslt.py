"""cublasLt through ctypes: products by the algorithms that its heuristics recommend.

Names in capitals are those of ``cublasLt.h``, ``cublas_api.h`` and ``library_types.h``;
what it does is said in `cublaslt_lowering`.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from runtime_ep_cuda.cublaslt_lowering import Lowered, Side, lower, refusal
from runtime_ep_cuda.operations import Operation, Product

logger = logging.getLogger("runtime")

MARK = b"cublasLt:"
"""What saved algorithms begin with."""

SUCCESS = 0
"""CUBLAS_STATUS_SUCCESS."""

TYPES = {"float32": 0, "float16": 2, "int8": 3, "int32": 10, "bfloat16": 14}
"""cudaDataType_t: CUDA_R_32F, CUDA_R_16F, CUDA_R_8I, CUDA_R_32I, CUDA_R_16BF."""

COMPUTE_32F, COMPUTE_32I, COMPUTE_32F_FAST_TF32 = 68, 72, 77
"""cublasComputeType_t: CUBLAS_COMPUTE_…."""

OP_N, OP_T = 0, 1
"""cublasOperation_t: CUBLAS_OP_…."""

DESC_TRANSA, DESC_TRANSB, DESC_EPILOGUE, DESC_BIAS_POINTER = 3, 4, 7, 8
"""cublasLtMatmulDescAttributes_t: CUBLASLT_MATMUL_DESC_…."""

LAYOUT_BATCH_COUNT, LAYOUT_STRIDED_BATCH_OFFSET = 5, 6
"""cublasLtMatrixLayoutAttribute_t: CUBLASLT_MATRIX_LAYOUT_…."""

PREF_MAX_WORKSPACE_BYTES = 1
PREF_MIN_ALIGNMENT_BYTES = (5, 6, 7, 8)
"""cublasLtMatmulPreferenceAttributes_t: CUBLASLT_MATMUL_PREF_…; A, B, C, D."""


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t: may be stored and used again with the same version."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class HeuristicResult(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


_P = ctypes.c_void_p
_INT, _SIZE, _LONG = ctypes.c_int, ctypes.c_size_t, ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "Create": (_P,),
    "Destroy": (_P,),
    "MatmulDescCreate": (_P, _INT, _INT),
    "MatmulDescDestroy": (_P,),
    "MatmulDescSetAttribute": (_P, _INT, _P, _SIZE),
    "MatmulDescGetAttribute": (_P, _INT, _P, _SIZE, _P),
    "MatrixLayoutCreate": (_P, _INT, ctypes.c_uint64, ctypes.c_uint64, _LONG),
    "MatrixLayoutDestroy": (_P,),
    "MatrixLayoutSetAttribute": (_P, _INT, _P, _SIZE),
    "MatrixLayoutGetAttribute": (_P, _INT, _P, _SIZE, _P),
    "MatmulPreferenceCreate": (_P,),
    "MatmulPreferenceDestroy": (_P,),
    "MatmulPreferenceSetAttribute": (_P, _INT, _P, _SIZE),
    "MatmulAlgoGetHeuristic": (_P, _P, _P, _P, _P, _P, _P, _INT, _P, _P),
    "MatmulAlgoCheck": (_P, _P, _P, _P, _P, _P, _P, _P),
    "Matmul": (_P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _SIZE, _P),
}
"""Arguments by name without ``cublasLt``; every function returns a cublasStatus_t."""


@cache
def library() -> Any:
    """Load libcublasLt and say what its functions take."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    loaded = ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)
    for name, arguments in _SIGNATURES.items():
        function = getattr(loaded, f"cublasLt{name}")
        function.argtypes, function.restype = arguments, ctypes.c_int
    return loaded


def call(name: str, *arguments: Any) -> None:
    """Call a function of cublasLt; ``RuntimeError`` with its status where it fails."""
    status = getattr(library(), f"cublasLt{name}")(*arguments)
    if status != SUCCESS:
        raise RuntimeError(f"cublasLt{name} failed with cublasStatus_t {status}")


class Device:
    """cublasLt on the device that is current when it is first used.

    At most ``most`` algorithms are asked for.
    """

    def __init__(self, most: int = 8):
        self.most = most
        self._handle: int | None = None

    @property
    def handle(self) -> int:
        """cublasLt's handle, made when it is first asked for."""
        if self._handle is None:
            handle = _P()
            call("Create", ctypes.byref(handle))
            self._handle = int(handle.value or 0)
        return self._handle

    def close(self) -> None:
        """Give the handle back."""
        if self._handle is not None:
            call("Destroy", self._handle)
            self._handle = None


class Descriptors:
    """A lowered product's descriptors, destroyed with it."""

    def __init__(self, lowered: Lowered, tf32: bool = False):
        self._made: list[tuple[str, int]] = []
        whole = lowered.a.dtype == "int8"
        compute = COMPUTE_32F_FAST_TF32 if tf32 else COMPUTE_32F
        scale = TYPES["int32" if whole else "float32"]
        self.product = self._create(
            "MatmulDesc", COMPUTE_32I if whole else compute, scale
        )
        self._set("MatmulDesc", self.product, DESC_TRANSA, _turn(lowered.a))
        self._set("MatmulDesc", self.product, DESC_TRANSB, _turn(lowered.b))
        epilogue = ctypes.c_uint32(lowered.epilogue)
        self._set("MatmulDesc", self.product, DESC_EPILOGUE, epilogue)
        if lowered.bias >= 0:
            self.bias(lowered.alignments[-1])  # what heuristics read of it
        self.a, self.b = self._layout(lowered.a), self._layout(lowered.b)
        self.c, self.d = self._layout(lowered.c), self._layout(lowered.d)
        number: Any = ctypes.c_int32 if whole else ctypes.c_float
        self.alpha = number(int(lowered.alpha) if whole else lowered.alpha)
        self.beta = number(1 if lowered.residual >= 0 else 0)

    def bias(self, address: int) -> None:
        """Say where the bias lies."""
        self._set("MatmulDesc", self.product, DESC_BIAS_POINTER, _P(address))

    def preference(self, limit: int, alignments: Sequence[int]) -> int:
        """Return the limits that heuristics should keep to."""
        made = self._create("MatmulPreference")
        size = ctypes.c_uint64(limit)
        self._set("MatmulPreference", made, PREF_MAX_WORKSPACE_BYTES, size)
        for attribute, bytes_ in zip(PREF_MIN_ALIGNMENT_BYTES, alignments, strict=True):
            self._set("MatmulPreference", made, attribute, ctypes.c_uint32(bytes_))
        return made

    def layouts(self) -> tuple[int, int, int, int]:
        """The layouts of A, B, C and D."""
        return self.a, self.b, self.c, self.d

    def _layout(self, side: Side) -> int:
        made = self._create(
            "MatrixLayout", TYPES[side.dtype], side.rows, side.columns, side.ld
        )
        count = ctypes.c_int32(side.batch)
        self._set("MatrixLayout", made, LAYOUT_BATCH_COUNT, count)
        offset = ctypes.c_int64(side.offset)
        self._set("MatrixLayout", made, LAYOUT_STRIDED_BATCH_OFFSET, offset)
        return made

    def _create(self, kind: str, *arguments: int) -> int:
        made = _P()
        call(f"{kind}Create", ctypes.byref(made), *arguments)
        self._made.append((kind, int(made.value or 0)))
        return self._made[-1][1]

    def _set(self, kind: str, descriptor: int, attribute: int, value: Any) -> None:
        size = ctypes.sizeof(value)
        call(f"{kind}SetAttribute", descriptor, attribute, ctypes.byref(value), size)

    def __del__(self) -> None:
        for kind, made in self._made:
            getattr(library(), f"cublasLt{kind}Destroy")(made)


def _turn(side: Side) -> Any:
    return ctypes.c_int32(OP_T if side.turned else OP_N)


class Candidate:
    """A product by one algorithm, as a `driver.Candidate`."""

    def __init__(
        self,
        device: Device,
        lowered: Lowered,
        descriptors: Descriptors,
        algorithm: Algorithm,
        workspace: int,
    ):
        self.name = f"cublasLt {bytes(algorithm).hex()[:24]}"
        self.workspace = workspace
        self._device = device
        self._lowered = lowered
        self._descriptors = descriptors
        self._algorithm = algorithm

    def run(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        """Begin it; the pointers are a, b, the operands, y."""
        made, lowered = self._descriptors, self._lowered
        a, b, *operands, y = pointers
        if lowered.bias >= 0:
            made.bias(operands[lowered.bias])
        c = operands[lowered.residual] if lowered.residual >= 0 else y
        call(
            "Matmul",
            self._device.handle,
            made.product,
            ctypes.byref(made.alpha),
            b,
            made.a,
            a,
            made.b,
            ctypes.byref(made.beta),
            c,
            made.c,
            y,
            made.d,
            ctypes.byref(self._algorithm),
            workspace,
            self.workspace,
            stream,
        )

    def save(self) -> bytes:
        """Return the algorithm's bytes."""
        return MARK + bytes(self._algorithm)


def candidates(device: Device, operation: Operation, limit: int) -> list[Candidate]:
    """Return what cublasLt's heuristics recommend; none where it refuses the product."""
    reason = refusal(operation)
    if reason:
        logger.debug("cublasLt refuses %s: %s", operation, reason)
        return []
    try:
        return list(_recommended(device, operation, limit))
    except RuntimeError as error:
        logger.debug("cublasLt refuses %s: %s", operation, error)
        return []


def _recommended(
    device: Device, operation: Operation, limit: int
) -> Iterator[Candidate]:
    assert isinstance(operation, Product)
    lowered = lower(operation)
    made = Descriptors(lowered, operation.tf32)
    preference = made.preference(limit, lowered.alignments[:4])
    results = (HeuristicResult * device.most)()
    count = ctypes.c_int()
    call(
        "MatmulAlgoGetHeuristic",
        device.handle,
        made.product,
        *made.layouts(),
        preference,
        device.most,
        results,
        ctypes.byref(count),
    )
    for result in results[: count.value]:
        if result.state == SUCCESS:
            algorithm = Algorithm.from_buffer_copy(result.algorithm)
            workspace = int(result.workspace)
            yield Candidate(device, lowered, made, algorithm, workspace)


def restore(device: Device, operation: Operation, saved: bytes) -> Candidate | None:
    """Return a candidate that was saved, or ``None`` where it does not fit here."""
    size = len(MARK) + ctypes.sizeof(Algorithm)
    if refusal(operation) or len(saved) != size or not saved.startswith(MARK):
        return None
    assert isinstance(operation, Product)
    lowered = lower(operation)
    try:
        made = Descriptors(lowered, operation.tf32)
        algorithm = Algorithm.from_buffer_copy(saved[len(MARK) :])
        result = HeuristicResult()
        call(
            "MatmulAlgoCheck",
            device.handle,
            made.product,
            *made.layouts(),
            ctypes.byref(algorithm),
            ctypes.byref(result),
        )
    except RuntimeError as error:
        logger.debug("cublasLt cannot restore %s: %s", operation, error)
        return None
    return Candidate(device, lowered, made, algorithm, int(result.workspace))
