"""Optimizer steps of ai.onnx.preview.training: Adagrad, Adam and Momentum."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.namespace import namespace_of

table = KernelTable()

DOMAIN = "ai.onnx.preview.training"


@table("Adagrad", since=1, domain=DOMAIN)
@np.errstate(all="ignore")
def adagrad(
    rate: Any,
    count: Any,
    /,
    *inputs: Any,
    decay_factor: float = 0.0,
    epsilon: float = 9.999999974752427e-07,
    norm_coefficient: float = 0.0,
) -> tuple[Any, ...]:
    """Adagrad: (X, G, H) of each tensor give its new X and squared gradients H."""
    step = rate.item() / (1 + count.item() * decay_factor)
    new_x, new_h = [], []
    for x, gradient, h in zip(*_groups(inputs, 3), strict=True):
        gradient = norm_coefficient * x + gradient
        h = h + gradient * gradient
        new_x.append(x - step * gradient / (namespace_of(x).sqrt(h) + epsilon))
        new_h.append(h)
    return *new_x, *new_h


@table("Adam", since=1, domain=DOMAIN)
@np.errstate(all="ignore")
def adam(
    rate: Any,
    count: Any,
    /,
    *inputs: Any,
    alpha: float = 0.8999999761581421,
    beta: float = 0.9990000128746033,
    epsilon: float = 9.999999974752427e-07,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Any, ...]:
    """Adam: (X, G, V, H) of each tensor give its new X and running means V and H."""
    step, updates = rate.item(), count.item()
    if updates > 0:
        step *= np.sqrt(1 - beta**updates) / (1 - alpha**updates)
    new_x, new_v, new_h = [], [], []
    for x, gradient, v, h in zip(*_groups(inputs, 4), strict=True):
        gradient = norm_coefficient * x + gradient
        v = alpha * v + (1 - alpha) * gradient
        h = beta * h + (1 - beta) * gradient * gradient
        x = x - float(step) * v / (namespace_of(x).sqrt(h) + epsilon)
        new_x.append((1 - norm_coefficient_post) * x)
        new_v.append(v)
        new_h.append(h)
    return *new_x, *new_v, *new_h


@table("Momentum", since=1, domain=DOMAIN)
@np.errstate(all="ignore")
def momentum(
    rate: Any,
    count: Any,
    /,
    *inputs: Any,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[Any, ...]:
    """Momentum: (X, G, V) of each tensor give its new X and momentum V."""
    if mode not in ("nesterov", "standard"):
        raise ValueError(f"mode must be nesterov or standard, found {mode!r}")
    step = rate.item()
    beta = beta if count.item() > 0 else 1.0
    new_x, new_v = [], []
    for x, gradient, v in zip(*_groups(inputs, 3), strict=True):
        gradient = norm_coefficient * x + gradient
        v = alpha * v + beta * gradient
        direction = gradient + alpha * v if mode == "nesterov" else v
        new_x.append(x - step * direction)
        new_v.append(v)
    return *new_x, *new_v


def _groups(inputs: tuple[Any, ...], count: int) -> list[tuple[Any, ...]]:
    """Split the variadic inputs, which list all X, then all G, and so on."""
    if len(inputs) % count:
        raise ValueError(
            f"{len(inputs)} tensors were given, which is no multiple of {count}"
        )
    size = len(inputs) // count
    return [inputs[i * size : (i + 1) * size] for i in range(count)]
