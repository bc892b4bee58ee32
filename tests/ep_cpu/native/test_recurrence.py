"""LSTM, GRU and RNN by native code give what double precision does."""

import timeit

import numpy as np
import onnx
import pytest
from beside_numpy import checked, kernels, opened, programs, roles
from draws import TYPES, Draw
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from stopping import least_seconds_to_stop

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
ACTIVATIONS = (
    "Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
    "HardSigmoid", "Elu", "Softsign", "Softplus",
)  # fmt: skip
ACCURATE = 2e-5
"""Largest difference from double precision, as a part of the largest magnitude."""
TOLERANCE = {"float32": ACCURATE, "float16": 2e-3, "bfloat16": 1.6e-2}


def recurrent(d, operator, sizes, kind="float32", **forced):
    """Add a recurrent node with random attributes; return its results."""
    steps, batch, width, hidden = sizes
    direction = d.one("forward", "reverse", "bidirectional")
    count = 2 if direction == "bidirectional" else 1
    layout = d.one(0, 0, 1)
    attributes = {"hidden_size": hidden, "direction": direction, "layout": layout}
    if d.one(True, False):
        attributes["clip"] = d.one(0.3, 2.0)
    if operator == "GRU":
        attributes["linear_before_reset"] = d.one(0, 1)
    if operator == "LSTM":
        attributes["input_forget"] = d.one(0, 0, 1)
    if d.one(True, False):
        names = [d.one(*ACTIVATIONS) for _ in range(FUNCTIONS[operator] * count)]
        attributes["activations"] = names
        attributes["activation_alpha"] = [d.one(0.5, 0.7) for _ in names]
        attributes["activation_beta"] = [d.one(0.1, 0.4) for _ in names]
    attributes |= forced

    def states(scale=0.5):
        shape = (batch, count, hidden) if layout else (count, batch, hidden)
        return d.array(shape, kind) * TYPES[kind][1](scale)

    def weights(*shape):
        made = d.array((count, *shape), kind)
        return (made / np.sqrt(shape[-1])).astype(TYPES[kind][1])

    rows = GATES[operator] * hidden
    x = d.array((batch, steps, width) if layout else (steps, batch, width), kind)
    inputs = [
        d.operand("x", x),
        fixed(d, "w", weights(rows, width)),
        fixed(d, "r", weights(rows, hidden)),
        d.one("", d.either("b", d.array((count, 2 * rows), kind))),
    ]
    if d.one(True, False):
        d.feed["lens"] = np.array([d.size(steps, 0) for _ in range(batch)], np.int32)
        inputs.append("lens")
    else:
        inputs.append("")
    inputs += [
        d.one("", d.either(f"state{i}", states())) for i in range(STATES[operator])
    ]
    if operator == "LSTM":
        inputs.append(d.one("", d.either("p", d.array((count, 3 * hidden), kind))))
    outputs = ["y", "last", *(["cell"] if operator == "LSTM" else [])]
    wanted = [name for name in outputs if d.one(True, True, False)] or outputs
    listed = [name if name in wanted else "" for name in outputs]
    d.add(operator, inputs, *listed, **attributes)
    return wanted


def fixed(d, name, array):
    """Add a constant or an input: of weights shapes must be known before a run."""
    if d.one(True, True, False):
        return d.constant(name, array)
    d.feed[name] = array
    return name


