"""Products in cublasLt's words: which way matrices lie, what its epilogues can do.

cublasLt thinks in columns. A product y = a b of rows is, read by columns, yᵀ = bᵀ aᵀ:
hence its ``A`` is our b, its ``B`` our a, its rows our columns, and its bias, one number
a row, is one number a column of ours.

| | what is done here |
|---|---|
| types | float32 (true, or TF32 where allowed), float16, bfloat16: to itself or float32 |
| int8 | to int32, without epilogue; a in rows, b in columns; K, N, row lengths multiples of 4 |
| memory | a, b: one of the last two strides is 1; y and the residual: rows |
| epilogue | one bias (y's type, one number a column) and one residual (y's type and shape), |
| | in any order; then, last, ``relu`` or ``gelu_tanh`` |
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from runtime_ep_cuda.operations import Operation, Product, Spec

EPILOGUE_DEFAULT, EPILOGUE_RELU, EPILOGUE_BIAS, EPILOGUE_GELU = 1, 2, 4, 32
"""cublasLtEpilogue_t: CUBLASLT_EPILOGUE_…; a bias is added to the others by or."""

_ACTIVATIONS = {"relu": EPILOGUE_RELU, "gelu_tanh": EPILOGUE_GELU}
_SIZES = {"float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


class Side(NamedTuple):
    """A matrix as cublasLt sees it: columns ``ld`` elements apart, maybe turned."""

    dtype: str
    rows: int
    columns: int
    ld: int
    turned: bool
    batch: int
    offset: int


class Lowered(NamedTuple):
    """A product in cublasLt's words; operands by their place, -1 where there is none.

    ``alignments`` are those of A, B, C, D and the bias in bytes.
    """

    a: Side
    b: Side
    d: Side
    c: Side
    alpha: float
    epilogue: int
    bias: int
    residual: int
    alignments: tuple[int, ...]


def refusal(operation: Operation) -> str:
    """Return why an operation is no product for cublasLt, or nothing if it is."""
    try:
        lower(operation)
    except ValueError as reason:
        return str(reason)
    return ""


def lower(operation: Operation) -> Lowered:
    """Say a product in cublasLt's words; ``ValueError`` with the reason if it cannot."""
    if not isinstance(operation, Product):
        raise ValueError("it is no product")
    product = folded(operation)
    a, b, y = product.a, product.b, product.y
    whole = a.dtype == "int8"
    _check_types(product)
    batch = y.shape[0]
    left, right = _side(b, batch), _side(a, batch)
    result = _side(y, batch)
    if result.turned:
        raise ValueError("its result does not lie in rows")
    epilogue, bias, residual = _epilogue(product)
    if whole:
        _check_whole(product, left, right, result)
    other = _side(product.operands[residual], batch) if residual >= 0 else result
    if other.turned:
        raise ValueError("its residual does not lie in rows")
    added = product.operands[residual] if residual >= 0 else y
    aligned = [
        _alignment(spec, side)
        for spec, side in ((b, left), (a, right), (added, other), (y, result))
    ]
    aligned.append(product.operands[bias].alignment if bias >= 0 else 16)
    return Lowered(
        left,
        right,
        result,
        other,
        product.alpha,
        epilogue,
        bias,
        residual,
        tuple(aligned),
    )


def folded(product: Product) -> Product:
    """Make a batch of matrices that share b one tall matrix, where memory allows it."""
    if product.b.shape[0] != 1 or product.y.shape[0] == 1:
        return product
    full = [product.a, product.y]
    full += [spec for spec in product.operands if not _is_vector(spec)]
    if not all(
        len(spec.shape) == 3
        and spec.shape[:2] == product.y.shape[:2]
        and spec.strides[0] == spec.shape[1] * spec.strides[1]
        for spec in full
    ):
        return product

    def tall(spec: Spec) -> Spec:
        batch, rows, columns = spec.shape
        return spec._replace(shape=(1, batch * rows, columns))

    operands = tuple(
        spec if _is_vector(spec) else tall(spec) for spec in product.operands
    )
    return Product(
        tall(product.a),
        product.b,
        tall(product.y),
        product.alpha,
        operands,
        product.epilogue,
        product.tf32,
    )


def _is_vector(spec: Spec) -> bool:
    """Whether a tensor has no axis but the last that is longer than one."""
    return all(
        dim == 1 or step == 0
        for dim, step in zip(spec.shape[:-1], spec.strides[:-1], strict=True)
    )


def _check_types(product: Product) -> None:
    a, b, y = product.a.dtype, product.b.dtype, product.y.dtype
    halves = ("float16", "bfloat16")
    floats = a in ("float32", *halves) and y in (a, "float32")
    if a != b or not (floats or (a, y) == ("int8", "int32")):
        raise ValueError(f"it has no product of {a} and {b} to {y}")


def _check_whole(product: Product, left: Side, right: Side, result: Side) -> None:
    if product.epilogue or product.alpha != 1.0:
        raise ValueError("products of int8 have no epilogue")
    if not left.turned or right.turned:
        raise ValueError("products of int8 need a in rows and b in columns")
    sizes = (left.rows, left.columns, left.ld, right.ld, result.ld)
    if any(size % 4 for size in sizes):
        raise ValueError("products of int8 need sizes that are multiples of 4")


def _epilogue(product: Product) -> tuple[int, int, int]:
    """Return the epilogue, and which operands are the bias and the residual."""
    bias = residual = -1
    kind, width = 0, product.y.shape[2]
    for step in product.epilogue:
        if kind:
            raise ValueError("it does nothing after an activation")
        if step.mode in _ACTIVATIONS:
            kind = _ACTIVATIONS[step.mode]
            continue
        if step.mode != "add" or step.operand < 0:
            raise ValueError(f"its epilogue has no {step.mode}")
        operand = product.operands[step.operand]
        if operand.dtype != product.y.dtype:
            raise ValueError("what it adds must have the result's type")
        if _is_vector(operand) and operand.shape[-1:] == (width,) and bias < 0:
            if width != 1 and operand.strides[-1] != 1:
                raise ValueError("its bias has gaps")
            bias = step.operand
        elif operand.shape == product.y.shape and residual < 0:
            residual = step.operand
        else:
            raise ValueError("it adds one bias and one residual at most")
    kind |= EPILOGUE_BIAS if bias >= 0 else 0
    return kind or EPILOGUE_DEFAULT, bias, residual


def _side(spec: Spec, batch: int) -> Side:
    """See a (batch, rows, columns) tensor by columns: what was a row is a column."""
    if len(spec.shape) != 3 or spec.shape[0] not in (1, batch):
        raise ValueError("its matrices must have the shape (batch, rows, columns)")
    _, rows, columns = spec.shape
    between, step = spec.strides[1:]
    offset = 0 if spec.shape[0] == 1 else spec.strides[0]
    if (step == 1 or columns == 1) and (between >= columns or rows == 1):
        ld = between if rows > 1 else columns
        return Side(spec.dtype, columns, rows, ld, False, batch, offset)
    if (between == 1 or rows == 1) and (step >= rows or columns == 1):
        ld = step if columns > 1 else rows
        return Side(spec.dtype, rows, columns, ld, True, batch, offset)
    raise ValueError("its matrices must have neighbours in memory along one axis")


def _alignment(spec: Spec, side: Side) -> int:
    """By how many bytes the first element of each matrix of a batch can be divided."""
    return gcd(spec.alignment, side.offset * _SIZES[spec.dtype])
