"""Attention of com.microsoft against onnxruntime: masks, biases, caches, positions."""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError

MS = "com.microsoft"
SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])
MASKS = st.sampled_from(["none", "lengths", "keys", "queries"])


def floats(random, *shape):
    return random.standard_normal(shape).astype(np.float32)


def run(op, inputs, outputs=1, **attributes):
    return run_node(op, inputs, attributes, 1, MS, outputs)


def check(op, inputs, outputs=1, **attributes):
    want = by_onnxruntime(op, inputs, attributes, 1, MS, outputs)
    got = run(op, inputs, outputs, **attributes)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-3)


def mask_of(kind, random, batch, queries, keys):
    if kind == "lengths":
        return random.integers(1, keys + 1, batch).astype(np.int32)
    shapes = {"keys": (batch, keys), "queries": (batch, queries, keys)}
    if kind not in shapes:
        return None
    kept = random.integers(0, 2, shapes[kind]).astype(np.int32)
    kept[..., 0] = 1
    return kept


@given(SEEDS, FLAGS, st.booleans(), st.booleans(), st.booleans())
def test_positions_turn_pairs(seed, interleaved, four, shifted, part):
    random = np.random.default_rng(seed)
    batch, length, heads, size = 2, 3, 2, 8
    shape = (batch, heads, length, size) if four else (batch, length, heads * size)
    x = floats(random, *shape)
    places = random.integers(0, 9, (batch, length))
    if shifted:
        places = random.integers(0, 9, 1)
    width = 2 if part else size // 2
    cos, sin = floats(random, 12, width), floats(random, 12, width)
    attributes = {"rotary_embedding_dim": 4, "num_heads": heads} if part else {}
    inputs = [x, places, cos, sin]
    check("RotaryEmbedding", inputs, interleaved=interleaved, **attributes)


@given(SEEDS, MASKS, st.booleans(), st.booleans(), st.booleans(), FLAGS)
def test_multi_head_attention(seed, kind, biased, past, wide, causal):
    random = np.random.default_rng(seed)
    batch, queries, heads, size = 2, 3, 2, 4
    before = 2 if past else 0
    keys = 3 if causal else int(random.integers(1, 5))
    value_size = 6 if wide and not past else size
    total = before + keys
    inputs = [
        floats(random, batch, queries, heads * size),
        floats(random, batch, keys, heads * size),
        floats(random, batch, keys, heads * value_size),
        floats(random, heads * (2 * size + value_size)) if biased else None,
        mask_of(kind, random, batch, queries, total),
        floats(random, 1, heads, queries, total) if biased else None,
        floats(random, batch, heads, before, size) if past else None,
        floats(random, batch, heads, before, value_size) if past else None,
    ]
    check("MultiHeadAttention", inputs, 3, num_heads=heads, unidirectional=causal)


def test_queries_keys_and_values_may_be_packed():
    random = np.random.default_rng(0)
    packed = floats(random, 2, 3, 2, 3, 4)
    apart = [packed[:, :, :, n].reshape(2, 3, 8) for n in range(3)]
    want = run("MultiHeadAttention", apart, num_heads=2)[0]
    got = run("MultiHeadAttention", [packed], num_heads=2)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    pairs = packed[:, :, :, 1:]
    got = run("MultiHeadAttention", [apart[0], pairs], num_heads=2)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    cached = [packed[:, :, :, n].transpose(0, 2, 1, 3) for n in (1, 2)]
    got = run("MultiHeadAttention", [apart[0], *cached], num_heads=2)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_fourth_result_are_the_masked_scores():
    random = np.random.default_rng(1)
    q, k, v = (floats(random, 1, 2, 4) for _ in range(3))
    inputs = [q, k, v]
    y, _, _, scores = run(
        "MultiHeadAttention", inputs, 4, num_heads=1, unidirectional=1
    )
    assert scores[0, 0, 0, 1] == np.finfo(np.float32).min
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(y[0], weights[0, 0] @ v[0], rtol=1e-5)


def test_the_past_may_be_the_beginning_of_a_buffer():
    random = np.random.default_rng(2)
    q, k, v = (floats(random, 1, 1, 8) for _ in range(3))
    past = [floats(random, 1, 2, 3, 4) for _ in range(2)]
    want = run("MultiHeadAttention", [q, k, v, *[None] * 3, *past], 3, num_heads=2)
    buffers = [np.concatenate([p, p], axis=2) for p in past]
    before = [buffer.copy() for buffer in buffers]
    inputs = [q, k, v, *[None] * 3, *buffers, np.array([3], np.int32)]
    got = run("MultiHeadAttention", inputs, 3, num_heads=2)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_array_equal(got[1][:, :, :4], want[1])
    np.testing.assert_array_equal(buffers, before)


@given(
    SEEDS,
    st.sampled_from(["none", "lengths", "keys", "queries", "ends"]),
    st.booleans(),
    st.booleans(),
    FLAGS,
)
def test_attention_projects_first(seed, kind, past, wide, causal):
    random = np.random.default_rng(seed)
    batch, length, heads, size, width = 2, 3, 2, 4, 5
    before = 2 if past else 0
    value_size = 6 if wide and not past else size
    total = before + length
    columns = heads * (2 * size + value_size)
    mask = mask_of(kind, random, batch, length, total)
    if kind == "ends":
        mask = np.array([total, total - 1, 0, 1], np.int32)
    inputs = [
        floats(random, batch, length, width),
        floats(random, width, columns),
        floats(random, columns),
        mask,
        floats(random, 2, batch, heads, before, size) if past else None,
        None if past else floats(random, batch, heads, length, total),
    ]
    attributes = {"num_heads": heads, "unidirectional": causal}
    if value_size != size:
        attributes["qkv_hidden_sizes"] = [
            heads * size,
            heads * size,
            heads * value_size,
        ]
    check("Attention", inputs, 2 if past else 1, **attributes)


X = np.ones((1, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("inputs", "attributes", "message"),
    [
        ([X], {}, "needs keys and values"),
        ([X, X, X], {"num_heads": 3}, "does not divide into 3 heads"),
        ([X, X[:, :1], X], {}, "do not fit each other"),
        ([X, X, X, np.ones(5, np.float32)], {}, "a bias of"),
        ([X, X, X, None, np.ones((1, 7), np.int32)], {}, "a mask of shape"),
        (
            [X, X, X, None, None, np.ones((1, 1, 2, 3), np.float32)],
            {},
            "attention_bias",
        ),
        ([X, X, X, *[None] * 3, np.ones((1, 1, 2, 4), np.float32)], {}, "together"),
    ],
)
def test_attention_that_makes_no_sense_is_refused(inputs, attributes, message):
    with pytest.raises(EngineError, match=message):
        run("MultiHeadAttention", inputs, **{"num_heads": 1, **attributes})
