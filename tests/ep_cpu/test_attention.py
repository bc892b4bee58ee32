"""Attention, rotary positions and linear attention against their formulas."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from evaluate import narrow, run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from peers import by_onnxruntime, by_reference
from runtime.errors import ExecutionError
from runtime_ep_cpu.ops import _attention

pytestmark = pytest.mark.filterwarnings("error")

HALVES = [np.float16, ml_dtypes.bfloat16]


def random(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def attend(inputs, attributes=None, opset=25, outputs=1):
    return run_node("Attention", inputs, attributes, opset, outputs=outputs)


@st.composite
def heads(draw, most=4):
    """Queries, keys and values with grouped heads, and the sizes they have."""
    batch, groups, each = draw(st.tuples(*[st.integers(1, 2)] * 3))
    rows, keys, width, wide = draw(st.tuples(*[st.integers(1, most)] * 4))
    q = random((batch, groups * each, rows, width))
    k = random((batch, groups, keys, width), seed=1)
    return q, k, random((batch, groups, keys, wide), seed=2)


def masks(draw, q, keys):
    lead = [draw(st.sampled_from([1, n])) for n in q.shape[:3]]
    shape = (*lead, keys)[draw(st.integers(0, 2)) :]
    if draw(st.booleans()):
        return random(shape, seed=3) > -0.5
    return random(shape, seed=3)


@given(case=heads(), data=st.data())
def test_attention_is_the_references(case, data):
    q, k, v = case
    draw = data.draw
    past = past_v = None
    if draw(st.booleans()):
        past = random((*k.shape[:2], 3, k.shape[3]), seed=4)
        past_v = random((*k.shape[:2], 3, v.shape[3]), seed=5)
    keys = k.shape[2] + (0 if past is None else 3)
    inputs = [
        q,
        k,
        v,
        masks(draw, q, keys) if draw(st.booleans()) else None,
        past,
        past_v,
    ]
    attributes = {
        "is_causal": draw(st.integers(0, 1)),
        "left_window_size": draw(st.integers(-1, 2)),
        "right_window_size": draw(st.integers(-1, 2)),
        "softcap": draw(st.sampled_from([0.0, 2.0])),
        "scale": draw(st.sampled_from([0.3, 1.0])),
        "qk_matmul_output_mode": draw(st.integers(1, 3)),
    }
    limit, _attention._BLOCK = (
        _attention._BLOCK,
        draw(st.sampled_from([1, 100, 1 << 22])),
    )
    try:
        found = attend(inputs, attributes, outputs=4)
    finally:
        _attention._BLOCK = limit
    wanted = by_reference("Attention", inputs, attributes, 25, outputs=4)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    [alone] = attend(inputs, attributes)
    np.testing.assert_allclose(alone, found[0], rtol=1e-4, atol=1e-5)


@given(case=heads(), data=st.data())
def test_attention_over_an_external_cache_is_the_references(case, data):
    q, k, v = case
    valid = [data.draw(st.integers(0, k.shape[2])) for _ in range(q.shape[0])]
    short = data.draw(st.integers(max(valid), k.shape[2]))
    mask = masks(data.draw, q, short) if short else None
    inputs = [q, k, v, mask, None, None, np.array(valid, np.int64)]
    attributes = {
        "is_causal": data.draw(st.integers(0, 1)),
        "left_window_size": data.draw(st.integers(-1, 2)),
    }
    [found] = attend(inputs, attributes)
    [wanted] = by_reference("Attention", inputs, attributes, 25)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    [early] = attend(inputs, {"is_causal": 1}, 24)
    [late] = attend(inputs, {"is_causal": 1}, 25)
    np.testing.assert_array_equal(early, late)


@given(case=heads(), mode=st.integers(0, 3))
def test_both_layouts_give_the_same(case, mode):
    q, k, v = case

    def flat(x):
        return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

    counts = {"q_num_heads": q.shape[1], "kv_num_heads": k.shape[1]}
    attributes = {"is_causal": 1, "qk_matmul_output_mode": mode}
    y, *rest = attend([q, k, v], attributes, 23, outputs=4)
    inputs = [flat(x) for x in (q, k, v)]
    flat_y, *flat_rest = attend(inputs, {**attributes, **counts}, 23, outputs=4)
    np.testing.assert_allclose(flat_y, flat(y), rtol=1e-5, atol=1e-6)
    for one, other in zip(rest, flat_rest, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("with_mask", [False, True])
def test_attention_is_onnxruntimes(causal, with_mask):
    q, k, v = random((2, 4, 5, 8)), random((2, 2, 5, 8)), random((2, 2, 5, 6))
    inputs = [q, k, v, *([random((5, 5), seed=3)] if with_mask else [])]
    attributes = {"is_causal": causal, "softcap": 1.5}
    [found] = attend(inputs, attributes, 23)
    [wanted] = by_onnxruntime("Attention", inputs, attributes, 23)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, *HALVES])
@pytest.mark.parametrize("precision", [None, 1, 10, 11, 16])
def test_attention_keeps_its_element_type(dtype, precision):
    q, k, v = (random((1, 2, 6, 8), dtype, seed) for seed in range(3))
    attributes = {} if precision is None else {"softmax_precision": precision}
    y, keys, values, shown = attend([q, k, v], attributes, outputs=4)
    assert {x.dtype for x in (y, keys, values, shown)} == {np.dtype(dtype)}
    [wanted] = attend([x.astype(np.float64) for x in (q, k, v)])
    exact = dtype is np.float64 and precision in (None, 11)
    tolerance = 1e-6 if exact else 0.05
    np.testing.assert_allclose(narrow(y), wanted, rtol=tolerance, atol=tolerance)


def test_values_may_have_another_type_than_keys():
    q, k = random((1, 2, 3, 4)), random((1, 2, 5, 4), seed=1)
    v = random((1, 2, 5, 4), np.float16, 2)
    y, keys, values, _ = attend([q, k, v], outputs=4)
    assert (y.dtype, keys.dtype, values.dtype) == (np.float32, np.float32, np.float16)
    [wanted] = attend([q, k, v.astype(np.float32)])
    np.testing.assert_allclose(y, wanted, rtol=1e-5)


@pytest.mark.parametrize("attributes", [{}, {"is_causal": 1}])
def test_bfloat16_is_rounded_at_every_step_as_the_reference_does(attributes):
    inputs = [random((2, 3, 6, 8), ml_dtypes.bfloat16, seed) for seed in range(3)]
    inputs.append(random((6, 6), ml_dtypes.bfloat16, 3))
    [y] = attend(inputs, attributes)
    [wanted] = by_reference("Attention", inputs, attributes, 25)
    np.testing.assert_array_equal(y, wanted)


def test_bfloat16_weights_stay_right_over_many_keys():
    q = np.zeros((1, 1, 1, 4), ml_dtypes.bfloat16)
    k, v = np.zeros((1, 1, 2000, 4), q.dtype), np.ones((1, 1, 2000, 4), q.dtype)
    [y] = attend([q, k, v])
    np.testing.assert_allclose(narrow(y), 1, rtol=0.02)


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize("as_numbers", [False, True])
def test_a_query_without_keys_yields_zeros(mode, as_numbers):
    q, k, v = random((1, 1, 2, 4)), random((1, 1, 3, 4)), random((1, 1, 3, 4))
    q[0, 0, 1, 0] = np.inf
    mask = np.array([[True, False, True], [False, False, False]])
    if as_numbers:
        mask = np.where(mask, 0, -np.inf).astype(np.float32)
    y, _, _, shown = attend([q, k, v, mask], {"qk_matmul_output_mode": mode}, outputs=4)
    assert np.isfinite(y).all()
    assert not y[0, 0, 1].any()
    if mode == 3:
        assert not shown[0, 0, 1].any()


def test_no_keys_at_all_yield_zeros():
    q, empty = random((1, 2, 3, 4)), np.zeros((1, 2, 0, 4), np.float32)
    [y] = attend([q, empty, empty])
    assert y.shape == q.shape
    assert not y.any()


def test_a_short_mask_is_padded_though_size_one_broadcast_at_first():
    q, k, v = random((1, 1, 2, 4)), random((1, 1, 3, 4), seed=1), random((1, 1, 3, 4))
    one = np.zeros((2, 1), np.float32)
    [first] = attend([q, k, v[..., :1, :].repeat(3, 2), one], opset=24)
    np.testing.assert_allclose(first, v[..., :1, :].repeat(2, 2), rtol=1e-5)
    np.testing.assert_array_equal(attend([q, k, v, one], opset=23), attend([q, k, v]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": (1, 2, 3, 5)}, "do not fit"),
        ({"k": (1, 3, 3, 4), "v": (1, 3, 3, 4)}, "do not fit"),
        ({"v": (1, 2, 4, 4)}, "do not fit"),
        ({"q": (2, 8), "k": (2, 8), "v": (2, 8)}, "divide into"),
        ({"mask": (3, 4)}, "mask"),
        ({"mask": (5, 3)}, "mask"),
        ({"past_key": (1, 2, 3, 4)}, "together"),
        ({"valid": [4]}, "nonpad_kv_seqlen"),
        ({"valid": [-1]}, "nonpad_kv_seqlen"),
        ({"valid": [1, 1]}, "nonpad_kv_seqlen"),
        ({"attributes": {"left_window_size": -2}}, "window"),
        ({"attributes": {"q_num_heads": 3}}, "3"),
    ],
)
def test_attention_that_cannot_be_is_refused(change, message):
    shapes = {"q": (1, 2, 2, 4), "k": (1, 2, 3, 4), "v": (1, 2, 3, 4), "mask": None}
    shapes |= {"past_key": None}
    attributes = change.pop("attributes", {})
    valid = change.pop("valid", None)
    shapes |= change
    inputs = [None if shape is None else random(shape) for shape in shapes.values()]
    inputs += [None] + ([np.array(valid)] if valid else [])
    with pytest.raises(ExecutionError, match=message):
        attend(inputs, attributes)


def modifier(name, op_type, value):
    constant = helper.make_tensor("c", TensorProto.FLOAT, [], [value])
    return helper.make_graph(
        [helper.make_node(op_type, ["s", "c"], ["t"])],
        name,
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [None] * 4)],
        [constant],
    )


def flexible(inputs, **attributes):
    names = ["q", "k", "v"]
    node = helper.make_node(
        "FlexAttention", names, ["y"], domain="ai.onnx.preview", **attributes
    )
    graph = helper.make_graph(
        [node],
        "flex",
        [onnx.ValueInfoProto(name=name) for name in names],
        [onnx.ValueInfoProto(name="y")],
    )
    imports = [helper.make_opsetid("", 25), helper.make_opsetid("ai.onnx.preview", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return run_model(model, inputs)[0]


@given(case=heads())
def test_flexible_attention_passes_scores_and_weights_through_its_bodies(case):
    q, k, v = case
    [plain] = attend([q, k, v])
    np.testing.assert_allclose(flexible([q, k, v]), plain, rtol=1e-5, atol=1e-6)
    [scaled] = attend([q, k, v], {"scale": 0.25})
    y = flexible([q, k, v], scale=0.5, score_mod=modifier("half", "Mul", 0.5))
    np.testing.assert_allclose(y, scaled, rtol=1e-4, atol=1e-5)
    y = flexible([q, k, v], prob_mod=modifier("twice", "Mul", 2.0))
    np.testing.assert_allclose(y, 2 * plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, *HALVES])
def test_flexible_attention_keeps_its_element_type(dtype):
    q, k, v = (random((1, 2, 3, 4), dtype, seed) for seed in range(3))
    y = flexible([q, k, v])
    [wanted] = attend([x.astype(np.float64) for x in (q, k, v)])
    assert y.dtype == dtype
    np.testing.assert_allclose(narrow(y), wanted, rtol=0.05, atol=0.05)


@given(data=st.data())
def test_rotary_embedding_is_the_references(data):
    draw = data.draw
    batch, count, rows, half = draw(st.tuples(*[st.integers(1, 3)] * 4))
    rest = 2 * draw(st.integers(0, 2))
    width = 2 * half + rest
    flat = draw(st.booleans())
    x = random((batch, rows, count * width) if flat else (batch, count, rows, width))
    attributes = {"interleaved": draw(st.integers(0, 1))}
    attributes |= {"num_heads": count} if flat else {}
    attributes |= {"rotary_embedding_dim": 2 * half} if rest else {}
    if draw(st.booleans()):
        caches = [random((7, half), seed=s) for s in (1, 2)]
        rng = np.random.default_rng(3)
        inputs = [x, *caches, rng.integers(0, 7, (batch, rows))]
    else:
        inputs = [x, *(random((batch, rows, half), seed=s) for s in (1, 2))]
    [y] = run_node("RotaryEmbedding", inputs, attributes, 23)
    [wanted] = by_reference("RotaryEmbedding", inputs, attributes, 23)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_rotary_embedding_refuses_positions_beyond_its_cache():
    x, cache = random((1, 1, 2, 4)), random((3, 2))
    for position in (3, -1):
        with pytest.raises(ExecutionError, match="outside the cache"):
            run_node("RotaryEmbedding", [x, cache, cache, np.array([[0, position]])])
    with pytest.raises(ExecutionError, match="cache"):
        run_node("RotaryEmbedding", [x, cache, cache])
    with pytest.raises(ExecutionError, match="cannot be turned"):
        attributes = {"rotary_embedding_dim": 6}
        run_node("RotaryEmbedding", [x, cache, cache, np.array([[0, 1]])], attributes)


def linear(inputs, attributes):
    return run_node("LinearAttention", inputs, attributes, 27, outputs=2)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("per_element", [False, True])
def test_linear_attention_is_the_references_and_may_be_run_in_parts(
    rule, each, per_element
):
    batch, groups, length, width, wide = 2, 2, 5, 4, 3
    q = random((batch, length, groups * each * width))
    k = random((batch, length, groups * width), seed=1) * 0.5
    v = random((batch, length, groups * wide), seed=2)
    state = random((batch, groups, width, wide), seed=3)
    decay = beta = None
    if rule.startswith("gated"):
        decay = -np.abs(random((batch, length, groups * (width if per_element else 1))))
    if rule.endswith("delta"):
        beta = np.abs(random((batch, length, groups if per_element else 1), seed=4))
    attributes = {"q_num_heads": groups * each, "kv_num_heads": groups}
    attributes |= {"update_rule": rule, "scale": 0.0 if per_element else 0.7}
    y, end = linear([q, k, v, state, decay, beta], attributes)
    wanted = by_reference(
        "LinearAttention", [q, k, v, state, decay, beta], attributes, 27, outputs=2
    )
    np.testing.assert_allclose(y, wanted[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(end, wanted[1], rtol=1e-4, atol=1e-5)
    parts = []
    for part in (slice(0, 2), slice(2, 5)):
        cut = [x if x is None else x[:, part] for x in (q, k, v, decay, beta)]
        some, state = linear([*cut[:3], state, *cut[3:]], attributes)
        parts.append(some)
    np.testing.assert_allclose(np.concatenate(parts, 1), y, rtol=1e-4, atol=1e-5)


def test_the_state_of_linear_attention_keeps_its_own_type():
    q, k, v = (random((1, 3, 4), np.float16, seed) for seed in range(3))
    attributes = {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": "linear"}
    y, state = linear([q, k, v], attributes)
    assert (y.dtype, state.dtype) == (np.float16, np.float16)
    y, state = linear([q, k, v, np.zeros((1, 1, 4, 4), np.float32)], attributes)
    assert (y.dtype, state.dtype) == (np.float16, np.float32)


def test_linear_attention_refuses_what_its_rule_does_not_take():
    x, one = random((1, 3, 4)), random((1, 3, 1))
    attributes = {"q_num_heads": 1, "kv_num_heads": 1}
    for rule, rest, message in (
        ("linear", [None, one, None], "takes no decay"),
        ("gated", [None, None, None], "needs decay"),
        ("delta", [None, None, random((1, 3, 2))], "does not fit"),
        ("other", [None, None, None], "cannot be"),
        ("linear", [random((1, 1, 4, 3)), None, None], "past_state"),
    ):
        with pytest.raises(ExecutionError, match=message):
            linear([x, x, x, *rest], {**attributes, "update_rule": rule})
