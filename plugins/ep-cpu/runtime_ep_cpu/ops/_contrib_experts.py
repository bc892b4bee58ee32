"""Mixtures of experts: each row goes through the experts its router prefers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu import formulas
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._array_math import math_of
from runtime_ep_cpu.ops._contrib_blocks import BITS, unpacked
from runtime_ep_cpu.ops._precision import rounded, wide
from runtime_ep_cpu.ops._products import product
from runtime_ep_cpu.ops.activation import softmax

table = KernelTable()

MS = "com.microsoft"
Layer = Callable[[int], tuple[Any, Any]]
"""Gives an expert's weights [to, from] and its bias, which may be ``None``."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What stands between the layers of an expert.

    ``fusion`` tells how gate and linear part of SwiGLU lie in the first layer's result:
    1 alternating, 2 one after the other, 0 in a layer of its own. ``limit_after`` bounds
    the activated gate instead of the gate.
    """

    kind: str
    fusion: int
    alpha: float
    beta: float
    limit: float | None
    limit_after: int = 0

    def __call__(self, hidden: Any, linear: Any) -> Any:
        """Apply it to the first layer's result and the third's, if there is one."""
        xp = namespace_of(hidden)
        m = math_of(xp)
        if self.kind == "swiglu":
            return self._gated(xp, m, hidden, linear)
        formula = {
            "relu": formulas.relu,
            "gelu": formulas.gelu_by_tanh,
            "silu": lambda m, x: x * formulas.sigmoid(m, x),
            "identity": lambda m, x: x,
        }.get(self.kind)
        if formula is None:
            raise ValueError(f"there is no activation_type {self.kind!r}")
        hidden = formula(m, hidden)
        return hidden if linear is None else hidden * linear

    def _gated(self, xp: Any, m: Any, hidden: Any, linear: Any) -> Any:
        half = hidden.shape[-1] // 2
        if self.fusion == 1:
            hidden, linear = hidden[..., ::2], hidden[..., 1::2]
        elif self.fusion == 2:
            hidden, linear = hidden[..., :half], hidden[..., half:]
        elif linear is None:
            raise ValueError("swiglu needs the third layer, or swiglu_fusion")
        if self.limit is not None and not self.limit_after:
            hidden = xp.minimum(hidden, self.limit)
        hidden = hidden * formulas.sigmoid(m, self.alpha * hidden)
        if self.limit is not None:
            linear = xp.clip(linear, -self.limit, self.limit)
            if self.limit_after:
                hidden = xp.minimum(hidden, self.limit)
        return hidden * (linear + self.beta)


def _routes(logits: Any, given: Any, k: int, normalize: bool) -> tuple[Any, Any]:
    """Return the experts of each row and their weights, ``[rows, k]`` both.

    Of equal experts the last wins, as in onnxruntime.
    """
    xp = namespace_of(logits)
    experts = logits.shape[-1]
    if not 1 <= k <= experts:
        raise ValueError(f"k is {k}, but there are {experts} experts")
    backwards = xp.argsort(-logits[:, ::-1], axis=1, kind="stable")
    chosen = experts - 1 - backwards[:, :k]
    if given is not None:
        weights = xp.take_along_axis(given, chosen, axis=1)
        if normalize:
            with np.errstate(all="ignore"):
                weights = weights / weights.sum(axis=1, keepdims=True)
    elif normalize:
        weights = softmax(xp.take_along_axis(logits, chosen, axis=1), 1)
    else:
        weights = xp.take_along_axis(softmax(logits, 1), chosen, axis=1)
    return chosen, weights


def _mixed(
    x: Any,
    chosen: Any,
    weights: Any,
    layers: tuple[Layer, Layer, Layer | None],
    activation: Activation,
) -> Any:
    """Return the sum of the experts' results, one expert at a time."""
    xp = namespace_of(x)
    y = xp.zeros(x.shape, x.dtype)
    with np.errstate(all="ignore"):
        for expert in sorted(set(chosen.reshape(-1).tolist())):
            rows, places = xp.nonzero(chosen == expert)
            seen = x[rows]
            linear = None if layers[2] is None else _through(seen, layers[2](expert))
            hidden = activation(_through(seen, layers[0](expert)), linear)
            result = _through(hidden, layers[1](expert))
            y[rows] += result * weights[rows, places, None]
    return y


