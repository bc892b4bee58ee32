"""Operators of com.microsoft that are others fused, on the double and on the CPU."""

import numpy as np
import pytest
from models import FLOAT, model, node
from on_the_double import alone, error, opened, programs, share
from runtime_ep_cpu import formulas
from runtime_ep_cpu.ops._array_math import math_of
from single import Single, floats

RANDOM = np.random.default_rng(0)
TYPES = {np.float32: 2e-6, np.float16: 2e-3}
ACTIVATIONS = {
    "Relu": (),
    "Sigmoid": (),
    "LeakyRelu": (0.2,),
    "HardSigmoid": (0.3, 0.4),
    "Clip": (-0.5, 0.7),
    "Selu": (),
    "Softsign": (),
}


@pytest.mark.parametrize(("activation", "params"), ACTIVATIONS.items())
def test_a_fused_convolution_adds_and_activates(cuda, activation, params):
    inputs = [
        floats(RANDOM, 2, 8, 5, 5), floats(RANDOM, 8, 8, 3, 3) / 8, floats(RANDOM, 8),
        floats(RANDOM, 2, 8, 5, 5),
    ]  # fmt: skip
    Single(
        "FusedConv", inputs, constant=(1, 2), pads=[1] * 4, activation=activation,
        **({"activation_params": params} if params else {}),
    ).check()  # fmt: skip


def test_a_fused_depthwise_convolution_adds_and_activates(cuda):
    inputs = [
        floats(RANDOM, 2, 8, 5, 5), floats(RANDOM, 8, 1, 3, 3), None,
        floats(RANDOM, 2, 8, 5, 5),
    ]  # fmt: skip
    case = Single(
        "FusedConv", inputs, constant=(1,), pads=[1] * 4, group=8, activation="Softsign"
    )
    case.check()


@pytest.mark.parametrize("op", ["NhwcConv", "NhwcFusedConv"])
@pytest.mark.parametrize("dtype", TYPES)
def test_channels_may_be_last(cuda, op, dtype):
    filters = (8, 3, 3, 4) if op == "NhwcConv" else (8, 4, 3, 3)
    fused = {"activation": "Softsign"} if op == "NhwcFusedConv" else {}
    inputs = [
        floats(RANDOM, 2, 5, 6, 4, dtype=dtype), floats(RANDOM, *filters, dtype=dtype),
        floats(RANDOM, 8, dtype=dtype),
    ]  # fmt: skip
    inputs += [floats(RANDOM, 2, 3, 4, 8, dtype=dtype)] if fused else []
    Single(op, inputs, constant=(1, 2), **fused).check(TYPES[dtype])


@pytest.mark.parametrize("activation", ["Relu", "Celu"])
def test_a_fused_gemm_activates(cuda, activation):
    inputs = [floats(RANDOM, 4, 6), floats(RANDOM, 8, 4), floats(RANDOM, 8)]
    case = Single(
        "FusedGemm", inputs, constant=(1, 2), activation=activation, alpha=0.5, transA=1,
        transB=1, activation_alpha=0.7,
    )  # fmt: skip
    case.check()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("turned", ["", "last", "batch"])
def test_a_fused_product_is_transposed_and_scaled(cuda, dtype, turned):
    shapes = {
        "": ((2, 3, 4), (2, 4, 8), {}),
        "last": ((2, 4, 3), (2, 8, 4), {"transA": 1, "transB": 1}),
        "batch": ((3, 2, 4), (4, 2, 8), {"transBatchA": 1, "transBatchB": 1}),
    }
    a, b, attributes = shapes[turned]
    inputs = [floats(RANDOM, *a, dtype=dtype), floats(RANDOM, *b, dtype=dtype)]
    Single("FusedMatMul", inputs, alpha=0.3, **attributes).check(TYPES[dtype])


def test_what_follows_a_fused_node_is_its_epilogue(cuda):
    made = model(
        [
            node(
                "FusedConv", ["x", "w", "b"], ["c"], domain="com.microsoft",
                activation="Relu", pads=[1] * 4,
            ),
            node("Add", ["c", "x"], ["y"]),
        ],
        {"x": (FLOAT, [1, 8, 6, 6])},
        {"y": (FLOAT, [1, 8, 6, 6])},
        {"w": floats(RANDOM, 8, 8, 3, 3), "b": floats(RANDOM, 8)},
        domains={"com.microsoft": 1},
    )  # fmt: skip
    made.graph.value_info.append(made.graph.output[0].__class__())
    made.graph.value_info[0].CopyFrom(made.graph.output[0])
    made.graph.value_info[0].name = "c"
    session, x = opened(made), floats(RANDOM, 1, 8, 6, 6)
    (program,) = programs(session)
    assert [group.label for group, _ in program._walk] == ["FusedConv+Add"]
    got, want = session.run(None, {"x": x})[0], alone(made).run(None, {"x": x})[0]
    assert error(got, want) < 2e-6


