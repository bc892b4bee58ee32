"""Dequantized bytes are multiplied as int8; results are off by one quantum at most."""

import numpy as np
import pytest
from models import FLOAT, model, node
from on_the_double import alone, opened, programs, share
from onnx import TensorProto
from runtime_ep_cuda.actions import Chosen
from runtime_ep_cuda.codegen.kernel import Launch
from single import Single, floats

KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


class Net:
    """A model in the making, whose tensors are quantized on their way.

    ``zero`` is the zero point of activations of a kind, ``least`` that of weights.
    """

    def __init__(self, kind="int8", zero=0, weights="int8", least=0):
        self.random = np.random.default_rng(1)
        self.kind, self.zero, self.weights, self.least = kind, zero, weights, least
        self.nodes, self.constants, self.shapes = [], {}, {}
        self.inputs, self.outputs = {}, {}

    def scale(self, name, value):
        self.constants[f"{name}_s"] = np.float32(value)
        self.constants[f"{name}_z"] = np.array(self.zero, self.kind)
        return [f"{name}_s", f"{name}_z"]

    def fed(self, name, shape):
        """Return an input of bytes, dequantized."""
        self.inputs[name] = (KINDS[self.kind], shape)
        self.shapes[name] = shape
        return self.floats(name, self.scale(name, 0.05))

    def floats(self, name, scale):
        self.nodes.append(node("DequantizeLinear", [name, *scale], [f"{name}_f"]))
        return f"{name}_f"

    def bytes(self, name, quantum):
        """Quantize a result; return it as floats again."""
        scale = self.scale(name, quantum)
        self.nodes.append(node("QuantizeLinear", [name, *scale], [f"{name}_q"]))
        return f"{name}_q", scale

    def shown(self, name):
        self.outputs[name] = (KINDS[self.kind], None)

    def weight(self, name, shape, axis, each=True):
        about = np.iinfo(self.weights)
        low, high = max(about.min, self.least - 128), min(about.max, self.least + 127)
        array = self.random.integers(low, high + 1, shape).astype(self.weights)
        count = shape[axis] if each else 1
        scale = self.random.uniform(0.001, 0.01, count).astype(np.float32)
        zero = np.full(count, self.least, self.weights)
        self.constants |= {
            name: array,
            f"{name}_s": scale if each else scale[0],
            f"{name}_z": zero if each else zero[0],
        }
        self.nodes.append(
            node(
                "DequantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_f"],
                axis=axis,
            )
        )  # fmt: skip
        return f"{name}_f"

    def bias(self, name, count):
        self.constants[name] = floats(self.random, count)
        return name

    def add(self, op, inputs, output, **attributes):
        self.nodes.append(node(op, inputs, [output], **attributes))
        return output

    def run(self, most=1, exact=False):
        """Compare with the CPU provider; return the session."""
        made = model(self.nodes, self.inputs, self.outputs, self.constants, opset=21)
        about = np.iinfo(self.kind)
        feed = {
            name: self.random.integers(about.min, about.max + 1, shape).astype(
                self.kind
            )
            for name, shape in self.shapes.items()
        }
        session = opened(made)
        assert share(session) == 1.0
        got, want = session.run(None, feed), alone(made).run(None, feed)
        for ours, theirs in zip(got, want, strict=True):
            assert ours.dtype == theirs.dtype
            off = np.abs(ours.astype(np.float64) - theirs)
            assert off.max() <= most
            if ours.dtype.kind in "iu":
                assert (off > 0).mean() < 0.02
                assert len(np.unique(theirs)) > 20
        return session


def work(session):
    """Return the library's operations and how many kernels there are."""
    (program,) = programs(session)
    (plan,) = program._plans.values()
    calls = [a.work.call.operation for a in plan.actions if isinstance(a.work, Chosen)]
    return calls, sum(isinstance(a.work, Launch) for a in plan.actions)


POINTS = {
    "symmetric": {},
    "shifted": {"zero": 5},
    "unsigned": {"kind": "uint8", "zero": 0},
    "unsigned around the middle": {"kind": "uint8", "zero": 128},
    "unsigned weights": {"weights": "uint8", "least": 128},
}


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("pads", [0, 1])
def test_a_convolution_of_bytes_is_one_call(cuda, points, pads):
    net = Net(**POINTS[points])
    x = net.fed("x", [2, 16, 5, 5])
    inputs = [x, net.weight("w", (16, 16, 3, 3), 0), net.bias("b", 16)]
    net.add("Conv", inputs, "c", pads=[pads] * 4)
    net.add("Relu", ["c"], "r")
    y, _ = net.bytes("r", 0.03)
    net.shown(y)
    session = net.run()
    (call,), _ = work(session)
    assert (call.x.dtype, call.w.dtype, call.y.dtype) == ("int8",) * 3
    assert [step.mode for step in call.epilogue][:3] == ["mul", "add", "relu"]


