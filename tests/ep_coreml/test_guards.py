"""What cannot be lowered is told with its reason, whether coremltools is there or not."""

import numpy as np
import onnx.parser
import pytest
import runtime_ep_coreml.lowering  # noqa: F401  (fills the table)
from onnx import numpy_helper
from runtime.testing.subject import Subject
from runtime_ep_coreml.capability import refusal
from runtime_ep_coreml.scope import Refused, narrowed
from runtime_ep_coreml.table import TABLE

ONNXRUNTIMES = (
    "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat",
    "Conv", "ConvTranspose", "DepthToSpace", "Div", "Elu", "Erf", "Exp", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "GridSample", "GroupNormalization",
    "HardSigmoid", "HardSwish", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "LRN", "MatMul", "MaxPool", "Max", "Mul", "Pad", "Pow", "PRelu",
    "Reciprocal", "ReduceSum", "ReduceMean", "ReduceMin", "ReduceMax", "ReduceProd",
    "Relu", "Reshape", "Resize", "Round", "Shape", "Sigmoid", "Slice", "Softmax",
    "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that onnxruntime's provider has for ML Programs, by its documentation."""


def node_of(text, opset=23, **weights):
    """Return the last node of a model after type inference."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(f"{head} g {text}")
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    opened = Subject(("cpu",)).open(proto.SerializeToString(), dry=True, passes="none")
    return list(opened.runnable.graph)[-1]


def test_there_are_more_than_twice_as_many_operators_as_onnxruntime_has():
    assert set(TABLE) >= set(ONNXRUNTIMES)
    assert len(TABLE) > 2 * len(ONNXRUNTIMES)


def test_every_lowering_says_what_it_does():
    assert not [name for name, row in TABLE.items() if not row.lower.__doc__]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(double[3] x) => (double[3] y) { y = Relu(x) }", "double is not computed"),
        ("(bfloat16[3] x) => (bfloat16[3] y) { y = Relu(x) }", "bfloat16 is not computed"),
        ("(uint32[3] x) => (bool[3] y) { y = Less(x, x) }", "uint32 does not fit"),
        ("(string[3] x) => (bool[3] y) { y = Equal(x, x) }", "string is not supported"),
        ("(float[1,1,1,1,1,2] x) => (float[1,1,1,1,1,2] y) { y = Relu(x) }", "rank 6"),
        ("(float[3,0] x) => (float[3,0] y) { y = Relu(x) }", "no elements"),
        ("(float[3,3] x) => (float y) { y = Det(x) }", "Det has no lowering"),
        ("(uint8[3] x) => (uint8[3] y) { y = Add(x, x) }", "Add of uint8"),
        ("(int64[3] x) => (int64[3] y) { y = Mul(x, x) }", "may need more"),
        ("(float[2,3] x, int64[1] a) => (float[2] y) { y = ReduceSum(x, a) }",
         "input 1 must be a constant"),
        ("(float[1,2,9,9] x) => (float[1,2,5,5] y)"
         "{ y = MaxPool<kernel_shape=[3,3], dilations=[2,2]>(x) }", "dilations=[2, 2]"),
        ("(float[1,2,4,4] x) => (float[1,2,2,2] y, int64[1,2,2,2] i)"
         "{ y, i = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x) }", "Indices"),
        ("(float[N] x) => (float[N] y) { y = com.acme.Relu(x) }", "com.acme"),
    ],
    ids=lambda value: value[:60],
)  # fmt: skip
def test_a_refusal_has_a_reason(text, reason):
    if "com.acme" in text:
        text = text.replace("com.acme.Relu", "Relu")
        node = node_of(text)
        node.domain = "com.acme"
    else:
        node = node_of(text)
    assert reason in refusal(node)


def test_what_is_within_the_table_is_not_refused():
    assert not refusal(node_of("(float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    shape = "(float[n,3] x) => (int64[2] y) { s = Shape(x) y = Mul(s, s) }"
    assert not refusal(node_of(shape))


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_constants_beyond_32_bits_are_refused(number):
    with pytest.raises(Refused, match="an int32 does not"):
        narrowed(np.array([number]), "int32")
    assert narrowed(np.array([number]), "fp32") == np.float32(number)


def test_constants_of_32_bits_are_narrowed():
    made = narrowed(np.array([2**31 - 1, -(2**31)]), "int32")
    assert made.dtype == np.int32
    assert made.tolist() == [2**31 - 1, -(2**31)]
