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


class Group:
    """Random inputs of GroupQueryAttention and the rows of its results that count."""

    def __init__(self, seed, prompt, packed, rotary, groups):
        random = self.random = np.random.default_rng(seed)
        self.batch, self.heads, self.groups, size = 2, 4, groups, 16
        self.prompt = prompt
        self.new = 4 if prompt else 1
        past = np.zeros(2, int) if prompt else random.integers(1, 6, 2)
        self.counts = past + self.new
        if prompt:
            self.counts[1] -= random.integers(0, 3)
        self.total = int(self.counts.max())
        room = 0 if prompt else self.total + int(random.integers(0, 3))
        cached = (self.batch, groups, room, size)
        rows = (self.batch, self.new)
        if packed:
            parts = [floats(random, *rows, (4 + 2 * groups) * size), None, None]
        else:
            sizes = (4 * size, groups * size, groups * size)
            parts = [floats(random, *rows, width) for width in sizes]
        self.inputs = [
            *parts,
            floats(random, *cached) if room else None,
            floats(random, *cached) if room else None,
            (self.counts - 1).astype(np.int32),
            np.array(self.total, np.int32),
            floats(random, 20, size // 2) if rotary else None,
            floats(random, 20, size // 2) if rotary else None,
            None,
            None,
            None,
        ]
        self.attributes = {"num_heads": 4, "kv_num_heads": groups}
        if rotary:
            self.attributes["do_rotary"] = 1

    def check(self, outputs=3, **attributes):
        """Compare what is no padding."""
        attributes = {**self.attributes, **attributes}
        op = "GroupQueryAttention"
        want = by_onnxruntime(op, self.inputs, attributes, 1, MS, outputs)
        got = run(op, self.inputs, outputs, **attributes)
        for ours, theirs in zip(got, want, strict=True):
            assert ours.shape == theirs.shape
        for image, count in enumerate(self.counts.tolist()):
            rows = slice(0, count if self.prompt else self.new)
            parts = [(rows,), (slice(None), slice(0, count))]
            parts = [parts[0], parts[1], parts[1], (slice(None), rows, slice(0, count))]
            for ours, theirs, part in zip(got, want, parts, strict=False):
                np.testing.assert_allclose(
                    ours[image][part], theirs[image][part], rtol=1e-3, atol=1e-4
                )


GROUPS = st.builds(
    Group,
    SEEDS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 4]),
)


@given(GROUPS, st.sampled_from([{}, {"softcap": 2.0}, {"scale": 0.1}, {"causal": 0}]))
def test_groups_of_queries_share_keys(group, attributes):
    group.check(**attributes)


@given(GROUPS, st.integers(1, 4), FLAGS)
def test_a_window_limits_how_far_back_a_query_sees(group, size, smooth):
    group.check(local_window_size=size, smooth_softmax=smooth)


@given(GROUPS, st.booleans(), st.sampled_from([0, 1, 2]))
def test_a_sink_takes_a_part_of_each_softmax(group, given_sink, shown):
    if given_sink:
        group.inputs[11] = floats(group.random, 4)
    group.check(4 if shown else 3, smooth_softmax=1, qk_output=shown)


@given(GROUPS, st.sampled_from([0, 1, 2]))
def test_a_bias_is_added_to_the_scores(group, shown):
    group.inputs[10] = floats(group.random, 1, 4, group.new, group.total)
    group.check(4 if shown else 3, qk_output=shown)


def test_queries_and_keys_may_be_normalized_first():
    group = Group(3, True, False, True, 2)
    size = 16
    weight = floats(group.random, size), floats(group.random, size)
    plain = list(group.inputs[:2])
    for number, part in enumerate(plain):
        heads = part.reshape(*part.shape[:2], -1, size).astype(np.float64)
        mean = (heads**2).mean(axis=-1, keepdims=True)
        normal = heads / np.sqrt(mean + 1e-6) * weight[number]
        group.inputs[number] = normal.reshape(part.shape).astype(np.float32)
    want = run("GroupQueryAttention", group.inputs, 3, **group.attributes)
    inputs = [*plain, *group.inputs[2:], None, None, *weight]
    got = run("GroupQueryAttention", inputs, 3, **group.attributes)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_float32():
    group = Group(4, False, False, True, 2)
    want = run("GroupQueryAttention", group.inputs, 3, **group.attributes)
    inputs = [
        x.astype(np.float16) if x is not None and x.dtype == np.float32 else x
        for x in group.inputs
    ]
    got = run("GroupQueryAttention", inputs, 3, **group.attributes)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == np.float16
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=2e-2)


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


@pytest.mark.parametrize(
    ("attributes", "counts", "message"),
    [
        ({"k_quant_type": "PER_TENSOR"}, [3, 3], "not supported"),
        ({"sliding_window_cache": 1}, [3, 3], "not supported"),
        ({}, [9, 3], "do not fit"),
        ({}, [3], "needs 2 entries"),
        ({"do_rotary": 1}, [3, 3], "needs cos_cache"),
    ],
)
def test_groups_that_make_no_sense_are_refused(attributes, counts, message):
    group = Group(5, True, False, False, 2)
    group.inputs[5] = np.array(counts, np.int32)
    with pytest.raises(EngineError, match=message):
        run("GroupQueryAttention", group.inputs, **group.attributes, **attributes)