@pytest.mark.parametrize("points", ["symmetric", "unsigned"])
def test_a_residual_of_bytes_is_added_as_it_lies(cuda, points):
    net = Net(**POINTS[points])
    x = net.fed("x", [1, 16, 4, 4])
    net.add("Conv", [x, net.weight("w", (16, 16, 1, 1), 0)], "c")
    net.add("Add", ["c", x], "a")
    net.add("Relu", ["a"], "r")
    y, _ = net.bytes("r", 0.07)
    net.shown(y)
    (call,), _ = work(net.run())
    assert call.y.dtype == "int8"
    assert "int8" in [operand.dtype for operand in call.operands]


def test_bytes_go_from_one_convolution_to_the_next_without_floats(cuda):
    net = Net(kind="uint8", zero=0)
    x = net.fed("x", [1, 16, 4, 4])
    net.add("Conv", [x, net.weight("w", (16, 16, 1, 1), 0)], "c")
    net.add("Relu", ["c"], "r")
    y = net.floats(*net.bytes("r", 0.03))
    net.add("Conv", [y, net.weight("v", (16, 16, 1, 1), 0)], "d")
    z, _ = net.bytes("d", 0.03)
    net.shown(z)
    session = net.run(most=2)
    calls, _ = work(session)
    assert [call.y.dtype for call in calls] == ["int8", "int8"]
    (program,) = programs(session)
    (plan,) = program._plans.values()
    wide = [t for a in plan.actions for t in a.work.tensors if t.dtype == np.float32]
    assert all(tensor.buffer.role == "weight" for tensor in wide)
    kernels = [a.work for a in plan.actions if isinstance(a.work, Launch)]
    assert len(kernels) == 3, "the input shifted and laid out, the output shifted back"


def test_what_is_made_where_it_is_read_is_made_in_plans_for_other_shapes(cuda):
    net = Net(kind="uint8", zero=0)
    x = net.fed("x", ["n", 16, 4, 4])
    net.add("Conv", [x, net.weight("w", (16, 16, 1, 1), 0)], "c")
    y, _ = net.bytes("c", 0.03)
    net.add("Transpose", [y], "t", perm=[0, 2, 3, 1])
    net.add("Conv", [net.floats(y, ["c_s", "c_z"]), "w_f"], "d")
    z, _ = net.bytes("d", 0.03)
    for name in (y, z, "t"):
        net.shown(name)
    made = model(net.nodes, net.inputs, net.outputs, net.constants, opset=21)
    session, cpu = opened(made), alone(made)
    for batch in (1, 2, 1, 3):
        feed = {"x": bytes_of(net.random, "uint8", batch, 16, 4, 4)}
        got, want = session.run(None, feed), cpu.run(None, feed)
        for ours, theirs in zip(got, want, strict=True):
            assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2


def test_what_a_library_has_no_words_for_follows_exact_sums(cuda):
    net = Net(zero=3)
    x = net.fed("x", [1, 16, 4, 4])
    net.add("Conv", [x, net.weight("w", (16, 16, 3, 3), 0)], "c", pads=[1] * 4)
    net.add("Softsign", ["c"], "r")
    y, _ = net.bytes("r", 0.01)
    net.shown(y)
    (call,), kernels = work(net.run())
    assert call.y.dtype == "int32"
    assert not call.epilogue
    assert kernels == 2


def test_a_depthwise_convolution_of_bytes_sums_whole_numbers(cuda):
    net = Net()
    x = net.fed("x", [1, 16, 4, 4])
    net.add("Conv", [x, net.weight("w", (16, 1, 3, 3), 0)], "c", group=16, pads=[1] * 4)
    y, _ = net.bytes("c", 0.02)
    net.shown(y)
    (call,), _ = work(net.run())
    assert (call.x.dtype, call.y.dtype) == ("int8", "int32")


def test_weights_that_are_no_int8_are_multiplied_as_floats(cuda):
    net = Net(weights="uint8", least=10)
    x = net.fed("x", [1, 16, 4, 4])
    net.constants["w"] = net.random.integers(0, 256, (16, 16, 1, 1)).astype(np.uint8)
    w = net.weight("w", (16, 16, 1, 1), 0)
    net.constants["w"] = net.random.integers(0, 256, (16, 16, 1, 1)).astype(np.uint8)
    net.add("Conv", [x, w], "c")
    y, _ = net.bytes("c", 0.05)
    net.shown(y)
    (call,), _ = work(net.run())
    assert call.x.dtype == "float32"


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("each", [False, True])
def test_a_product_of_bytes_is_one_call(cuda, points, each):
    net = Net(**POINTS[points])
    a = net.fed("x", [2, 3, 32])
    net.add("MatMul", [a, net.weight("w", (32, 16), 1, each)], "p")
    y, _ = net.bytes("p", 0.05)
    net.shown(y)
    (call,), _ = work(net.run())
    assert (call.a.dtype, call.b.dtype, call.y.dtype) == ("int8",) * 3


