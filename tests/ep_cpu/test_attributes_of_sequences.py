"""Every attribute of recurrences, attention and resizing, at random."""

import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from peers import by_onnxruntime, by_reference

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}
# activations and which of alpha and beta they take
NAMES = {
    "Relu": "",
    "Tanh": "",
    "Sigmoid": "",
    "Softsign": "",
    "LeakyRelu": "a",
    "Elu": "a",
    "HardSigmoid": "ab",
    "Affine": "ab",
    "ScaledTanh": "ab",
}


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def floats(self, *shape):
        return np.asarray(self.random.standard_normal(shape), np.float32)


def close(got, want, rtol=1e-3, atol=1e-4):
    for ours, theirs in zip(got, want, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(narrow(ours), narrow(theirs), rtol, atol)


def activations(draw, count):
    """Draw functions with their alphas and betas, in the order that they take them."""
    names = [draw(st.sampled_from(sorted(NAMES))) for _ in range(count)]
    alphas = [draw(st.floats(0.25, 1, width=16)) for n in names if "a" in NAMES[n]]
    betas = [draw(st.floats(0.25, 1, width=16)) for n in names if "b" in NAMES[n]]
    made = {"activations": names}
    made |= {"activation_alpha": alphas} if alphas else {}
    return made | ({"activation_beta": betas} if betas else {})


@pytest.mark.parametrize("op_type", GATES)
@given(
    seed=SEEDS,
    data=st.data(),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    steps=st.integers(1, 4),
    batch=st.integers(1, 3),
    hidden=st.integers(1, 3),
    flag=FLAGS,
)
def test_recurrences_take_every_attribute(
    op_type, seed, data, direction, steps, batch, hidden, flag
):
    """With ``layout`` 1 the batch comes first, and nothing else changes."""
    numbers, draw = Numbers(seed), data.draw
    count = 2 if direction == "bidirectional" else 1
    gates = GATES[op_type] * hidden
    made = {"hidden_size": hidden, "direction": direction}
    made |= activations(draw, count * FUNCTIONS[op_type])
    if draw(st.booleans()):
        made["clip"] = draw(st.floats(0.25, 2, width=16))
    if op_type != "RNN":
        made["input_forget" if op_type == "LSTM" else "linear_before_reset"] = flag
    states = [numbers.floats(count, batch, hidden) for _ in range(STATES[op_type])]
    inputs = [
        numbers.floats(steps, batch, 2),
        numbers.floats(count, gates, 2) / 2,
        numbers.floats(count, gates, hidden) / 2,
        numbers.floats(count, 2 * gates) / 2,
        None,
        *states,
    ]
    outputs = STATES[op_type] + 1
    got = run_node(op_type, inputs, made, 14, outputs=outputs)
    close(got, by_onnxruntime(op_type, inputs, made, 14, outputs=outputs))
    turned = [inputs[0].swapaxes(0, 1), *inputs[1:5]]
    turned += [state.swapaxes(0, 1) for state in states]
    y, *last = run_node(op_type, turned, made | {"layout": 1}, 14, outputs=outputs)
    np.testing.assert_array_equal(y, got[0].transpose(2, 0, 1, 3))
    for one, other in zip(last, got[1:], strict=True):
        np.testing.assert_array_equal(one, other.swapaxes(0, 1))


PRECISIONS = {
    TensorProto.FLOAT: 1e-4,
    TensorProto.DOUBLE: 1e-4,
    TensorProto.FLOAT16: 1e-2,
}


def attended(q, k, v, scale, softcap):
    scores = narrow(q) @ narrow(k).swapaxes(-1, -2) * scale
    scores = softcap * np.tanh(scores / softcap) if softcap else scores
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ narrow(v)


@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from(sorted(PRECISIONS)),
    st.floats(0.125, 2, width=16),
    st.sampled_from([0.0, 1.5]),
)
def test_attention_is_softmax_in_a_precision(seed, heads, keys, code, scale, softcap):
    numbers = Numbers(seed)
    q = numbers.floats(2, heads, 3, 4)
    k, v = numbers.floats(2, heads, keys, 4), numbers.floats(2, heads, keys, 4)
    want = attended(q, k, v, scale, softcap)
    made = {"softmax_precision": code, "scale": scale}
    (got,) = run_node("Attention", [q, k, v], made | {"softcap": softcap}, 24)
    close([got], [want], PRECISIONS[code], PRECISIONS[code])
    if not softcap:
        domain = "ai.onnx.preview"
        (got,) = run_node("FlexAttention", [q, k, v], made, 1, domain)
        close([got], [want], PRECISIONS[code], PRECISIONS[code])


