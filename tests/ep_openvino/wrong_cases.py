"""For each line of what OpenVINO gets wrong, a model and inputs that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx.parser
from runtime.testing.cases import node_cases, node_feeds

Feed = Mapping[str, Any]
INF = np.inf


@dataclass(frozen=True)
class Case:
    """An operator, the beginning of the reason, a model as text and its inputs.

    The text may also be the name of one of ONNX's node cases, which brings its inputs.
    """

    operator: str
    reason: str
    text: str
    given: Feed | None = None
    opset: int = 23

    @property
    def model(self) -> bytes:
        """The model as bytes."""
        if self.given is None:
            return node_cases()[self.text].model.SerializeToString()
        head = f'<ir_version: 10, opset_import: ["" : {self.opset}]>'
        return onnx.parser.parse_model(f"{head} g {self.text}").SerializeToString()

    @property
    def feed(self) -> Feed:
        """What the model is fed."""
        if self.given is None:
            return node_feeds(node_cases()[self.text])[0][0]
        return self.given


def floats(*shape: int, seed: int = 0) -> Any:
    """Return normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _f(*items: Any) -> Any:
    return np.array(items, np.float32)


def _i(*items: Any, dtype: Any = np.int64) -> Any:
    return np.array(items, dtype)


def _recurrent(operator: str, gates: int) -> list[Case]:
    w, r = floats(1, 3 * gates, 2, seed=1), floats(1, 3 * gates, 3, seed=2)
    shapes = f"float[1,{3 * gates},2] w, float[1,{3 * gates},3] r"
    return [
        Case(
            operator,
            "lengths are ignored",
            f"(float[t,b,2] x, int32[b] n) => (float[t,1,b,3] y) <{_constants(w, r)}> "
            f"{{ y = {operator}<hidden_size = 3>(x, w, r, , n) }}",
            {"x": floats(4, 2, 2), "n": _i(4, 2, dtype=np.int32)},
        ),
        Case(
            operator,
            "the batch is taken",
            f"(float[b,t,2] x, {shapes}) => (float[b,t,1,3] y) "
            f"{{ y = {operator}<hidden_size = 3, layout = 1>(x, w, r) }}",
            {"x": floats(2, 4, 2), "w": w, "r": r},
        ),
    ]


def _constants(w: Any, r: Any) -> str:
    return ", ".join(
        f"float[{','.join(map(str, array.shape))}] {name} = "
        f"{{{', '.join(f'{item:.6f}' for item in array.flat)}}}"
        for name, array in (("w", w), ("r", r))
    )


def _drawn(operator: str, head: str, attributes: str, feed: Feed) -> Case:
    inputs = "x" if feed else ""
    return Case(
        operator,
        "random numbers",
        f"{head} {{ y = {operator}<{attributes}>({inputs}) }}",
        feed,
    )


def _resize(reason: str, sizes: str, attributes: str, feed: Feed, kind="float") -> Case:
    shape = ",".join(map(str, feed["x"].shape))
    return Case(
        "Resize",
        reason,
        f"({kind}[{shape}] x) => ({kind}[a,b,c,d] y) <{sizes}> "
        f"{{ y = Resize<{attributes}>(x, {_ARGUMENTS[sizes.split()[1]]}) }}",
        feed,
    )


_ARGUMENTS = {"s": ", s", "n": ", , n"}
_UP = "float[4] s = {1.0, 1.0, 2.0, 2.0}"
_DOWN = "float[4] s = {1.0, 1.0, 0.6, 0.6}"
_IMAGE = {"x": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) ** 2}


def _bits(operator: str, two: bool = True) -> Case:
    arguments, declared = (
        ("x, z", "uint32[3] x, uint32[3] z") if two else ("x", "uint32[3] x")
    )
    feed = {"x": _i(2**31 + 5, 2**32 - 1, 7, dtype=np.uint32)}
    if two:
        feed["z"] = _i(2**31 + 4, 2**31, 3, dtype=np.uint32)
    return Case(
        operator,
        "64-bit and unsigned",
        f"({declared}) => (uint32[3] y) {{ y = {operator}({arguments}) }}",
        feed,
    )


def _attention() -> list[Case]:
    kv = floats(1, 2, 5, 4, seed=1)
    past = "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal"
    return [
        Case("Attention", "windows", "test_attention_local_window_rank1_boolean_mask"),
        Case("Attention", "a causal mask", past),
        Case(
            "Attention",
            "the number of heads",
            "(float[1,h,3,4] q, float[1,g,5,4] k, float[1,g,5,4] v) => (float[1,h,3,4] y) "
            "{ y = Attention(q, k, v) }",
            {"q": floats(1, 4, 3, 4), "k": kv, "v": kv},
        ),
    ]


