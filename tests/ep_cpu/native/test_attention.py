"""Attention and rotary positions over views, groups, masks and pasts are NumPy's."""

import pytest
from beside_numpy import checked
from draws import Draw


@pytest.mark.parametrize("seed", range(30))
def test_attention(seed):
    d = Draw(seed)
    kind, opset = d.one("float32", "float32", "float16"), d.one(23, 24)
    batch, shared = d.size(2), d.size(3)
    heads, queries, keys = shared * d.size(3), d.size(12), d.size(12)
    width, past = d.size(24), d.one(0, 0, d.size(6))
    value_width = d.one(width, d.size(24))
    attributes, total = {}, keys + past
    sizes = (
        (heads, queries, width),
        (shared, keys, width),
        (shared, keys, value_width),
    )
    if d.one(True, False):
        attributes = {"q_num_heads": heads, "kv_num_heads": shared}
        shapes = [(batch, rows, count * each) for count, rows, each in sizes]
    else:
        shapes = [(batch, *size) for size in sizes]
    inputs = [
        d.operand(name, d.array(shape, kind))
        for name, shape in zip("qkv", shapes, strict=True)
    ]
    mask = d.one("", kind, "bool")
    if mask:
        lead = d.one((queries,), (1,), (batch, 1, queries), (batch, heads, queries))
        values = d.array((*lead, total), mask)
        if mask == "bool":
            values[..., 0] = True
        inputs.append(d.operand("m", values))
    outputs = ["y"]
    if past:
        inputs += [""] * (len(inputs) == 3)
        for name, each in (("before_k", width), ("before_v", value_width)):
            shape = (batch, shared, past, each)
            inputs.append(d.operand(name, d.array(shape, kind)))
        outputs += ["k_now", "v_now"]
    if d.one(True, False):
        attributes["is_causal"] = 1
    if d.one(True, False, False):
        attributes["softcap"] = 2.0
    if d.one(True, False):
        attributes["scale"] = 0.3
    d.add("Attention", inputs, *outputs, **attributes)
    tolerance = {"float32": 4e-6, "float16": 3e-3}[kind]
    checked(d.model(outputs, opset), d.feed, tolerance=tolerance, least=1.0)


@pytest.mark.parametrize("seed", range(16))
def test_rotary_positions(seed):
    d = Draw(seed)
    kind = d.one("float32", "float16")
    batch, heads, rows, width = d.size(3), d.size(4), d.size(7), 2 * d.size(12)
    turned = d.one(0, 2 * d.size(width // 2))
    half = (turned or width) // 2
    flat = d.one(True, False)
    shape = (batch, rows, heads * width) if flat else (batch, heads, rows, width)
    attributes = {"interleaved": d.one(0, 1)}
    if flat or turned:
        attributes["num_heads"] = heads
    if turned:
        attributes["rotary_embedding_dim"] = turned
    inputs = [d.operand("x", d.array(shape, kind))]
    chosen = d.one(True, False)
    cache = (rows + 5, half) if chosen else (batch, rows, half)
    inputs += [d.operand(name, d.array(cache, kind)) for name in ("cos", "sin")]
    if chosen:
        positions = d.rng.integers(0, rows + 5, (batch, rows))
        inputs.append(d.operand("p", positions))
    d.add("RotaryEmbedding", inputs, "y", **attributes)
    tolerance = {"float32": 3e-6, "float16": 2e-3}[kind]
    checked(d.model(["y"], 23), d.feed, tolerance=tolerance, least=1.0)