@pytest.mark.parametrize("turned", [0, 1])
def test_a_gemm_of_bytes_has_its_bias_in_the_call(cuda, turned):
    net = Net(zero=-4)
    a = net.fed("x", [4, 32])
    shape, axis = ((16, 32), 0) if turned else ((32, 16), 1)
    inputs = [a, net.weight("w", shape, axis), net.bias("b", 16)]
    net.add("Gemm", inputs, "p", transB=turned, alpha=0.5, beta=2.0)
    y, _ = net.bytes("p", 0.05)
    net.shown(y)
    (call,), kernels = work(net.run())
    assert call.y.dtype == "int8"
    assert kernels == 0


def test_two_activations_are_multiplied_as_bytes(cuda):
    net = Net()
    a, b = net.fed("a", [2, 3, 4, 16]), net.fed("b", [2, 3, 16, 8])
    net.add("MatMul", [a, b], "p")
    y, _ = net.bytes("p", 0.5)
    net.shown(y)
    (call,), _ = work(net.run())
    assert (call.a.dtype, call.b.dtype, call.y.dtype) == ("int8",) * 3


def test_a_result_that_stays_a_float_is_exact_but_for_rounding(cuda):
    net = Net(zero=7)
    x = net.fed("x", [2, 3, 32])
    net.add("MatMul", [x, net.weight("w", (32, 16), 1)], "p")
    net.add("Tanh", ["p"], "y")
    net.outputs["y"] = (FLOAT, None)
    net.run(most=1e-5)


def bytes_of(random, kind, *shape):
    about = np.iinfo(kind)
    return random.integers(about.min, about.max + 1, shape).astype(kind)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("each", [False, True])
def test_qlinear_operators_quantize_again(cuda, kind, each):
    random = np.random.default_rng(2)
    count = 16 if each else 1
    scale = random.uniform(0.002, 0.01, count).astype(np.float32)
    inputs = [
        bytes_of(random, kind, 1, 16, 5, 5), np.float32(0.05), np.array(3, kind),
        bytes_of(random, "int8", 16, 16, 3, 3), scale, np.zeros(count, np.int8),
        np.float32(0.4), np.array(60, kind), bytes_of(random, "int8", 16).astype(np.int32),
    ]  # fmt: skip
    inputs = [np.asarray(x) for x in inputs]
    convolution = Single(
        "QLinearConv", inputs, domain="", constant=range(1, 9), pads=[1] * 4
    )
    inputs[0], inputs[3] = (
        bytes_of(random, kind, 3, 32),
        bytes_of(random, "int8", 32, 16),
    )
    product = Single("QLinearMatMul", inputs[:8], domain="", constant=range(1, 8))
    for case in (convolution, product):
        session = opened(case.model)
        assert share(session) == 1.0
        got, want = session.run(None, case.feed)[0], case.want[0]
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
        assert (got != want).mean() < 0.01


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("held", [False, True])
def test_sums_of_whole_numbers_are_exact(cuda, kind, held):
    random = np.random.default_rng(3)
    zero = np.array(9, kind)
    x, w = bytes_of(random, kind, 1, 4, 5, 5), bytes_of(random, "int8", 8, 4, 3, 3)
    a, b = bytes_of(random, kind, 2, 3, 20), bytes_of(random, "uint8", 20, 12) // 2
    cases = [
        Single("MatMulInteger", [a, b, zero if held else None], domain="", constant=(1,)),
        Single("ConvInteger", [x, w], domain="", constant=(1,), pads=[1] * 4),
        Single(
            "ConvInteger", [x, w, zero], domain="", constant=(1, 2), pads=[1] * 4,
            strides=[2, 2],
        ),
    ]  # fmt: skip
    for case in cases:
        session = opened(case.model)
        assert share(session) == 1.0
        np.testing.assert_array_equal(session.run(None, case.feed)[0], case.want[0])


def test_an_input_is_quantized_by_its_range_and_multiplied_as_bytes(cuda):
    random = np.random.default_rng(4)
    made = model(
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            node("MatMulInteger", ["q", "w", "z"], ["i"]),
            node("Cast", ["i"], ["f"], to=FLOAT),
            node("Mul", ["s", "t"], ["u"]),
            node("Mul", ["f", "u"], ["m"]),
            node("Add", ["m", "b"], ["y"]),
        ],
        {"x": (FLOAT, [3, 32])},
        {"y": (FLOAT, [3, 16])},
        {
            "w": bytes_of(random, "int8", 32, 16),
            "t": np.float32(0.01),
            "b": floats(random, 16),
        },
    )
    session, x = opened(made), floats(random, 3, 32)
    got, want = session.run(None, {"x": x})[0], alone(made).run(None, {"x": x})[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    (program,) = programs(session)
    labels = [group.label for group, _ in program._walk]
    assert "MatMulInteger+Cast+Mul+Add" in labels