HALVES = np.arange(-150, 250, 1, np.float32) / 2

CASES: list[Case] = [
    *_attention(),
    _drawn(
        "Bernoulli", "(float[9] x) => (float[9] y)", "seed = 1.0", {"x": _f(*[0.5] * 9)}
    ),
    Case(
        "BitShift",
        "shifts by the whole width",
        "(uint8[3] x, uint8[3] z) => (uint8[3] y) "
        '{ y = BitShift<direction = "LEFT">(x, z) }',
        {"x": _i(1, 3, 255, dtype=np.uint8), "z": _i(8, 9, 1, dtype=np.uint8)},
    ),
    _bits("BitwiseAnd"),
    _bits("BitwiseNot", two=False),
    _bits("BitwiseOr"),
    _bits("BitwiseXor"),
    Case(
        "ConvTranspose",
        "padding that depends",
        "(float[1,1,h,w] x, float[1,1,3,3] k) => (float[1,1,a,b] y) "
        '{ y = ConvTranspose<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, k) }',
        {"x": floats(1, 1, 4, 5), "k": floats(1, 1, 3, 3)},
    ),
    Case(
        "DFT",
        "errors reach",
        "(float[1,32,16,1] x) => (float[1,32,16,2] y) <int64 a = {2}> { y = DFT(x, , a) }",
        {"x": floats(1, 32, 16, 1)},
    ),
    Case(
        "Dropout",
        "with a mask",
        "(float[4] x) => (float[4] y, bool[4] m) { y, m = Dropout(x) }",
        {"x": floats(4)},
    ),
    Case(
        "DynamicQuantizeLinear",
        "ties",
        "(float[6] x) => (uint8[6] y, float s, uint8 z) "
        "{ y, s, z = DynamicQuantizeLinear(x) }",
        {"x": _f(0, 255, 0.5, 1.5, 2.5, 4.5)},
    ),
    *_recurrent("GRU", 3),
    *_recurrent("LSTM", 4),
    Case(
        "LSTM",
        "peepholes",
        "(float[4,2,2] x, float[1,12,2] w, float[1,12,3] r, float[1,9] p) => "
        "(float[4,1,2,3] y) { y = LSTM<hidden_size = 3>(x, w, r, , , , , p) }",
        {
            "x": floats(4, 2, 2),
            "w": floats(1, 12, 2, seed=1),
            "r": floats(1, 12, 3, seed=2),
            "p": floats(1, 9, seed=3),
        },
    ),
    Case(
        "LSTM",
        "input_forget",
        "(float[4,2,2] x, float[1,12,2] w, float[1,12,3] r) => (float[4,1,2,3] y) "
        "{ y = LSTM<hidden_size = 3, input_forget = 1>(x, w, r) }",
        {
            "x": floats(4, 2, 2),
            "w": floats(1, 12, 2, seed=1),
            "r": floats(1, 12, 3, seed=2),
        },
    ),
    Case(
        "MaxPool",
        "indices of column-major",
        "(float[1,1,6,5] x) => (float[a,b,c,d] y, int64[a,b,c,d] i) "
        "{ y, i = MaxPool<kernel_shape = [2, 2], storage_order = 1>(x) }",
        {"x": floats(1, 1, 6, 5)},
    ),
    Case(
        "MaxPool",
        "indices of integers",
        "(uint8[n,2,9] x) => (uint8[a,b,c] y, int64[a,b,c] i) "
        "{ y, i = MaxPool<kernel_shape = [3]>(x) }",
        {"x": (16 * floats(2, 2, 9) ** 2).astype(np.uint8) % 3},
    ),
    _drawn(
        "Multinomial",
        "(float[2,5] x) => (int32[2,9] y)",
        "sample_size = 9, seed = 1.0",
        {"x": floats(2, 5)},
    ),
    Case(
        "NonMaxSuppression",
        "boxes at the very threshold",
        "(float[1,2,4] b, float[1,1,2] s, float[1] t) => (int64[n,3] y) "
        "<int64[1] m = {5}> { y = NonMaxSuppression(b, s, m, t) }",
        {
            "b": _f([[0, 0, 1, 1], [0, 0, 1, 2]]),
            "s": _f([[0.9, 0.8]]),
            "t": _f(0.5),
        },
    ),
    Case(
        "PRelu",
        "a slope",
        "(float[2,3,4] x, float[c] s) => (float[2,3,4] y) { y = PRelu(x, s) }",
        {"x": floats(2, 3, 4), "s": floats(4, seed=1)},
    ),
    Case(
        "QuantizeLinear",
        "close to ties",
        "(float[400] x, float s) => (uint8[400] y) <uint8 z = {0}> "
        "{ y = QuantizeLinear(x, s, z) }",
        {"x": HALVES * np.float32(3.7), "s": np.float32(3.7)},
    ),
    Case(
        "QuantizeLinear",
        "16 bits",
        "(float[400] x) => (int16[400] y) <float s = {1.0}, int16 z = {5}> "
        "{ y = QuantizeLinear(x, s, z) }",
        {"x": HALVES},
    ),
    _drawn("RandomNormal", "() => (float[4] y)", "shape = [4], seed = 1.0", {}),
    _drawn("RandomUniform", "() => (float[4] y)", "shape = [4], seed = 1.0", {}),
    _drawn(
        "RandomNormalLike",
        "(float[4] x) => (float[4] y)",
        "seed = 1.0",
        {"x": floats(4)},
    ),
    _drawn(
        "RandomUniformLike",
        "(float[4] x) => (float[4] y)",
        "seed = 1.0",
        {"x": floats(4)},
    ),
    *_recurrent("RNN", 1),
    Case(
        "ReduceMax",
        "maxima and minima",
        "(float[2,3] x) => (float[2,1] y) <int64[1] a = {1}> { y = ReduceMax(x, a) }",
        {"x": _f([-INF, -INF, -INF], [1, 2, 3])},
    ),
    Case(
        "ReduceMin",
        "maxima and minima",
        "(float[2,3] x) => (float[2,1] y) <int64[1] a = {1}> { y = ReduceMin(x, a) }",
        {"x": _f([INF, INF, INF], [1, 2, 3])},
    ),
    _resize("antialiasing", _DOWN, 'mode = "linear", antialias = 1', _IMAGE),
    _resize("what is outside", _DOWN, 'mode = "cubic", exclude_outside = 1', _IMAGE),
    _resize(
        "the policy",
        "int64[2] n = {7, 8}",
        'axes = [2, 3], keep_aspect_ratio_policy = "not_larger"',
        {"x": floats(1, 1, 2, 4)},
    ),
    _resize(
        "sizes that scales give",
        _DOWN,
        'mode = "linear", coordinate_transformation_mode = "align_corners"',
        _IMAGE,
    ),
    _resize(
        "coordinates are off",
        "int64[4] n = {1, 1, 4, 6}",
        'mode = "nearest", nearest_mode = "floor"',
        {"x": floats(1, 1, 4, 10)},
    ),
    _resize(
        "blended integers",
        _UP,
        'mode = "linear"',
        {"x": np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4) ** 2},
        "uint8",
    ),
    Case(
        "RoiAlign",
        "the maximum",
        "(float[1,1,8,8] x, float[1,4] r, int64[1] b) => (float[1,1,3,3] y) "
        '{ y = RoiAlign<mode = "max", output_height = 3, output_width = 3, '
        "sampling_ratio = 2>(x, r, b) }",
        {"x": floats(1, 1, 8, 8), "r": _f([0.3, 0.7, 6.1, 5.2]), "b": _i(0)},
    ),
    Case(
        "RoiAlign",
        "adaptive sampling",
        "(float[2,1,8,8] x, float[1,4] r, int64[1] b) => (float[1,1,3,3] y) "
        "{ y = RoiAlign<output_height = 3, output_width = 3>(x, r, b) }",
        {"x": floats(2, 1, 8, 8), "r": _f([0.3, 0.7, 6.1, 5.2]), "b": _i(1)},
    ),
    Case(
        "SpaceToDepth",
        "mode",
        "(float[1,2,4,4] x) => (float[1,8,2,2] y) "
        '{ y = SpaceToDepth<blocksize = 2, mode = "CRD">(x) }',
        {"x": floats(1, 2, 4, 4)},
        28,
    ),
    Case(
        "Split",
        "unequal parts",
        "(float[n] x) => (float[a] y, float[b] z) { y, z = Split<num_outputs = 2>(x) }",
        {"x": floats(5)},
    ),
    Case("Tile", "repeats of several axes", "test_tile"),
]
