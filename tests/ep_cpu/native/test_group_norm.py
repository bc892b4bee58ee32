"""Normalisation of groups of channels gives what double precision does."""

import numpy as np
import pytest
from beside_numpy import checked, groups, opened, roles
from draws import TYPES, Draw
from onnx import TensorProto, helper

TOLERANCE = 4e-6
"""Differences from NumPy's kernels, as a part of the largest magnitude of a result."""


def normalized(d, x, channels, kind, count, type="float32"):
    """Add one normalisation and return its name and the opset it is of."""
    if kind == "instance":
        names = [d.either(n, d.array((channels,), type)) for n in ("scale", "bias")]
        d.add("InstanceNormalization", [x, *names], "y", epsilon=d.one(1e-5, 0.1))
        return "y", 20
    per = count if kind == "group_18" else channels
    add = d.constant if kind == "group_18" else d.either
    names = [add(n, d.array((per,), type)) for n in ("scale", "bias")]
    attributes = {"num_groups": count, "epsilon": d.one(1e-5, 0.1)}
    d.add("GroupNormalization", [x, *names], "y", **attributes)
    return "y", 18 if kind == "group_18" else 21


def ranked(model, rank, type=TensorProto.FLOAT):
    """Return a model whose output has so many axes, which onnx does not always infer."""
    output = model.graph.output[0]
    dims = [f"{output.name}{axis}" for axis in range(rank)]
    kind = helper.make_tensor_type_proto(type, dims)
    output.type.CopyFrom(kind)
    return model


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("seed", range(40))
def test_groups_of_any_size_and_what_follows_them(seed, target):
    d = Draw(seed)
    count, each = d.one((1, 5), (2, 8), (4, 16), (3, 10), (8, 1), (32, 10), (2, 40))
    channels = count * each
    sizes = [d.size(12) for _ in range(d.one(1, 2, 2, 3))]
    sizes[-1] += d.one(0, 0, 70)
    x = d.operand("a", d.array((d.size(3), channels, *sizes)))
    way = d.one("alone", "after", "before")
    if way == "before":
        w = d.array((channels, channels, *(1,) * len(sizes))) / np.sqrt(channels)
        x = d.add("Conv", [x, d.constant("w", w.astype("f"))], "c")
    y, opset = normalized(
        d, x, channels, d.one("instance", "group_18", "group_21"), count
    )
    if way == "after":
        y = d.add("Mul", [y, d.add("Sigmoid", [y], "s")], "z")
    elif way == "before":
        w = d.array((4, channels, *(3,) * len(sizes))) / np.sqrt(9 * channels)
        pads = [1] * (2 * len(sizes))
        y = d.add("Conv", [y, d.constant("v", w.astype("f"))], "z", pads=pads)
    model = ranked(d.model([y], opset), len(sizes) + 2)
    checked(model, d.feed, target=target, tolerance=TOLERANCE, least=1.0)


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("type", ["float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(12))
def test_half_precision_is_computed_in_float32(seed, type, target):
    d = Draw(seed)
    count, each = d.one((1, 5), (2, 8), (4, 16), (3, 10), (2, 40))
    channels = count * each
    sizes = [d.size(9) for _ in range(d.one(1, 2, 2, 3))]
    sizes[-1] += 3
    x = d.operand("a", d.array((d.size(3), channels, *sizes), type))
    kinds = ("instance", "group_18", "group_21")
    y, opset = normalized(d, x, channels, d.one(*kinds), count, type)
    if d.one(True, False):
        y = d.add("Mul", [y, d.add("Sigmoid", [y], "s")], "z")
    made = d.model([y], 22 if (opset, type) == (20, "bfloat16") else opset)
    model = ranked(made, len(sizes) + 2, TYPES[type][0])
    tolerance = {"float16": 2e-3, "bfloat16": 1.6e-2}[type]
    session = checked(model, d.feed, target=target, tolerance=tolerance, least=1.0)
    assert {role for _, role in roles(session)} == {"native"}


def group_norm(x, count, *more):
    d = Draw(0)
    d.feed["x"] = x
    ones, zeros = np.ones(x.shape[1], np.float32), np.zeros(x.shape[1], np.float32)
    inputs = ["x", d.constant("scale", ones), d.constant("bias", zeros)]
    y = d.add("GroupNormalization", inputs, "y", num_groups=count, epsilon=1e-6)
    for operator in more:
        y = d.add(operator, [y], f"{y}_{operator}")
    return ranked(d.model([y], 21), x.ndim), d.feed


def expected(x, count):
    rows = x.astype(np.float64).reshape(len(x), count, -1)
    apart = rows - rows.mean(-1, keepdims=True)
    return (apart / np.sqrt(rows.var(-1, keepdims=True) + 1e-6)).reshape(x.shape)


@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4])
def test_a_mean_that_is_large_beside_the_deviation_costs_no_accuracy(mean):
    x = np.random.default_rng(1).standard_normal((2, 48, 40, 41)) + mean
    x[:, 24:] -= mean / 2
    x = x.astype(np.float32)
    model, feed = group_norm(x, 4)
    (got,) = opened(model).run(None, feed)
    want = expected(x, 4)
    unit = np.spacing(np.float32(max(mean, 1.0)))
    assert np.abs(got - want).max() < 2e-6 + unit


def test_a_group_without_numbers_is_alone_with_it():
    x = np.random.default_rng(1).standard_normal((1, 8, 9, 9)).astype(np.float32)
    x[0, 1, 2, 3] = np.nan
    model, feed = group_norm(x, 4)
    (got,) = opened(model).run(None, feed)
    assert np.isnan(got[:, :2]).all()
    np.testing.assert_allclose(got[:, 2:], expected(x, 4)[:, 2:], atol=1e-5)


def test_what_follows_is_part_of_it():
    x = np.random.default_rng(1).standard_normal((1, 8, 9, 9)).astype(np.float32)
    model, feed = group_norm(x, 2, "Relu", "Neg")
    session = checked(model, feed, tolerance=TOLERANCE)
    assert groups(session) == ["GroupNormalization+Relu+Neg"]
    assert {role for _, role in roles(session)} == {"native"}


@pytest.mark.parametrize("shape", [(1, 64, 40, 41), (3, 20, 100), (2, 96, 3, 4, 5)])
def test_any_number_of_threads_gives_the_same_bits(shape):
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    model, feed = group_norm(x, 4, "Sigmoid")
    results = [opened(model, threads=n).run(None, feed)[0] for n in (1, 2, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.int32), other.view(np.int32))
