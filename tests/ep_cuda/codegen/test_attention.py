"""Attention equals the CPU provider's in float64, by tiles and key by key."""

from types import SimpleNamespace

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
from runtime_ep_cpu.ops.attention import attention as expected
from runtime_ep_cuda.codegen.attention import attention, attention_scratch

FLAT = (0, 2, 1, 3)
"""Heads side by side in rows, as products leave them."""


def attended(name, q, k, dtype=np.float32, *, width=0, order=None, kinds=None, **rules):
    """Return an example; q and k are shapes, ``mask`` and ``bias`` arrays in rules."""
    arrays = {
        word: rules.pop(word) for word in ("mask", "bias", "valid") if word in rules
    }
    hot = rules.pop("scale", q[3] ** -0.5)
    v = (*k[:3], width or k[3])
    shape = (*q[:3], v[3])
    values = [normal(shape, seed) for seed, shape in enumerate((q, k, v))]
    for number, place, value in rules.pop("spoiled", ()):
        values[number][place] = value
    inputs = [given(value, dtype, order=order) for value in values]
    inputs += [given(array, (kinds or {}).get(word)) for word, array in arrays.items()]
    y = wanted(dtype, shape, order=order)
    need = attention_scratch(*(tensor for tensor, _ in inputs[:3]))

    def make(*tensors):
        extra = dict(zip(arrays, tensors[3:], strict=False))
        count = 3 + len(arrays)
        scratch = tensors[count + 1] if need else None
        return attention(
            *tensors[:3], tensors[count], hot, **extra, **rules, scratch=scratch
        )

    def reference(q, k, v, *others):
        extra = dict(zip(arrays, others, strict=True))
        return of_float64(q, k, v, hot, extra, rules)

    half = np.dtype(dtype).itemsize < 4
    off = {2: 1e-5, 4: 4e-6, 8: 1e-13}[np.dtype(dtype).itemsize]
    return Example(
        name, inputs, [y], make, reference, ulps=2 if half else 8, absolute=off,
        scratch=[wanted(np.uint8, (need,))] if need else [],
    )  # fmt: skip


def of_float64(q, k, v, scale, extra, rules):
    """Return what the CPU provider gives; past keys are cut off to be given as such."""
    past = rules.get("past", 0)
    mask = extra.get("mask")
    if "bias" in extra:
        both = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
        mask = both + extra["bias"]
    call = SimpleNamespace(wanted=(True,), version=25)
    valid = extra.get("valid")
    kept = (k[:, :, :past], v[:, :, :past]) if past else (None, None)
    y, *_ = expected(
        q, k[:, :, past:], v[:, :, past:], mask, *kept, valid,
        call=call, is_causal=int(rules.get("causal", False)), scale=scale,
        left_window_size=rules.get("left", -1), right_window_size=rules.get("right", -1),
        softcap=rules.get("softcap", 0.0),
    )  # fmt: skip
    return y


