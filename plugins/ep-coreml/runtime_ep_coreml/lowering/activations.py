"""Activations: element-wise functions of floats with constants as attributes."""

from __future__ import annotations

from runtime_ep_coreml.guards import floating
from runtime_ep_coreml.lowering.broadcast import zeros_like
from runtime_ep_coreml.lowering.reductions import first_of_best
from runtime_ep_coreml.scope import Handle, Scope
from runtime_ep_coreml.table import lowers

FLOATS = (floating,)
PLAIN = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "Softsign": "softsign",
    "Relu": "relu",
}  # fmt: skip


@lowers("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh", guards=FLOATS)
def plain(at: Scope) -> Handle:
    """An activation that is one operation without parameters."""
    return at.op(PLAIN[at.node.op_type], x=at.x())


def _with_alpha(at: Scope, kind: str, default: float) -> Handle:
    x = at.x()
    return at.op(kind, x=x, alpha=at.like(x, at.attr("alpha", default)))


@lowers("LeakyRelu", guards=FLOATS)
def leaky_relu(at: Scope) -> Handle:
    """X where it is positive, alpha · x elsewhere."""
    return _with_alpha(at, "leaky_relu", 0.01)


@lowers("Elu", guards=FLOATS)
def elu(at: Scope) -> Handle:
    """X where it is positive, alpha · (eˣ - 1) elsewhere."""
    return _with_alpha(at, "elu", 1.0)


@lowers("Celu", guards=FLOATS)
def celu(at: Scope) -> Handle:
    """Elu stretched: alpha · elu(x / alpha)."""
    x, alpha = at.x(), at.attr("alpha", 1.0)
    inner = at.op("mul", x=x, y=at.like(x, 1 / alpha))
    made = at.op("elu", x=inner, alpha=at.like(x, 1.0))
    return at.op("mul", x=made, y=at.like(x, alpha))


@lowers("Selu", guards=FLOATS)
def selu(at: Scope) -> Handle:
    """Elu scaled by gamma."""
    x = at.x()
    made = at.op("elu", x=x, alpha=at.like(x, at.attr("alpha", 1.6732632)))
    return at.op("mul", x=made, y=at.like(x, at.attr("gamma", 1.050701)))


@lowers("ThresholdedRelu", guards=FLOATS)
def thresholded_relu(at: Scope) -> Handle:
    """X above alpha, zero elsewhere; MIL's own operation keeps alpha itself."""
    x = at.x()
    above = at.op("greater", x=x, y=at.like(x, at.attr("alpha", 1.0)))
    return at.op("select", cond=above, a=x, b=zeros_like(at, x))


@lowers("HardSigmoid", guards=FLOATS)
def hard_sigmoid(at: Scope) -> Handle:
    """Alpha · x + beta, cut off at 0 and 1."""
    x = at.x()
    alpha, beta = at.attr("alpha", 0.2), at.attr("beta", 0.5)
    return at.op("sigmoid_hard", x=x, alpha=at.like(x, alpha), beta=at.like(x, beta))


@lowers("HardSwish", guards=FLOATS)
def hard_swish(at: Scope) -> Handle:
    """X · hard sigmoid of x."""
    x = at.x()
    gate = at.op("sigmoid_hard", x=x, alpha=at.like(x, 1 / 6), beta=at.like(x, 0.5))
    return at.op("mul", x=x, y=gate)


@lowers("Swish", guards=FLOATS)
def swish(at: Scope) -> Handle:
    """X · sigmoid(alpha · x)."""
    x, alpha = at.x(), at.attr("alpha", 1.0)
    if alpha == 1.0:
        return at.op("silu", x=x)
    gate = at.op("sigmoid", x=at.op("mul", x=x, y=at.like(x, alpha)))
    return at.op("mul", x=x, y=gate)


@lowers("Mish", guards=FLOATS)
def mish(at: Scope) -> Handle:
    """X · tanh(softplus(x))."""
    x = at.x()
    return at.op("mul", x=x, y=at.op("tanh", x=at.op("softplus", x=x)))


@lowers("Gelu", guards=FLOATS)
def gelu(at: Scope) -> Handle:
    """Exact, or by the hyperbolic tangent."""
    exact = at.attr("approximate", "none") == "none"
    return at.op("gelu", x=at.x(), mode="EXACT" if exact else "TANH_APPROXIMATION")


@lowers("PRelu", guards=FLOATS, since=9)
def prelu(at: Scope) -> Handle:
    """X where it is positive, slope · x elsewhere; the slope broadcasts."""
    x = at.x()
    positive = at.op("relu", x=x)
    negative = at.op("minimum", x=x, y=at.like(x, 0))
    return at.op("add", x=positive, y=at.op("mul", x=negative, y=at.x(1)))


@lowers("Shrink", guards=FLOATS)
def shrink(at: Scope) -> Handle:
    """Zero within ±lambd, shifted by bias towards zero outside."""
    x, limit, bias = at.x(), at.attr("lambd", 0.5), at.attr("bias", 0.0)
    low = at.op("less", x=x, y=at.like(x, -limit))
    high = at.op("greater", x=x, y=at.like(x, limit))
    up = at.op("add", x=x, y=at.like(x, bias))
    down = at.op("sub", x=x, y=at.like(x, bias))
    above = at.op("select", cond=high, a=down, b=zeros_like(at, x))
    return at.op("select", cond=low, a=up, b=above)


@lowers("Softmax", guards=FLOATS, since=13)
def softmax(at: Scope) -> Handle:
    """Along one axis."""
    x = at.x()
    return at.op("softmax", x=x, axis=at.axis(x, -1))


@lowers("LogSoftmax", guards=FLOATS, since=13)
def log_softmax(at: Scope) -> Handle:
    """X less the logarithm of the sum of exponentials."""
    x = at.x()
    axis = at.axis(x, -1)
    total = at.op("reduce_log_sum_exp", x=x, axes=[axis], keep_dims=True)
    return at.op("sub", x=x, y=total)


@lowers("Hardmax", guards=FLOATS, since=13)
def hardmax(at: Scope) -> Handle:
    """One at the first maximum along an axis, zero elsewhere."""
    x = at.x()
    axis = at.axis(x, -1)
    best = first_of_best(at, x, axis)
    places = at.aligned(range(at.fixed(x)[axis]), at.rank(x), axis).astype("int32")
    return at.cast(at.op("equal", x=best, y=at.constant(places)), at.kind(x))
