"""Drawn shapes and attributes of the operators that have many: right, or refused."""

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from runtime.errors import ExecutionError, ModelInvalid

SMALL = st.integers(1, 3)


class Counts:
    """How many drawn models there were of an operator, and how many nodes were owned."""

    def __init__(self):
        self.drawn, self.owned = Counter(), Counter()

    def shares(self):
        """Return the share of owned nodes of each operator, of at least one model."""
        return {name: self.owned[name] / count for name, count in self.drawn.items()}


COUNTS = Counts()


def drawn(least):
    """Draw data for a test; assert that Core ML owns a least share of each operator."""

    def decorate(test):
        many = given(st.data())(test)

        def counted():
            COUNTS.__init__()
            many()
            assert COUNTS.drawn, "no draw is a model"
            few = {n: s for n, s in COUNTS.shares().items() if s < least}
            assert not few, f"Core ML owns too few: {few}"

        counted.__name__ = test.__name__
        return counted

    return decorate


def right(operator, x, constants=(), outputs=1, rtol=1e-4, **attributes):
    """Assert that an operator of constants is what the CPU provider gives, if claimed."""
    names = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    made = [f"y{i}" for i in range(outputs)]
    kept = {key: value for key, value in attributes.items() if value is not None}
    node = helper.make_node(operator, ["x", *names], made, **kept)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in made],
        [numpy_helper.from_array(c, n) for n, c in zip(names, constants, strict=True) if n],
    )  # fmt: skip
    for info in graph.output:
        info.ClearField("type")
    opset = helper.make_opsetid("", 22)
    source = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    try:
        wants = SUBJECT.alone(source.SerializeToString())({"x": x})
    except (ModelInvalid, ExecutionError):
        return  # the CPU provider says that it is no model
    opened = SUBJECT.open(source.SerializeToString(), cache=False)
    COUNTS.drawn[operator] += 1
    COUNTS.owned[operator] += bool(opened.owned)
    assert not opened.faults, opened.faults
    for got, want in zip(opened({"x": x}), wants, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-4)
    assert not opened.faults, opened.faults


def image(data, axes, channels=2, low=4, high=9):
    sizes = [data.draw(st.integers(low, high)) for _ in range(axes)]
    seed = data.draw(st.integers(0, 99))
    shape = (data.draw(SMALL), channels, *sizes)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def numbers(data, count, low, high):
    return [data.draw(st.integers(low, high)) for _ in range(count)]


def around(data, axes, high=2):
    """Draw padding, by name or by number."""
    auto = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto != "NOTSET":
        return {"auto_pad": auto}
    return {"pads": numbers(data, 2 * axes, 0, high)}


@drawn(0.5)
def test_convolutions(data):
    axes, groups = data.draw(SMALL), data.draw(st.sampled_from([1, 2]))
    x = image(data, axes, 2 * groups)
    kernel = numbers(data, axes, 1, 3)
    weight = (
        np.random.default_rng(1).standard_normal((4, 2, *kernel)).astype(np.float32)
    )
    bias = np.arange(4, dtype=np.float32) if data.draw(st.booleans()) else None
    padding = around(data, axes)
    dilations = numbers(data, axes, 1, 2) if "pads" in padding else None
    right(
        "Conv", x, (weight, bias), strides=numbers(data, axes, 1, 3), group=groups,
        dilations=dilations, **padding,
    )  # fmt: skip


@drawn(0.5)
def test_transposed_convolutions(data):
    axes, groups = data.draw(SMALL), data.draw(st.sampled_from([1, 2]))
    x = image(data, axes, 2 * groups, 2, 5)
    kernel = numbers(data, axes, 1, 3)
    shape = (2 * groups, 3, *kernel)
    weight = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    bias = np.arange(3 * groups, dtype=np.float32) if data.draw(st.booleans()) else None
    strides = numbers(data, axes, 1, 3)
    more = [data.draw(st.integers(0, stride - 1)) for stride in strides]
    right(
        "ConvTranspose", x, (weight, bias), strides=strides, group=groups,
        output_padding=more, **around(data, axes, 1),
    )  # fmt: skip


@drawn(0.5)
def test_pools(data):
    axes = data.draw(SMALL)
    operator = data.draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
    attributes = {}
    if operator == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    if operator != "LpPool":
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    right(
        operator, image(data, axes), kernel_shape=numbers(data, axes, 2, 4),
        strides=numbers(data, axes, 1, 3), **around(data, axes, 1), **attributes,
    )  # fmt: skip