def _through(x: Any, layer: tuple[Any, Any]) -> Any:
    weights, bias = layer
    if weights.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"an expert's weights {list(weights.shape)} do not fit {x.shape[-1]} inputs"
        )
    y = product(x, weights.T)
    return y if bias is None else y + bias


def _rows(x: Any, router: Any, experts: int) -> tuple[Any, Any]:
    """Return the input and the router's logits as rows."""
    if x.ndim not in (2, 3) or router.ndim != 2:
        raise ValueError(
            f"an input {list(x.shape)} and routes {list(router.shape)} are no rows"
        )
    rows = x.reshape(-1, x.shape[-1])
    if router.shape != (len(rows), experts):
        raise ValueError(
            f"routes of shape {list(router.shape)} do not fit {len(rows)} rows and "
            f"{experts} experts"
        )
    return rows, router


@table("MoE", since=1, domain=MS)
def moe(
    x,
    router_probs,
    fc1_experts_weights,
    fc1_experts_bias,
    fc2_experts_weights,
    fc2_experts_bias=None,
    fc3_experts_weights=None,
    fc3_experts_bias=None,
    /,
    *,
    activation_alpha=1.0,
    activation_beta=0.0,
    activation_type="relu",
    k=1,
    normalize_routing_weights=0,
    swiglu_fusion=0,
    swiglu_limit=None,
    swiglu_limit_after_activation=0,
    use_sparse_mixer=0,
):
    """MoE: the ``k`` best experts of each row, weighed by softmax of their logits.

    The softmax is over all experts, with ``normalize_routing_weights`` over the chosen.
    """
    if use_sparse_mixer:
        raise ValueError("use_sparse_mixer is not supported")

    def layer(weights: Any, bias: Any) -> Layer:
        return lambda expert: (weights[expert], None if bias is None else bias[expert])

    experts = _experts(
        fc1_experts_weights,
        fc2_experts_weights,
        fc3_experts_weights,
        fc1_experts_bias,
        fc2_experts_bias,
        fc3_experts_bias,
    )
    rows, logits = _rows(x, router_probs, experts)
    chosen, weights = _routes(logits, None, k, normalize_routing_weights)
    third = fc3_experts_weights is not None
    layers = (
        layer(fc1_experts_weights, fc1_experts_bias),
        layer(fc2_experts_weights, fc2_experts_bias),
        layer(fc3_experts_weights, fc3_experts_bias) if third else None,
    )
    activation = Activation(
        activation_type,
        swiglu_fusion,
        activation_alpha,
        activation_beta,
        swiglu_limit,
        swiglu_limit_after_activation,
    )
    return _mixed(rows, chosen, weights, layers, activation).reshape(x.shape)


def _experts(first: Any, second: Any, third: Any, *others: Any) -> int:
    """Return how many experts there are; every layer and bias must have as many."""
    weights = [part for part in (first, second, third) if part is not None]
    if any(part.ndim != 3 for part in weights):
        shapes = [list(part.shape) for part in weights]
        raise ValueError(f"weights must be one matrix per expert, found {shapes}")
    parts = [*weights, *(part for part in others if part is not None)]
    counts = [part.shape[0] if part.ndim else 0 for part in parts]
    if len(set(counts)) > 1:
        raise ValueError(f"the layers differ in their number of experts: {counts}")
    return counts[0]


