"""Turned pairs equal the CPU provider's in float64."""

import numpy as np
import pytest
from codegen.examples import (
    BFLOAT16,
    Example,
    check,
    given,
    name_of,
    normal,
    prepared,
    wanted,
)
from runtime_ep_cpu.ops.attention import rotary_embedding
from runtime_ep_cuda.codegen.rotary import heads, rotary


def turned(name, shape, dtype, *, part=0, positions=None, interleaved=False, **layout):
    """Return an example over (batch, heads, length, size), or a flat tensor of it."""
    batch, count, length, size = shape
    flat = layout.pop("flat", False)
    whole = (batch, length, count * size) if flat else shape
    half = (part or size) // 2
    lead = (batch, length) if positions is None else (50,)
    angles = normal((*lead, half), 1)
    kind = layout.pop("cache", dtype)
    inputs = [
        given(normal(whole), dtype, **layout),
        given(np.cos(angles), kind),
        given(np.sin(angles), kind),
    ]
    if positions is not None:
        inputs.append(given(positions))

    def make(x, cos, sin, *rest):
        y = rest[-1]
        at = rest[0] if positions is not None else None
        x, y = (heads(x, count), heads(y, count)) if flat else (x, y)
        return rotary(x, cos, sin, y, at, interleaved=interleaved, turned=part)

    def reference(x, cos, sin, at=None):
        if at is not None and at.ndim == 1:
            at = np.tile(at + np.arange(length), (batch, 1))
        inside = np.clip(at, 0, 49) if at is not None else None
        y = rotary_embedding(
            x, cos, sin, inside, interleaved=int(interleaved),
            num_heads=count if flat else None, rotary_embedding_dim=part,
        )  # fmt: skip
        if at is not None and (inside != at).any():
            y.transpose(0, 2, 1, 3)[inside != at, :, : 2 * half] = np.nan
        return y

    return Example(
        name, inputs, [wanted(dtype, whole, **layout)], make, reference,
        ulps=1, absolute=4e-7 if np.dtype(dtype).itemsize < 8 else 1e-15,
    )  # fmt: skip


def examples():
    """Yield heads of many sizes and types, with caches and with positions."""
    at = np.random.default_rng(3).integers(0, 50, (2, 5))
    for interleaved in (False, True):
        way = "neighbours" if interleaved else "halves"
        ways = {"interleaved": interleaved}
        for dtype in (np.float32, np.float16, BFLOAT16, np.float64):
            kind = f"{way} {np.dtype(dtype).name}"
            yield turned(kind, (2, 3, 5, 32), dtype, **ways)
            yield turned(
                f"{kind} flat", (2, 3, 5, 16), dtype, flat=True, positions=at, **ways
            )
        yield turned(f"{way} part", (2, 2, 5, 48), np.float16, part=16, **ways)
        yield turned(f"{way} odd", (1, 2, 3, 14), np.float16, part=6, **ways)
        yield turned(f"{way} all odd", (1, 2, 3, 10), np.float32, offset=1, **ways)
        order = {"order": (3, 0, 2, 1), **ways}
        yield turned(f"{way} strided", (2, 3, 4, 8), np.float32, **order)
        first = np.array([7])
        yield turned(f"{way} first", (2, 3, 4, 8), np.float32, positions=first, **ways)
        outside = np.array([[0, 49, 50, -1]], np.int32)
        yield turned(
            f"{way} outside", (1, 2, 4, 8), np.float32, positions=outside, **ways
        )
        mixed = {"cache": np.float32, **ways}
        yield turned(f"{way} mixed", (1, 2, 4, 64), np.float16, **mixed)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_turned_pairs_equal_the_cpu_provider(example, device):
    check(example, device)