def in_doubles(model, feed):
    """Return what NumPy's kernels make of the model in double precision."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for item in wide.graph.initializer:
        if item.data_type in (1, 10, 16):
            array = onnx.numpy_helper.to_array(item).astype(np.float64)
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    for value in (*wide.graph.input, *wide.graph.output, *wide.graph.value_info):
        if value.type.tensor_type.elem_type in (1, 10, 16):
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    given = {
        name: array if array.dtype.kind == "i" else array.astype(np.float64)
        for name, array in feed.items()
    }
    return opened(wide, native="off").run(None, given)


def compared(model, feed, tolerance, **entries):
    """Assert that a model is native and gives what double precision does."""
    session = opened(model, **entries)
    assert all(role != "host" for _, role in roles(session)), roles(session)
    got = session.run(None, feed)
    assert [p.moved for p in programs(session)] == [0] * len(programs(session))
    for one, want in zip(got, in_doubles(model, feed), strict=True):
        assert one.shape == want.shape
        largest = np.abs(want).max(initial=1e-3)
        worst = np.abs(one.astype(np.float64) - want).max(initial=0.0)
        assert worst <= tolerance * largest, f"{worst} of {largest}"
    return session


def built(d, outputs, opset=22):
    """Return the model; the shapes of weights that are inputs are known."""
    model = d.model(outputs, opset)
    for item in model.graph.input:
        if item.name in ("w", "r"):
            dims = item.type.tensor_type.shape.dim
            for dim, size in zip(dims, d.feed[item.name].shape, strict=True):
                dim.dim_value = size
    return model


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("seed", range(25))
def test_any_attributes_give_what_double_precision_does(operator, seed, target):
    d = Draw(1000 * seed + len(operator) + ord(operator[0]))
    kind = d.one("float32", "float32", "float32", "float16")
    hidden = d.one(d.size(9), d.size(40), 16, 64)
    sizes = (d.size(7), d.one(1, d.size(9)), d.size(20), hidden)
    model = built(d, recurrent(d, operator, sizes, kind))
    compared(model, d.feed, TOLERANCE[kind], target=target)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("seed", range(8))
def test_large_layers_give_what_double_precision_does(operator, seed):
    d = Draw(seed)
    sizes = (d.size(5, 2), d.one(1, 8, 13, 30), d.one(40, 128), d.one(100, 128, 260))
    model = built(d, recurrent(d, operator, sizes))
    compared(model, d.feed, ACCURATE)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_what_the_reference_of_onnx_gives(operator, direction):
    d = Draw(5)
    count = 2 if direction == "bidirectional" else 1
    rows = GATES[operator] * 6
    inputs = [
        d.operand("x", d.array((4, 3, 5))),
        d.constant("w", d.array((count, rows, 5))),
        d.constant("r", d.array((count, rows, 6))),
        d.constant("b", d.array((count, 2 * rows))),
    ]
    d.add(operator, inputs, "y", "last", hidden_size=6, direction=direction)
    model = built(d, ["y", "last"], 14)
    got = opened(model).run(None, d.feed)
    want = ReferenceEvaluator(model).run(None, d.feed)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, atol=ACCURATE)


def layer(operator, sizes, seed=0, **attributes):
    """Return a layer with constant weights, all its results, and a feed."""
    d = Draw(seed)
    steps, batch, width, hidden = sizes
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[operator] * hidden
    d.feed["x"] = d.array((steps, batch, width))
    inputs = [
        "x",
        d.constant("w", d.array((count, rows, width)) / np.float32(np.sqrt(width))),
        d.constant("r", d.array((count, rows, hidden)) / np.float32(np.sqrt(hidden))),
        d.constant("b", d.array((count, 2 * rows))),
        "lens",
    ]
    d.feed["lens"] = np.full(batch, steps, np.int32)
    outputs = ["y", "last", *(["cell"] if operator == "LSTM" else [])]
    d.add(operator, inputs, *outputs, hidden_size=hidden, **attributes)
    return d.model(outputs, 22), d.feed


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("batch", [1, 13])
def test_results_do_not_depend_on_who_takes_part(operator, batch):
    sizes = (9, batch, 40, 260)
    model, feed = layer(operator, sizes, direction="bidirectional")
    want = opened(model, threads=1).run(None, feed)
    for threads in (2, 3, 8):
        session = opened(model, threads=threads)
        for _ in range(5):
            for one, other in zip(session.run(None, feed), want, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("linear", [0, 1])
def test_what_is_no_number_stays_in_its_row_and_its_time(operator, linear):
    attributes = {"linear_before_reset": linear} if operator == "GRU" else {}
    model, feed = layer(operator, (6, 4, 5, 20), **attributes)
    finite = opened(model).run(None, feed)
    feed["x"][2, 1, 3], feed["x"][0, 3, 0] = np.nan, np.inf
    feed["x"][5, 2] = np.nan
    feed["lens"] = np.array([6, 6, 5, 6], np.int32)
    session = checked(model, feed)
    y = session.run(None, feed)[0]
    np.testing.assert_array_equal(y[:, :, 0], finite[0][:, :, 0])
    np.testing.assert_array_equal(y[:2, :, 1], finite[0][:2, :, 1])
    assert np.isnan(y[2:, :, 1]).all()
    np.testing.assert_array_equal(y[:5, :, 2], finite[0][:5, :, 2])
    assert not y[5, :, 2].any()


@pytest.mark.parametrize("wrong", [-1, 7])
def test_lengths_of_no_sequence_are_refused_in_words(wrong):
    model, feed = layer("LSTM", (6, 3, 5, 4))
    feed["lens"] = np.array([6, wrong, 0], np.int32)
    session = opened(model)
    with pytest.raises(Exception, match="sequence_lens"):
        session.run(None, feed)


@pytest.mark.parametrize("operator", GATES)
def test_weights_come_back_from_their_panels(operator):
    model, feed = layer(operator, (6, 3, 21, 19), direction="bidirectional")
    nothing = {"x": feed["x"][:0], "lens": np.zeros(3, np.int32)}
    wrong = {"x": feed["x"], "lens": np.array([6, 0, 9], np.int32)}
    session, plain = opened(model), opened(model, native="off")
    for some in (feed, nothing):
        pairs = zip(session.run(None, some), plain.run(None, some), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=ACCURATE)
    with pytest.raises(Exception, match="sequence_lens"):
        session.run(None, wrong)
    (stage,) = [stage for p in programs(session) for stage in p.stages]
    given = {
        item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer
    }
    requests = {r.value.name: r for r in stage.requests if r.is_lossless}
    assert requests.keys() == {"w", "r"} - ({"r"} if operator == "GRU" else set())
    for name, request in requests.items():
        np.testing.assert_array_equal(request.value.constant(), given[name])


def test_a_long_walk_stops_when_it_is_told_to():
    model, feed = layer("LSTM", (1 << 15, 1, 4, 256))
    session = opened(model, threads=2)
    whole = min(timeit.repeat(lambda: session.run(None, feed), repeat=3, number=1))
    assert least_seconds_to_stop(session, feed, whole / 8) < whole / 8
    np.testing.assert_array_equal(
        session.run(None, feed)[1], session.run(None, feed)[1]
    )


@pytest.mark.parametrize("target", ["auto", "avx2"])
def test_each_direction_is_one_product_and_one_walk(target):
    model, feed = layer("LSTM", (6, 3, 21, 32), direction="bidirectional")
    session = opened(model, target=target)
    session.run(None, feed)
    assert sorted(kernels(session)) == ["gemm", "gemm", "recurrence", "recurrence"]