@given(
    SEEDS,
    st.integers(0, 5),
    st.sampled_from([(2, 1), (2, 2), (4, 2)]),
    st.integers(1, 7),
    st.sampled_from([0.0, 0.25]),
    st.sampled_from(["linear", "gated", "delta", "gated_delta"]),
)
def test_linear_attention_updates_a_state_step_by_step(
    seed, length, heads, chunk, scale, rule
):
    numbers = Numbers(seed)
    queries, groups = heads
    size, width = 3, 2
    q = numbers.floats(1, length, queries * size)
    k, v = (
        numbers.floats(1, length, groups * size),
        numbers.floats(1, length, groups * width),
    )
    decay = -abs(numbers.floats(1, length, groups)) if "gated" in rule else None
    beta = abs(numbers.floats(1, length, groups)) / 4 if "delta" in rule else None
    state = numbers.floats(1, groups, size, width)
    made = {
        "q_num_heads": queries,
        "kv_num_heads": groups,
        "chunk_size": chunk,
        "scale": scale,
        "update_rule": rule,
    }
    inputs = [q, k, v, state, decay, beta]
    got = run_node("LinearAttention", inputs, made, 27, outputs=2)
    memory = narrow(state)[0].copy()
    y = np.zeros((1, length, queries, width))
    for t in range(length):
        for g in range(groups):
            key = narrow(k)[0, t, g * size : (g + 1) * size]
            write = narrow(v)[0, t, g * width : (g + 1) * width]
            if decay is not None:
                memory[g] *= np.exp(float(decay[0, t, g]))
            if beta is not None:
                write = float(beta[0, t, g]) * (write - key @ memory[g])
            memory[g] += np.outer(key, write)
        for h in range(queries):
            query = narrow(q)[0, t, h * size : (h + 1) * size]
            shared = memory[h * groups // queries]
            y[0, t, h] = query @ shared * (scale or size**-0.5)
    close(got, [y.reshape(1, length, queries * width), memory[None]])


POLICIES = st.sampled_from(["stretch", "not_larger", "not_smaller"])


@given(
    SEEDS,
    st.sampled_from([[2, 3], [3, 2], [-1, -2], [-2], [3]]),
    POLICIES,
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from([-0.75, -0.5]),
    st.data(),
)
def test_some_axes_are_resized_by_a_policy(seed, axes, policy, mode, slope, data):
    x = Numbers(seed).floats(
        1, 2, data.draw(st.integers(2, 5)), data.draw(st.integers(2, 5))
    )
    sizes = np.array([data.draw(st.integers(2, 7)) for _ in axes])
    made = {"axes": axes, "keep_aspect_ratio_policy": policy, "mode": mode}
    made |= {"cubic_coeff_a": slope} if mode == "cubic" else {}
    inputs = [x, None, None, sizes]
    (got,) = run_node("Resize", inputs, made, 19)
    made["axes"] = [axis % 4 for axis in axes]  # the reference knows no negative ones
    (want,) = by_reference("Resize", inputs, made, 19)
    close([got], [want])


CORNERS = st.floats(-0.5, 1.5, width=16, allow_subnormal=False)
"""What is nearer to an edge than numbers of this size is taken for the edge."""


@given(
    SEEDS,
    st.floats(-9, 9, width=16),
    st.sampled_from(["linear", "nearest"]),
    st.lists(CORNERS, min_size=4, max_size=4),
)
def test_beyond_the_image_a_crop_has_a_value_of_its_own(seed, value, mode, corners):
    x = Numbers(seed).floats(1, 1, 3, 4)
    first, last = sorted(corners[:2]), sorted(corners[2:])
    roi = [0, 0, first[0], last[0], 1, 1, first[1], last[1]]
    made = {
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": value,
        "mode": mode,
    }
    inputs = [x, np.array(roi, np.float32), None, np.array([1, 1, 5, 6])]
    (got,) = run_node("Resize", inputs, made, 19)
    (want,) = by_onnxruntime("Resize", inputs, made, 19)
    close([got], [want])