def some_masks(rows, keys):
    """Return masks by name: hidden keys, a hidden row, numbers, several shapes."""
    draw = np.random.default_rng(9)
    shown = draw.random((2, 1, rows, keys)) < 0.6
    shown[0, 0, min(3, rows - 1)] = False
    added = draw.normal(size=(4, rows, keys))
    added[:, :, ::5] = -np.inf
    return {
        "shown": shown,
        "padding": np.arange(keys)
        < np.array([keys - 3, keys // 2]).reshape(2, 1, 1, 1),
        "added": added,
        "row": draw.normal(size=(1, keys)),
    }


def rules_of(rows, keys):
    """Yield every rule by name."""
    masks = some_masks(rows, keys)
    for name, mask in masks.items():
        yield name, {"mask": mask}
    yield "mask and bias", {"mask": masks["shown"], "bias": masks["added"]}
    yield "causal", {"causal": True}
    yield "causal after past", {"causal": True, "past": keys - rows}
    yield "window", {"left": 7, "right": 3, "past": 2}
    yield "causal window", {"left": 5, "causal": True, "mask": masks["padding"]}
    yield "softcap", {"softcap": 1.5, "mask": masks["row"]}
    yield "valid keys", {"valid": np.array([keys - 4, rows]), "causal": True}


def of_shapes():
    """Yield heads of many sizes, types and layouts."""
    for dtype in (np.float32, np.float16, BFLOAT16, np.float64):
        kind = np.dtype(dtype).name
        yield attended(f"tiles {kind}", (1, 2, 70, 64), (1, 2, 45, 64), dtype)
        yield attended(
            f"keys {kind}", (1, 4, 1, 64), (1, 2, 150, 64), dtype, order=FLAT
        )
        yield attended(
            f"small {kind}", (2, 2, 19, 24), (2, 1, 33, 24), dtype, order=FLAT
        )
    yield attended("a head of 128", (1, 2, 40, 128), (1, 1, 50, 128))
    yield attended("a head of 256", (1, 1, 20, 256), (1, 1, 19, 256), np.float16)
    yield attended("an odd head", (1, 2, 17, 37), (1, 2, 21, 37), width=13)
    yield attended("a wider value", (1, 2, 17, 16), (1, 2, 21, 16), width=80)
    yield attended("a large head", (1, 2, 11, 320), (1, 2, 70, 320), np.float16)
    yield attended("an odd key", (1, 2, 3, 37), (1, 2, 90, 37), width=75)
    yield attended("strided", (1, 2, 12, 8), (1, 2, 9, 8), order=(3, 0, 2, 1))
    yield attended("strided keys", (1, 2, 2, 8), (1, 2, 9, 8), order=(3, 0, 2, 1))
    yield attended("many queries", (2, 3, 1400, 16), (2, 1, 6, 16))
    yield attended("large doubles", (1, 1, 9, 256), (1, 1, 7, 256), np.float64)


SPOILED = (
    (0, (0, 0, 1, 2), np.nan),
    (0, (0, 1, 2), np.inf),
    (0, (1, 0, 3), 1e-40),
    (0, (1, 1, 4), 1e30),
    (1, (1, 0, 5, 6), -np.inf),
    (2, (0, 0, 7, 8), np.inf),
    (2, (0, 1, 8, 9), np.nan),
)
"""Values of q, k and v by their places, which make some results infinite or NaN."""


def examples():
    """Yield all examples of attention."""
    yield from of_shapes()
    for way, rows in (("tiles", 20), ("keys", 5)):
        shapes = (2, 2, rows, 16), (2, 2, 70, 16)
        yield attended(f"spoiled {way}", *shapes, spoiled=SPOILED)
    for way, rows in (("tiles", 37), ("keys", 6)):
        for name, rule in rules_of(rows, 43):
            shapes = (2, 4, rows, 32), (2, 2, 43, 32)
            yield attended(f"{way}: {name}", *shapes, **rule)
    masks = some_masks(3, 200)
    yield attended(
        "cut keys with a mask", (2, 4, 3, 16), (2, 4, 200, 16), np.float16,
        mask=masks["shown"], bias=masks["added"], kinds={"bias": np.float16},
    )  # fmt: skip
    yield attended(
        "cut and causal", (1, 2, 2, 16), (1, 2, 300, 16), causal=True, past=100
    )


def sunk(name, q, k, dtype=np.float32, *, mask=None, causal=False):
    """Return an example whose heads have numbers beside their scores."""
    values = [normal(shape, seed) for seed, shape in enumerate((q, k, k))]
    sinks = np.linspace(-2, 3, q[1])
    inputs = [given(value, dtype) for value in (*values, sinks)]
    inputs += [] if mask is None else [given(mask, dtype)]
    need = attention_scratch(*(tensor for tensor, _ in inputs[:3]))

    def make(q, k, v, sink, *rest):
        mask_, y, scratch = [*((None,) if mask is None else ()), *rest, None][:3]
        return attention(
            q, k, v, y, 0.5, sink=sink, mask=mask_, causal=causal, scratch=scratch
        )

    def reference(q, k, v, sink, mask=None):
        k, v = (np.repeat(part, q.shape[1] // k.shape[1], axis=1) for part in (k, v))
        scores = 0.5 * q @ k.swapaxes(2, 3) + (0 if mask is None else mask)
        if causal:
            scores[..., ~np.tri(*scores.shape[2:], dtype=bool)] = -np.inf
        extra = np.broadcast_to(sink.reshape(-1, 1, 1), (*scores.shape[:3], 1))
        every = np.concatenate([scores, extra], axis=3)
        weights = np.exp(every - every.max(axis=3, keepdims=True))
        return weights[..., :-1] @ v / weights.sum(axis=3, keepdims=True)

    return Example(
        name, inputs, [wanted(dtype, q)], make, reference,
        ulps=2 if np.dtype(dtype).itemsize < 4 else 8, absolute=1e-5,
        scratch=[wanted(np.uint8, (need,))] if need else [],
    )  # fmt: skip


def sinks():
    """Yield heads with sinks by tiles, key by key, and by chunks of keys."""
    hidden = np.zeros((1, 1, 20, 45))
    hidden[:, :, 2], hidden[:, :, 5, ::2] = -np.inf, -np.inf
    for dtype in (np.float32, np.float16, np.float64):
        kind = np.dtype(dtype).name
        yield sunk(f"sinks by tiles {kind}", (2, 4, 20, 32), (2, 2, 45, 32), dtype)
        yield sunk(f"sinks by keys {kind}", (2, 4, 3, 32), (2, 2, 45, 32), dtype)
        yield sunk(f"sinks by chunks {kind}", (1, 4, 1, 32), (1, 2, 300, 32), dtype)
    shapes = (2, 4, 20, 32), (2, 2, 45, 32)
    yield sunk("sinks of hidden keys", *shapes, mask=hidden)
    yield sunk("sinks and causal", *shapes, causal=True)


EXAMPLES = [*examples(), *sinks()]


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_attention_equals_the_cpu_provider(example, device):
    check(example, device)