def _packed(
    weights: Any, scales: Any, zeros: Any, bias: Any, bits: int, block: int
) -> Layer:
    """Return the layer whose weights are unpacked when an expert needs them."""
    if bits not in BITS:
        raise ValueError(f"weights of {bits} bits are not supported, only of {BITS}")
    if scales is None:
        raise ValueError("there are weights without scales")

    def layer(expert: int) -> tuple[Any, Any]:
        values = unpacked(weights[expert], bits, weights.shape[-1] * 8 // bits)
        count, length = values.shape
        scale = wide(scales[expert]).reshape(count, -1)
        blocks = scale.shape[1]
        if length % blocks or (block and length // blocks != block):
            raise ValueError(f"{blocks} scales do not fit {length} weights in a row")
        values = values.reshape(count, blocks, -1)
        values -= _zeros(zeros, expert, bits, count, blocks)
        values *= scale[:, :, None]
        own = None if bias is None else wide(bias[expert])
        return values.reshape(count, length), own

    return layer


def _zeros(zeros: Any, expert: int, bits: int, count: int, blocks: int) -> Any:
    if zeros is None:
        return np.float32(1 << (bits - 1))
    if zeros.ndim == 2:
        return unpacked(zeros[expert], bits, count).reshape(count, 1, 1)
    return unpacked(zeros[expert], bits, blocks).reshape(count, blocks, 1)


@table("QMoE", since=1, domain=MS, traits=("typed",))
def qmoe(
    x,
    router_probs,
    fc1_experts_weights,
    fc1_scales,
    fc1_experts_bias,
    fc2_experts_weights,
    fc2_scales=None,
    fc2_experts_bias=None,
    fc3_experts_weights=None,
    fc3_scales=None,
    fc3_experts_bias=None,
    fc1_zero_points=None,
    fc2_zero_points=None,
    fc3_zero_points=None,
    router_weights=None,
    fc1_global_scale=None,
    fc2_global_scale=None,
    fc1_act_scale=None,
    fc2_act_scale=None,
    fc1_act_block_scale=None,
    fc2_act_block_scale=None,
    /,
    *,
    accuracy_level=0,
    activation_alpha=1.0,
    activation_beta=0.0,
    activation_type="relu",
    block_size=None,
    expert_weight_bits=4,
    fc1_expert_weight_bits=None,
    fc2_expert_weight_bits=None,
    fc3_expert_weight_bits=None,
    k=1,
    normalize_routing_weights=0,
    quant_type="int",
    swiglu_fusion=0,
    swiglu_limit=None,
    swiglu_limit_after_activation=0,
    use_sparse_mixer=0,
    weights_prepacked=-1,
):
    """QMoE: MoE with weights of 2, 4 or 8 bits, scales per row or per block of a row.

    An expert's weights are unpacked when a row needs it. ``router_weights`` weigh the
    experts that ``router_probs`` choose; without them the softmax is always over the
    chosen, as in onnxruntime.
    """
    if quant_type != "int":
        raise ValueError(f"quant_type {quant_type!r} is not supported, only 'int'")
    if use_sparse_mixer or weights_prepacked == 1:
        raise ValueError("use_sparse_mixer and prepacked weights are not supported")
    first = (fc1_experts_weights, fc1_scales, fc1_zero_points, fc1_experts_bias)
    second = (fc2_experts_weights, fc2_scales, fc2_zero_points, fc2_experts_bias)
    third = (fc3_experts_weights, fc3_scales, fc3_zero_points, fc3_experts_bias)
    experts = _experts(
        first[0], second[0], third[0], *first[1:], *second[1:], *third[1:]
    )
    rows, logits = _rows(wide(x), wide(router_probs), experts)
    given = None if router_weights is None else wide(router_weights)
    normalize = normalize_routing_weights or given is None
    chosen, weights = _routes(logits, given, k, normalize)
    block = block_size or 0
    bits = [
        own or expert_weight_bits
        for own in (
            fc1_expert_weight_bits,
            fc2_expert_weight_bits,
            fc3_expert_weight_bits,
        )
    ]
    layers = (
        _packed(*first, bits[0], block),
        _packed(*second, bits[1], block),
        None if third[0] is None else _packed(*third, bits[2], block),
    )
    activation = Activation(
        activation_type,
        swiglu_fusion,
        activation_alpha,
        activation_beta,
        swiglu_limit,
        swiglu_limit_after_activation,
    )
    y = _mixed(rows, chosen, weights, layers, activation)
    return rounded(y.reshape(x.shape), x.dtype)
