"""Dims that are not fixed: bounded ones are ranges or counted, others are refused."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import RNG, SUBJECT, X, dense, expected, model, program, subject
from mil_evaluator.packages import Package

IMAGE = (
    "(float[n,3,h,h] x) => (float[n,4,hh,hh] y)"
    "{ c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) y = MaxPool<kernel_shape=[2,2],"
    "strides=[2,2]>(r) }"
)
WEIGHT = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)


def interface(made):
    return Package(made.package).interface


def test_a_dim_without_a_bound_is_refused_and_told_how_to_bound_it():
    opened = SUBJECT.open(dense("n"))
    assert not opened.owned
    assert not opened.faults
    assert any("the dim n of 'x' has no upper bound" in r for r in opened.refusals)
    assert any("DimBounds='n=1..N'" in r for r in opened.refusals)


def test_a_bounded_dim_is_a_range():
    made, _ = program(dense("n"), DimBounds="n=1..8")
    ranges = interface(made)["in_0"].shapeRange.sizeRanges
    assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 8), (64, 64)]


def test_counted_sizes_are_enumerated_shapes():
    made, _ = program(dense("n"), DimBounds="n=2|5|7")
    shapes = interface(made)["in_0"].enumeratedShapes.shapes
    assert {tuple(one.shape) for one in shapes} == {(2, 64), (5, 64), (7, 64)}


@pytest.mark.parametrize(
    ("bounds", "target", "counted"),
    [
        ("n=2|4", "macOS14", False),
        ("n=2|4", "macOS15", True),
        ("n=2..4", "macOS15", False),
    ],
)
def test_several_inputs_are_enumerated_only_where_the_system_can(
    bounds, target, counted
):
    source = model("(float[n,3] x, float[n,3] z) => (float[n,3] y) { y = Add(x, z) }")
    made, _ = program(source, DimBounds=bounds, MinimumDeploymentTarget=target)
    which = interface(made)["in_0"].WhichOneof("ShapeFlexibility")
    assert which == ("enumeratedShapes" if counted else "shapeRange")


@pytest.mark.parametrize("bounds", ["n=1..8", "n=2|5"])
def test_every_size_within_bounds_is_right(bounds):
    opened = subject(DimBounds=bounds).open(dense("n"), cache=False)
    for rows in (2, 5):
        np.testing.assert_allclose(
            opened({"x": X[:rows]})[0], expected(X[:rows]), rtol=1e-4, atol=1e-4
        )
    assert not opened.faults


@pytest.mark.parametrize(("bounds", "rows"), [("n=1..4", 5), ("n=2|4", 3)])
def test_another_size_goes_to_the_next_provider_and_is_told(bounds, rows):
    opened = subject(DimBounds=bounds).open(dense("n"), cache=False)
    np.testing.assert_allclose(
        opened({"x": X[:rows]})[0], expected(X[:rows]), rtol=1e-4, atol=1e-4
    )
    assert any(f"has size {rows} along axis 0" in told for told in opened.faults)


def test_two_open_dims_of_an_image():
    source = model(IMAGE, w=WEIGHT)
    opened = subject(DimBounds="n=1..4, h=4..64").open(source, cache=False)
    assert len(opened.owned) == 3
    for shape in ((1, 3, 8, 8), (3, 3, 16, 16)):
        x = RNG.standard_normal(shape).astype(np.float32)
        (got,), (want,) = opened({"x": x}), SUBJECT.alone(source)({"x": x})
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert not opened.faults


def test_static_shapes_can_be_required():
    options = {"RequireStaticInputShapes": 1, "DimBounds": "n=1..8"}
    opened = subject(**options).open(dense("n"))
    assert not opened.owned
    assert any("has no fixed size" in told for told in opened.refusals)
    assert subject(RequireStaticInputShapes=1).open(dense()).owned


def test_a_bound_of_the_session_counts_as_well():
    from runtime.valuetypes import Bounds

    opened = SUBJECT.open(dense("n"), cache=False, bounds={"n": Bounds(1, 4, 8)})
    assert len(opened.owned) == 2
    np.testing.assert_allclose(opened({"x": X})[0], expected(), rtol=1e-4, atol=1e-4)


def test_bodies_that_read_nothing_from_outside_are_bodies_too():
    source = model(
        "(float[3,2] x) => (float[3,2] y) { y = Scan<num_scan_inputs = 1,"
        "body = b (float[2] row) => (float[2] made) { made = Relu(row) }>(x) }"
    )
    opened = SUBJECT.open(source, cache=False)
    assert not opened.owned
    assert any("EnableOnSubgraphs=1 offers them" in told for told in opened.refusals)
    opened = subject(EnableOnSubgraphs=1).open(source, cache=False)
    assert [node.op_type for node in opened.owned] == ["Relu"]
    x = RNG.standard_normal((3, 2)).astype(np.float32)
    np.testing.assert_array_equal(opened({"x": x})[0], np.maximum(x, 0))
    assert not opened.faults


def test_bodies_are_offered_when_asked_for():
    source = model(
        "(bool c, float[3] x) => (float[3] y) { y = If<"
        "then_branch = t () => (float[3] a) { a = Relu(x) },"
        "else_branch = e () => (float[3] b) { b = Neg(x) }>(c) }"
    )
    assert not SUBJECT.open(source).owned
    opened = subject(EnableOnSubgraphs=1).open(source, cache=False)
    assert {node.op_type for node in opened.owned} >= {"Relu", "Neg"}
    x = np.array([-1, 0, 2], np.float32)
    for condition, want in ((True, np.maximum(x, 0)), (False, -x)):
        np.testing.assert_array_equal(
            opened({"c": np.array(condition), "x": x})[0], want
        )
    assert not opened.faults
