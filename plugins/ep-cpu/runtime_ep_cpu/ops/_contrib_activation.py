"""Activations of domain com.microsoft, alone or fused behind a product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu import formulas
from runtime_ep_cpu.formulas import Math, Number
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import matmul
from runtime_ep_cpu.ops._array_math import math_of
from runtime_ep_cpu.ops._formula_kernel import formula_kernel
from runtime_ep_cpu.ops._precision import rounded, wide
from runtime_ep_cpu.ops.conv import conv

table = KernelTable()

MS = "com.microsoft"


def bias_gelu(m: Math, a: Number, b: Number) -> Number:
    """BiasGelu: Gelu of a sum."""
    return formulas.gelu(m, a + b)


def fast_gelu(m: Math, x: Number, bias: Number = None) -> Number:
    """FastGelu: Gelu by tanh, of ``x + bias`` where there is a bias."""
    return formulas.gelu_by_tanh(m, x if bias is None else x + bias)


def _gelu(m: Math, x: Number) -> Number:
    """Gelu of com.microsoft, always exact."""
    return formulas.gelu(m, x)


FORMULAS = {
    "Gelu": _gelu,
    "BiasGelu": bias_gelu,
    "FastGelu": fast_gelu,
    "QuickGelu": formulas.quick_gelu,
}
for _op, _formula in FORMULAS.items():
    table(_op, since=1, domain=MS, formula=_formula)(formula_kernel(_formula))


@table("SwiGLU", since=1, domain=MS, traits=("typed",))
def swiglu(
    gate: Any,
    up: Any = None,
    /,
    *,
    activation_alpha: float = 1.0,
    activation_beta: float = 0.0,
    limit: float = 0.0,
    round_activation: int = 0,
) -> Any:
    """SwiGLU: both halves bounded by ``limit`` > 0; without ``up``, ``gate`` holds both."""
    xp = namespace_of(gate)
    if up is None:
        if gate.ndim == 0 or gate.shape[-1] % 2:
            raise ValueError(f"a shape {list(gate.shape)} does not end in two halves")
        gate, up = xp.split(gate, 2, axis=-1)
    if gate.shape != up.shape:
        raise ValueError(
            f"inputs must have one shape, found {list(gate.shape)} and {list(up.shape)}"
        )
    dtype, hidden, linear = gate.dtype, wide(gate), wide(up)
    if limit > 0:
        hidden = xp.minimum(hidden, limit)
        linear = xp.clip(linear, -limit, limit)
    with np.errstate(all="ignore"):
        hidden = hidden * formulas.sigmoid(math_of(xp), activation_alpha * hidden)
        if round_activation:
            hidden = wide(rounded(hidden, dtype))
        return rounded(hidden * (linear + activation_beta), dtype)


# activation: its formula, and the attributes that parameters in order stand for
FUSED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Relu": (formulas.relu, ()),
    "Sigmoid": (formulas.sigmoid, ()),
    "Tanh": (formulas.tanh, ()),
    "Softplus": (formulas.softplus, ()),
    "Softsign": (formulas.softsign, ()),
    "LeakyRelu": (formulas.leaky_relu, ("alpha",)),
    "ThresholdedRelu": (formulas.thresholded_relu, ("alpha",)),
    "Elu": (formulas.elu, ("alpha",)),
    "Celu": (formulas.celu, ("alpha",)),
    "Selu": (formulas.selu, ("alpha", "gamma")),
    "HardSigmoid": (formulas.hard_sigmoid, ("alpha", "beta")),
    "Clip": (formulas.clip_by_attributes, ("min", "max")),
}


def activated(y: Any, activation: str | None, given: dict[str, float | None]) -> Any:
    """Apply a fused activation with those of its attributes that are given."""
    if not activation:
        return y
    if activation not in FUSED:
        raise ValueError(f"there is no fused activation {activation!r}")
    formula, names = FUSED[activation]
    attributes = {name: given[name] for name in names if given.get(name) is not None}
    with np.errstate(all="ignore"):
        result = formula(math_of(namespace_of(y)), y, **attributes)
    return result.astype(y.dtype, copy=False)


def _by_place(activation: str | None, values: Sequence[float]) -> dict[str, Any]:
    names = FUSED[activation][1] if activation in FUSED else ()
    return dict(zip(names, values, strict=False))


@table("FusedGemm", since=1, domain=MS)
def fused_gemm(
    a,
    b,
    c=None,
    /,
    *,
    activation=None,
    activation_alpha=None,
    activation_beta=None,
    activation_gamma=None,
    alpha=1.0,
    beta=1.0,
    transA=0,  # noqa: N803
    transB=0,  # noqa: N803
):
    """FusedGemm: Gemm and an activation with up to three parameters."""
    y = matmul.gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    given = {
        "alpha": activation_alpha,
        "beta": activation_beta,
        "gamma": activation_gamma,
    }
    return activated(y, activation, given)


@table("FusedConv", since=1, domain=MS)
def fused_conv(
    x,
    w,
    b=None,
    z=None,
    /,
    *,
    activation=None,
    activation_params=None,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """FusedConv: Conv, a sum with ``z`` and an activation, in this order."""
    y = conv(
        x,
        w,
        b,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    if z is not None:
        with np.errstate(all="ignore"):
            y += z
    return activated(y, activation, _by_place(activation, activation_params or ()))


@table("NhwcConv", since=1, domain=MS)
def nhwc_conv(
    x,
    w,
    b=None,
    /,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """NhwcConv: Conv with the channels last in input, result and each filter."""
    xp = namespace_of(x)
    y = conv(
        xp.moveaxis(x, -1, 1),
        xp.moveaxis(w, -1, 1),
        b,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return xp.moveaxis(y, 1, -1)