@drawn(0.5)
def test_slices(data):
    rank = data.draw(st.integers(1, 4))
    x = np.arange(5**rank, dtype=np.float32).reshape((5,) * rank)
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    starts, ends, steps = [], [], []
    for _ in axes:
        low, high = sorted(
            data.draw(st.sets(st.integers(0, 5), min_size=2, max_size=2))
        )
        steps.append(step := data.draw(st.sampled_from([1, 2, 3, -1, -2, -5])))
        start, end = (low, high) if step > 0 else (high - 1, low - 1)
        whole = (2**63 - 1, 9) if step > 0 else (-(2**63), -9)
        starts.append(data.draw(st.sampled_from([start, start - 5])))
        spelt = [end, end - 5] if 0 <= end < 5 else whole
        ends.append(data.draw(st.sampled_from(spelt)))
    given_ = (starts, ends, [axis - rank for axis in axes], steps)
    right("Slice", x, [np.array(part, np.int64) for part in given_])


@drawn(0.5)
def test_resizing(data):
    axes = data.draw(st.integers(1, 2))
    x = image(data, axes, 2, 2, 6)
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]))
    coordinates = data.draw(
        st.sampled_from(
            ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel",
             "half_pixel_symmetric"]
        )
    )  # fmt: skip
    nearest = data.draw(st.sampled_from(["round_prefer_floor", "floor", "ceil"]))
    scales, sizes = None, None
    if data.draw(st.booleans()):
        drawn = [
            data.draw(st.sampled_from([0.5, 0.8, 1.5, 2.0, 2.5])) for _ in range(axes)
        ]
        scales = np.array([1, 1, *drawn], np.float32)
    else:
        sizes = np.array([*x.shape[:2], *numbers(data, axes, 1, 9)], np.int64)
    right(
        "Resize", x, (None, scales, sizes), mode=mode, nearest_mode=nearest,
        coordinate_transformation_mode=coordinates, rtol=1e-3,
    )  # fmt: skip


@drawn(0.3)
def test_pads(data):
    rank = data.draw(st.integers(1, 4))
    shape = tuple(numbers(data, rank, 3, 5))
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pads = np.array(
        numbers(data, 2 * rank, data.draw(st.sampled_from([-1, 0])), 2), np.int64
    )
    mode = data.draw(st.sampled_from(["constant", "edge", "reflect"]))
    right("Pad", x, (pads, np.float32(7)), mode=mode)


@drawn(0.5)
def test_look_ups_and_updates(data):
    rank = data.draw(st.integers(1, 3))
    x = np.arange(4**rank, dtype=np.float32).reshape((4,) * rank)
    axis = data.draw(st.integers(-rank, rank - 1))
    operator = data.draw(
        st.sampled_from(["Gather", "GatherElements", "ScatterElements"])
    )
    shape = list(x.shape)
    if operator == "Gather":
        shape = numbers(data, data.draw(st.integers(0, 2)), 1, 3)
    else:
        shape[axis] = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    indices = rng.integers(-4, 4, shape)
    constants, attributes = [indices], {"axis": axis}
    if operator == "ScatterElements":
        attributes["reduction"] = data.draw(st.sampled_from(["none", "add", "max"]))
        constants.append(rng.standard_normal(shape).astype(np.float32))
        if (
            attributes["reduction"] == "none"
        ):  # several updates of one place have no order
            constants[0] = np.argsort(rng.random(x.shape), axis=axis)
            constants[1] = rng.standard_normal(x.shape).astype(np.float32)
    right(operator, x, constants, **attributes)


@drawn(0.5)
def test_reductions(data):
    rank = data.draw(st.integers(1, 4))
    shape = tuple(numbers(data, rank, 1, 4))
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    axes = sorted(data.draw(st.sets(st.integers(-rank, -1))))
    names = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp", "SumSquare"]
    operator = f"Reduce{data.draw(st.sampled_from(names))}"
    given_ = [np.array(axes, np.int64)] if axes else []
    keep = data.draw(st.integers(0, 1))
    right(operator, x, given_, keepdims=keep)


@drawn(0.5)
def test_contractions(data):
    sizes = {label: data.draw(st.integers(1, 4)) for label in "abcdef"}
    labels = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)
    left, right_ = data.draw(labels), data.draw(labels)
    known = sorted(set(left + right_))
    out = data.draw(st.lists(st.sampled_from(known), max_size=4, unique=True))
    rng = np.random.default_rng(2)
    x, y = (
        rng.standard_normal([sizes[label] for label in term]).astype(np.float32)
        for term in (left, right_)
    )
    equation = f"{''.join(left)},{''.join(right_)}->{''.join(out)}"
    right("Einsum", x, [y], equation=equation)
