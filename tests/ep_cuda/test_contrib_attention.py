"""Attention of com.microsoft on the double equals the CPU provider's."""

import numpy as np
import pytest
from single import Single, floats

TYPES = {np.float32: 2e-6, np.float16: 3e-3}
BATCH, QUERIES, HEADS, SIZE = 2, 3, 2, 8


def mask_of(kind, keys):
    random = np.random.default_rng(5)
    lengths = np.array([keys, max(keys - 1, 1)], np.int32)
    square = random.integers(0, 2, (BATCH, 1, 9, 9)).astype(np.int32)
    square[..., 0] = 1
    return {
        "none": None,
        "lengths": lengths,
        "ranges": np.concatenate([lengths, np.array([0, 1], np.int32)]),
        "offsets": np.concatenate([lengths, np.arange(6, dtype=np.int32)]),
        "keys": square[:, 0, 0, :keys],
        "queries": square[:, 0, :QUERIES, :keys],
        "squares": square,
    }[kind]


MASKS = ("none", "lengths", "ranges", "offsets", "keys", "queries", "squares")


def heads(kind, *, biased=False, past=0, added=False, dtype=np.float32, keys=QUERIES):
    random = np.random.default_rng(1)
    total, width = past + keys, HEADS * SIZE
    cache = (BATCH, HEADS, past, SIZE)
    return [
        floats(random, BATCH, QUERIES, width, dtype=dtype),
        floats(random, BATCH, keys, width, dtype=dtype),
        floats(random, BATCH, keys, width, dtype=dtype),
        floats(random, 3 * width, dtype=dtype) if biased else None,
        mask_of(kind, total),
        floats(random, 1, HEADS, QUERIES, total, dtype=dtype) if added else None,
        floats(random, *cache, dtype=dtype) if past else None,
        floats(random, *cache, dtype=dtype) if past else None,
    ]


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_every_format_hide_keys(cuda, kind):
    inputs = heads(kind, biased=True)
    Single("MultiHeadAttention", inputs, num_heads=HEADS).check()


def test_halves_are_masked_and_moved_as_floats_are(cuda):
    inputs = heads("keys", biased=True, dtype=np.float16)
    Single("MultiHeadAttention", inputs, num_heads=HEADS).check(TYPES[np.float16])


@pytest.mark.parametrize("added", [False, True])
def test_a_mask_and_a_bias_are_added_to_one_another(cuda, added):
    inputs = heads("keys", added=added, past=2, biased=True)
    Single("MultiHeadAttention", inputs, 3, num_heads=HEADS, scale=0.3).check()


@pytest.mark.parametrize(("dtype", "past"), [(np.float32, 0), (np.float16, 4)])
def test_past_keys_come_first_and_hide_nothing_of_themselves(cuda, dtype, past):
    inputs = heads("none", past=past, dtype=dtype)
    case = Single("MultiHeadAttention", inputs, 3, num_heads=HEADS, unidirectional=1)
    case.check(TYPES[dtype])


def test_past_keys_may_be_the_beginning_of_a_larger_buffer(cuda):
    random = np.random.default_rng(2)
    inputs = heads("none")
    inputs[6:] = [floats(random, BATCH, HEADS, 7, SIZE) for _ in range(2)]
    inputs.append(np.array([2], np.int32))
    Single("MultiHeadAttention", inputs, 3, num_heads=HEADS).check()


def test_more_keys_than_queries_are_older_ones(cuda):
    inputs = heads("none", keys=5)
    Single("MultiHeadAttention", inputs, num_heads=HEADS, unidirectional=1).check()


@pytest.mark.parametrize("biased", [False, True])
def test_queries_keys_and_values_may_be_packed(cuda, biased):
    random = np.random.default_rng(3)
    packed = floats(random, BATCH, QUERIES, HEADS, 3, SIZE)
    bias = floats(random, 3 * HEADS * SIZE) if biased else None
    Single("MultiHeadAttention", [packed, None, None, bias], num_heads=HEADS).check()
    apart = packed[:, :, :, 0].reshape(BATCH, QUERIES, -1)
    pair = np.ascontiguousarray(packed[:, :, :, 1:])
    Single("MultiHeadAttention", [apart, pair, None, bias], num_heads=HEADS).check()
    cached = [packed[:, :, :, n].transpose(0, 2, 1, 3).copy() for n in (1, 2)]
    inputs = [apart, *cached, bias]
    Single("MultiHeadAttention", inputs, num_heads=HEADS).check()


def test_attention_that_writes_scores_is_refused(cuda):
    case = Single("MultiHeadAttention", heads("none"), 4, num_heads=HEADS)
    assert "scores are not written" in case.refusal()


def projection(kind="none", *, past=0, dtype=np.float32, sizes=(16, 16, 16)):
    random = np.random.default_rng(4)
    cache = (2, BATCH, HEADS, past, SIZE)
    return [
        floats(random, BATCH, QUERIES, 12, dtype=dtype),
        floats(random, 12, sum(sizes), dtype=dtype) / np.asarray(3, dtype),
        floats(random, sum(sizes), dtype=dtype),
        mask_of(kind, past + QUERIES),
        floats(random, *cache, dtype=dtype) if past else None,
    ]


@pytest.mark.parametrize(
    ("kind", "dtype"), [("keys", np.float32), ("lengths", np.float16)]
)
def test_attention_projects_by_merged_weights(cuda, kind, dtype):
    inputs = projection(kind, dtype=dtype)
    case = Single("Attention", inputs, constant=(1, 2), num_heads=HEADS)
    case.check(TYPES[dtype])


@pytest.mark.parametrize("past", [0, 5])
def test_past_and_present_are_halves_of_one_tensor(cuda, past):
    inputs = projection("none", past=past)
    case = Single("Attention", inputs, 2, num_heads=HEADS, unidirectional=1)
    case.check()


def test_a_shared_buffer_is_written_behind_what_is_past(cuda):
    inputs = [*projection("none", past=7), None, np.array([3], np.int32)]
    case = Single("Attention", inputs, 2, num_heads=HEADS, past_present_share_buffer=1)
    case.check()


def test_values_may_be_wider_than_keys(cuda):
    inputs = projection(sizes=(16, 16, 24))
    Single("Attention", inputs, num_heads=HEADS, qkv_hidden_sizes=[16, 16, 24]).check()


@pytest.mark.parametrize("shape", [(2, 3, 16), (2, 2, 3, 8)])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_positions_turn_pairs(cuda, shape, first, interleaved):
    random = np.random.default_rng(6)
    places = np.array([4]) if first else random.integers(0, 9, (2, 3))
    caches = [floats(random, 12, 4) for _ in range(2)]
    inputs = [floats(random, *shape), places, *caches]
    Single("RotaryEmbedding", inputs, interleaved=interleaved).check()


def test_a_part_of_each_head_is_turned(cuda):
    random = np.random.default_rng(7)
    caches = [floats(random, 12, 2, dtype=np.float16) for _ in range(2)]
    inputs = [floats(random, 2, 3, 16, dtype=np.float16), np.array([1]), *caches]
    case = Single("RotaryEmbedding", inputs, num_heads=2, rotary_embedding_dim=4)
    case.check(1e-3)
