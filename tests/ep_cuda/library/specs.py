"""Short ways to say operations: tensors' specs by layout, convolutions, products."""

from math import prod

from runtime_ep_cuda.operations import Attention, Convolution, Pointwise, Product, Spec


def rows(dtype, *shape):
    """A spec in C order."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return Spec(dtype, shape, tuple(strides))


def image(dtype, *shape):
    """A spec whose channels are innermost."""
    rank = len(shape)
    strides, step = [0] * rank, 1
    for axis in (1, *reversed(range(2, rank)), 0):
        strides[axis], step = step, step * shape[axis]
    return Spec(dtype, shape, tuple(strides))


def vector(dtype, count, rank=4):
    """A spec of one number a channel, to be broadcast over an image."""
    return image(dtype, 1, count, *(1,) * (rank - 2))


def convolution(
    x,
    w,
    *,
    dtype="float16",
    out=None,
    pads=0,
    end=None,
    strides=1,
    dilations=1,
    groups=1,
    transposed=False,
    extra=0,
    operands=(),
    epilogue=(),
    tf32=False,
    lay=image,
):
    """A convolution of shapes, everything else as said, y's shape as it follows."""
    rank = len(x) - 2

    def wide(value):
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank

    begin, strides, dilations = wide(pads), wide(strides), wide(dilations)
    end, extra = wide(pads if end is None else end), wide(extra)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, w[2:], strict=True)]
    axes = zip(x[2:], begin, end, strides, spans, extra, strict=True)
    if transposed:
        sizes = [s * (n - 1) + e + t - b - a for n, b, a, s, t, e in axes]
        channels = w[1] * groups
    else:
        sizes = [(n + b + a - t) // s + 1 for n, b, a, s, t, _ in axes]
        channels = w[0]
    return Convolution(
        lay(dtype, *x),
        lay(dtype, *w),
        lay(out or dtype, x[0], channels, *sizes),
        begin,
        end,
        strides,
        dilations,
        groups,
        transposed,
        tuple(operands),
        tuple(epilogue),
        tf32,
    )


def product(a, b, *, dtype="float16", out=None, columns=False, **rest):
    """A product of shapes; ``columns`` says that b lies transposed in memory."""
    right = rows(dtype, *b)
    if columns:
        right = Spec(dtype, b, (b[1] * b[2], 1, b[1]))
    return Product(rows(dtype, *a), right, rows(out or dtype, a[0], a[1], b[2]), **rest)


def attention(
    q, k, *, values=None, dtype="float16", bias=None, causal="", scale=0.125, tf32=False
):
    """Attention of shapes that lie as (batch, length, heads, size) in memory."""

    def heads(shape):
        _, count, length, size = shape
        strides = (length * count * size, size, count * size, 1)
        return Spec(dtype, tuple(shape), strides)

    v = (*k[:3], values or k[3])
    y = (*q[:3], v[3])
    spec = None if bias is None else rows(dtype, *bias)
    return Attention(heads(q), heads(k), heads(v), heads(y), scale, causal, spec, tf32)


def biased(operand=0):
    """The step that adds an operand."""
    return Pointwise("add", operand)


def scaled(operand=0):
    """The step that multiplies by an operand."""
    return Pointwise("mul", operand)
