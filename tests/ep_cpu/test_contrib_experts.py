"""Mixtures of experts of com.microsoft against onnxruntime."""

import numpy as np
import pytest
from contrib_peer import Numbers, check, run
from hypothesis import given
from hypothesis import strategies as st
from runtime.errors import EngineError

SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])
KINDS = st.sampled_from(["relu", "gelu", "silu", "identity", "swiglu"])
WIDTH, INNER, EXPERTS = 32, 16, 4


class Experts(Numbers):
    """Layers whose first one is twice as wide for swiglu, gate and rest alternating."""

    def __init__(self, seed, kind):
        super().__init__(seed)
        self.inner = INNER * (2 if kind == "swiglu" else 1)

    def rows(self, *lead):
        count = int(np.prod(lead))
        return self.floats(*lead, WIDTH), self.floats(count, EXPERTS)

    def biases(self, present):
        if not present:
            return None, None
        return self.floats(EXPERTS, self.inner), self.floats(EXPERTS, WIDTH)

    def layers(self):
        first = self.floats(EXPERTS, self.inner, WIDTH) / 8
        return first, self.floats(EXPERTS, WIDTH, INNER) / 8

    def packed(self, bits, block):
        """Weights, scales and zero points of both layers."""
        for rows, length in ((self.inner, WIDTH), (WIDTH, INNER)):
            shape = (EXPERTS, rows, length * bits // 8)
            weights = self.random.integers(0, 256, shape).astype(np.uint8)
            blocks = length // block if block else 0
            scales = abs(self.floats(EXPERTS, rows, *[blocks] * bool(block)))
            shape = (EXPERTS, rows, -(-blocks * bits // 8))
            shape = shape if block else (EXPERTS, -(-rows * bits // 8))
            zeros = self.random.integers(0, 256, shape).astype(np.uint8)
            yield weights, scales / (1 << bits), zeros


def attributes(kind, k, normalize):
    made = {"k": k, "activation_type": kind, "normalize_routing_weights": normalize}
    if kind == "swiglu":
        made |= {"swiglu_fusion": 1, "swiglu_limit": 1.5}
        made |= {"activation_alpha": 1.25, "activation_beta": 0.5}
    return made


@given(SEEDS, KINDS, st.integers(1, EXPERTS), FLAGS, st.booleans(), st.booleans())
def test_rows_go_through_their_experts(seed, kind, k, normalize, biased, deep):
    numbers = Experts(seed, kind)
    x, routes = numbers.rows(*((2, 3) if deep else (6,)))
    first, second = numbers.layers()
    one, two = numbers.biases(biased)
    check("MoE", [x, routes, first, one, second, two], **attributes(kind, k, normalize))


@given(
    SEEDS,
    KINDS,
    st.integers(1, 3),
    FLAGS,
    st.sampled_from([2, 4, 8]),
    st.sampled_from([0, 16]),
    st.booleans(),
    st.booleans(),
)
def test_weights_of_few_bits(seed, kind, k, normalize, bits, block, zeros, apart):
    numbers = Experts(seed, kind)
    x, routes = numbers.rows(5)
    one, two = numbers.biases(seed % 2)
    (first, scale1, zero1), (second, scale2, zero2) = numbers.packed(bits, block)
    zero = [zero1, zero2, None] if zeros else [None] * 3
    own = abs(numbers.floats(5, EXPERTS)) if apart else None
    made = attributes(kind, k, normalize) | {"expert_weight_bits": bits}
    if block:
        made["block_size"] = block
    inputs = [x, routes, first, scale1, one, second, scale2, two, None, None, None]
    check("QMoE", [*inputs, *zero, own], **made)


def test_of_equal_experts_the_last_is_taken():
    numbers = Experts(1, "relu")
    x, routes = numbers.rows(3)
    first, second = numbers.layers()
    inputs = [x, routes * 0, first, None, second]
    check("MoE", inputs, k=2)
    got = run("MoE", inputs, k=1, normalize_routing_weights=1)[0]
    want = np.maximum(x @ first[-1].T, 0) @ second[-1].T
    np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize("fusion", [0, 2])
def test_gate_and_linear_part_may_lie_elsewhere(fusion):
    numbers = Experts(2, "swiglu")
    x, routes = numbers.rows(3)
    first, second = numbers.layers()
    made = attributes("swiglu", 2, 1)
    want = run("MoE", [x, routes, first, None, second], **made)[0]
    made["swiglu_fusion"] = fusion
    gate, linear = first[:, ::2], first[:, 1::2]
    if fusion == 2:
        inputs = [x, routes, np.concatenate([gate, linear], axis=1), None, second]
    else:
        inputs = [x, routes, gate, None, second, None, linear]
    np.testing.assert_allclose(run("MoE", inputs, **made)[0], want, rtol=1e-4)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"k": 5}, "k is 5"),
        ({"activation_type": "tanh"}, "no activation_type"),
        ({"use_sparse_mixer": 1}, "use_sparse_mixer"),
        ({"activation_type": "swiglu"}, "needs the third layer"),
    ],
)
def test_what_makes_no_sense_is_refused(attributes, message):
    numbers = Experts(3, "relu")
    x, routes = numbers.rows(3)
    first, second = numbers.layers()
    with pytest.raises(EngineError, match=message):
        run("MoE", [x, routes, first, None, second], **attributes)
    with pytest.raises(EngineError, match="do not fit 3 rows"):
        run("MoE", [x, routes[:2], first, None, second])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"quant_type": "fp8"}, "'fp8' is not supported"),
        ({"expert_weight_bits": 3}, "3 bits"),
        ({"weights_prepacked": 1}, "prepacked"),
        ({"block_size": 32}, "do not fit 32 weights"),
    ],
)
def test_what_weights_cannot_be_is_refused(attributes, message):
    numbers = Experts(4, "relu")
    x, routes = numbers.rows(3)
    (first, scale1, _), (second, scale2, _) = numbers.packed(4, 16)
    inputs = [x, routes, first, scale1, None, second, scale2]
    with pytest.raises(EngineError, match=message):
        run("QMoE", inputs, **attributes)
