"""GroupQueryAttention against onnxruntime: caches, windows, sinks, padded chunks."""

import numpy as np
import pytest
from contrib_peer import MS, run
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError

SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])


def floats(random, *shape):
    return random.standard_normal(shape).astype(np.float32)


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


class PaddedGroup(Group):
    """Chunks of four rows, of which each image has some that are no padding."""

    def __init__(self, seed, packed, rotary, groups, rows):
        super().__init__(seed, False, packed, rotary, groups)
        random, batch = self.random, self.batch
        self.new = rows
        self.valid = random.integers(0, rows + 1, batch)
        past = random.integers(0, 6, batch)
        past[self.valid == 0] += 1
        self.counts = past + self.valid
        self.total = int((past + rows).max() + random.integers(0, 3))
        widths = [x.shape[-1] for x in self.inputs[:3] if x is not None]
        self.inputs[: len(widths)] = [floats(random, batch, rows, n) for n in widths]
        room = int(past.max() + random.integers(1, 5))
        self.inputs[3] = floats(random, batch, groups, room, 16)
        self.inputs[4] = floats(random, batch, groups, room, 16)
        self.inputs[5] = (self.counts - 1).astype(np.int32)
        self.inputs[6] = np.array(self.total, np.int32)
        self.inputs += [None] * 4 + [self.valid.astype(np.int32)]

    def check(self, outputs=3, **attributes):
        """Compare what is no padding."""
        attributes = {**self.attributes, **attributes}
        op = "GroupQueryAttention"
        want = by_onnxruntime(op, self.inputs, attributes, 1, MS, outputs)
        got = run(op, self.inputs, outputs, **attributes)
        pairs = zip(self.valid.tolist(), self.counts.tolist(), strict=True)
        for image, (valid, count) in enumerate(pairs):
            parts = (slice(0, valid),), *[(slice(None), slice(0, count))] * 2
            for ours, theirs, part in zip(got, want, parts, strict=True):
                assert ours.shape == theirs.shape
                np.testing.assert_allclose(
                    ours[image][part], theirs[image][part], rtol=1e-3, atol=1e-4
                )


PADDED = st.builds(
    PaddedGroup,
    SEEDS,
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 4),
)


@given(
    PADDED,
    st.sampled_from(
        [{}, {"softcap": 2.0}, {"local_window_size": 2}, {"smooth_softmax": 1}]
    ),
)
def test_chunks_may_end_in_padding(group, attributes):
    group.check(**attributes)


@given(PADDED)
def test_a_bias_is_added_to_padded_chunks_too(group):
    group.inputs[10] = floats(group.random, 1, 4, group.new, group.total)
    group.check()


@given(PADDED)
def test_padding_is_neither_cached_nor_seen(group):
    op = "GroupQueryAttention"
    want = run(op, group.inputs, 3, **group.attributes)
    changed = [None if x is None else x.copy() for x in group.inputs]
    for image, valid in enumerate(group.valid.tolist()):
        for x in changed[:3]:
            if x is not None:
                x[image, valid:] = np.nan
    got = run(op, changed, 3, **group.attributes)
    for image, valid in enumerate(group.valid.tolist()):
        assert np.array_equal(got[0][image, :valid], want[0][image, :valid])
    assert all(map(np.array_equal, got[1:], want[1:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"causal": 0}, "needs causal = 1"),
        ({3: None, 4: None}, "past_key and past_value"),
        ({16: np.array([2], np.int32)}, "need 2 entries"),
        ({16: np.array([5, 0], np.int32)}, "0 to the 4 rows"),
        ({16: np.array([-1, 0], np.int32)}, "0 to the 4 rows"),
        ({5: np.array([-1, 0], np.int32)}, "must be 1 to"),
        ({5: np.array([99, 0], np.int32)}, "must be 1 to"),
        ({5: np.array([29, 3], np.int32), 6: np.array(30, np.int32)}, "do not fit"),
    ],
)
def test_padding_that_makes_no_sense_is_refused(changes, message):
    group = PaddedGroup(5, False, False, 2, 4)
    attributes = dict(group.attributes)
    for name, value in changes.items():
        if isinstance(name, int):
            group.inputs[name] = value
        else:
            attributes[name] = value
    with pytest.raises(EngineError, match=message):
        run("GroupQueryAttention", group.inputs, **attributes)


@pytest.mark.parametrize("epsilons", [{}, {"q_norm_epsilon": 0.5, "k_norm_epsilon": 2}])
def test_queries_and_keys_may_be_normalized_first(epsilons):
    group = Group(3, True, False, True, 2)
    size = 16
    epsilons = {name: float(value) for name, value in epsilons.items()}
    weight = floats(group.random, size), floats(group.random, size)
    plain = list(group.inputs[:2])
    for number, part in enumerate(plain):
        heads = part.reshape(*part.shape[:2], -1, size).astype(np.float64)
        mean = (heads**2).mean(axis=-1, keepdims=True)
        epsilon = epsilons.get(("q_norm_epsilon", "k_norm_epsilon")[number], 1e-6)
        normal = heads / np.sqrt(mean + epsilon) * weight[number]
        group.inputs[number] = normal.reshape(part.shape).astype(np.float32)
    want = run("GroupQueryAttention", group.inputs, 3, **group.attributes)
    inputs = [*plain, *group.inputs[2:], None, None, *weight]
    attributes = {**group.attributes, **epsilons}
    got = run("GroupQueryAttention", inputs, 3, **attributes)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(EngineError, match="finite and positive"):
        run("GroupQueryAttention", inputs, 3, **{**attributes, "k_norm_epsilon": 0.0})


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


@pytest.mark.parametrize("place", [3, 4])
def test_a_cache_of_another_shape_is_refused(place):
    group = Group(5, False, False, False, 2)
    group.inputs[place] = group.inputs[place][:1]
    with pytest.raises(EngineError, match="do not fit"):
        run("GroupQueryAttention", group.inputs, **group.attributes)