def test_an_activation_nobody_knows_is_refused(cuda):
    inputs = [floats(RANDOM, 4, 6), floats(RANDOM, 6, 8)]
    case = Single(
        "FusedGemm", inputs, activation="Sine", want=[np.zeros((4, 8), np.float32)]
    )
    assert "Sine as an activation" in case.refusal()


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_rows_are_divided_by_their_root_mean_square(cuda, domain):
    inputs = [floats(RANDOM, 2, 3, 8), floats(RANDOM, 8)]
    Single("SimplifiedLayerNormalization", inputs, domain=domain, epsilon=1e-3).check()


@pytest.mark.parametrize("whole", [False, True])
def test_embeddings_are_summed_normalized_and_counted(cuda, whole):
    words = RANDOM.integers(0, 9, (2, 5)).astype(np.int32)
    inputs = [
        words,
        RANDOM.integers(0, 2, (2, 5)).astype(np.int32) if whole else None,
        floats(RANDOM, 9, 8),
        floats(RANDOM, 7, 8),
        floats(RANDOM, 2, 8) if whole else None,
        floats(RANDOM, 8),
        floats(RANDOM, 8),
        RANDOM.integers(0, 2, (2, 5)).astype(np.int32) if whole else None,
        RANDOM.integers(0, 7, (2, 5)).astype(np.int32) if whole else None,
    ]
    case = Single("EmbedLayerNormalization", inputs, 3, constant=(2, 3, 5, 6))
    case.check()


def by_groups(x, scale, bias, groups, swish):
    """Return GroupNorm of images with channels last."""
    n, h, w, c = x.shape
    apart = x.astype(np.float64).reshape(n, h, w, groups, c // groups)
    mean = apart.mean((1, 2, 4), keepdims=True)
    spread = apart.var((1, 2, 4), keepdims=True)
    y = ((apart - mean) / np.sqrt(spread + 1e-5)).reshape(x.shape) * scale + bias
    return y / (1 + np.exp(-y)) if swish else y


@pytest.mark.parametrize("swish", [0, 1])
@pytest.mark.parametrize("dtype", TYPES)
def test_images_with_channels_last_are_normalized_by_groups(cuda, swish, dtype):
    x = floats(RANDOM, 2, 4, 5, 8, dtype=dtype)
    scale, bias = floats(RANDOM, 8), floats(RANDOM, 8)
    want = by_groups(x, scale, bias, 2, swish).astype(dtype)
    case = Single(
        "GroupNorm", [x, scale, bias], want=[want], groups=2, epsilon=1e-5,
        activation=swish,
    )  # fmt: skip
    case.check(TYPES[dtype])


@pytest.mark.parametrize("flat", [False, True])
def test_what_is_skipped_is_added_before_normalizing(cuda, flat):
    x = floats(RANDOM, 2, 4, 5, 8)
    scale, bias, more = (floats(RANDOM, 8) for _ in range(3))
    skip = floats(RANDOM, 2, 8) if flat else floats(RANDOM, 2, 4, 5, 8)
    total = x + (skip[:, None, None] if flat else skip) + more
    want = [by_groups(total, scale, bias, 4, 1).astype(np.float32), total]
    case = Single(
        "SkipGroupNorm", [x, scale, bias, skip, more], 2, want=want, groups=4,
        activation=1, epsilon=1e-5,
    )  # fmt: skip
    case.check()


def test_one_half_is_gated_by_the_other(cuda):
    x, bias = floats(RANDOM, 2, 3, 16), floats(RANDOM, 16)
    left, right = np.split((x + bias).astype(np.float64), 2, axis=-1)
    want = (left * formulas.gelu(math_of(np), right)).astype(np.float32)
    Single("BiasSplitGelu", [x, bias], want=[want]).check()


def test_a_bias_and_what_is_skipped_are_added_at_once(cuda):
    x, bias, skip = floats(RANDOM, 2, 3, 8), floats(RANDOM, 8), floats(RANDOM, 2, 3, 8)
    session = Single("BiasAdd", [x, bias, skip], want=[x + bias + skip]).check()
    assert share(session) == 1
