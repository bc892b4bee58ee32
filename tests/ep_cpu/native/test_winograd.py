"""Winograd's forms give NumPy's convolutions, are chosen by sizes, and obey the option."""

import numpy as np
import pytest
from beside_numpy import checked, groups, kernels, opened, programs
from draws import Draw, declaring
from runtime_ep_cpu.native.steps.winograd import WinogradStep

TOLERANCE = 6e-6
"""Differences, as a part of the largest magnitude of a result."""
TARGETS = ["auto", "avx2", "generic"]


def net(
    *filters, shape=(1, 32, 14, 14), taps=3, declared=True, residual=False, **attributes
):
    """Return a chain of Conv and Relu; if residual, with sums of what goes in and out.

    ``taps`` are those of a filter along the first of three axes.
    """
    d = Draw(7)
    d.feed["x"] = d.array(shape)
    x, channels = "x", shape[1]
    kernel = [taps, 3, 3][5 - len(shape) :]
    pads = [size // 2 for size in kernel]
    attributes = {"pads": pads + pads, **attributes}
    for i, count in enumerate(filters):
        weights = d.array((count, channels, *kernel))
        weights = (weights / np.sqrt(weights[0].size)).astype("f")
        inputs = [
            x,
            d.constant(f"w{i}", weights),
            d.constant(f"b{i}", d.array((count,))),
        ]
        y = d.add("Conv", inputs, f"c{i}", **attributes)
        if i and residual and count == channels:
            y = d.add("Add", [x, y], f"a{i}")
        x, channels = d.add("Relu", [y], f"y{i}"), count
    model = d.model([x])
    return (declaring(model, d.feed) if declared else model), d.feed


def sizes(session):
    """Return the sizes of tiles, convolution by convolution; 0 where it is direct."""
    return [
        step.packed.size if isinstance(step, WinogradStep) else 0
        for program in programs(session)
        for stage in program.stages
        for group, step in zip(stage.groups, stage.steps, strict=True)
        if group.kind == "convolution"
    ]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("option", ["auto", "f2"])
@pytest.mark.parametrize(
    "shape", [(1, 16, 20, 20), (2, 33, 9, 13), (3, 64, 14, 7), (1, 17, 40, 3)]
)
def test_a_chain_of_convolutions(shape, option, target):
    model, feed = net(64, 50, 50, shape=shape, residual=True)
    session = checked(model, feed, target=target, winograd=option, tolerance=TOLERANCE)
    assert groups(session) == ["Conv+Relu", "Conv+Relu", "Conv+Add+Relu"]
    assert any(sizes(session))


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 0, 0, 0]},
        {"pads": [2, 0, 1, 3]},
        {"auto_pad": "SAME_UPPER", "pads": None},
        {"auto_pad": "VALID", "pads": None},
    ],
)
def test_any_padding(attributes):
    given = {key: value for key, value in attributes.items() if value is not None}
    model, feed = net(48, shape=(2, 32, 15, 12), **given)
    if attributes["pads"] is None:
        (node,) = [n for n in model.graph.node if n.op_type == "Conv"]
        kept = [a for a in node.attribute if a.name != "pads"]
        del node.attribute[:]
        node.attribute.extend(kept)
    session = checked(model, feed, tolerance=TOLERANCE)
    assert all(sizes(session))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("option", ["auto", "f2"])
@pytest.mark.parametrize(
    ("shape", "taps"),
    [((2, 16, 5, 9, 13), 3), ((1, 20, 1, 12, 9), 3), ((1, 32, 4, 15, 8), 1)],
)
def test_filters_of_three_axes_slide_along_the_first(shape, taps, option, target):
    model, feed = net(64, 50, 50, shape=shape, taps=taps, residual=True)
    session = checked(model, feed, target=target, winograd=option, tolerance=TOLERANCE)
    assert groups(session) == ["Conv+Relu", "Conv+Relu", "Conv+Add+Relu"]
    assert all(sizes(session))


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 1, 1, 0, 1, 1]},
        {"pads": [2, 0, 1, 0, 1, 2]},
        {"strides": [2, 1, 1]},
        {"strides": [3, 1, 1], "pads": [2, 1, 1, 1, 1, 1]},
    ],
)
def test_slices_may_be_padded_anyhow_and_left_out(attributes):
    model, feed = net(48, shape=(2, 32, 7, 15, 12), **attributes)
    session = checked(model, feed, tolerance=TOLERANCE)
    assert all(sizes(session))


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [1, 2, 2]},
        {"dilations": [2, 1, 1]},
        {"pads": [3, 1, 1, 3, 1, 1]},
    ],
)
def test_others_of_three_axes_are_direct(attributes):
    model, feed = net(64, shape=(1, 64, 6, 20, 20), **attributes)
    session = checked(model, feed, tolerance=TOLERANCE)
    assert sizes(session) == [0]


def test_slices_that_a_model_leaves_open_may_change_from_run_to_run():
    model, _ = net(64, 64, shape=(1, 32, 4, 8, 9), declared=False)
    rng = np.random.default_rng(0)
    shapes = [(1, 32, 4, 8, 9), (2, 32, 1, 30, 4), (1, 32, 40, 8, 9)]
    feeds = [{"x": rng.standard_normal(s).astype(np.float32)} for s in shapes]
    session = checked(model, *feeds, tolerance=TOLERANCE)
    assert all(sizes(session))


def test_a_channel_of_the_result_may_have_a_factor_and_a_pixel_another():
    d = Draw(3)
    d.feed["x"] = d.array((2, 32, 12, 12))
    d.feed["s"], d.feed["p"] = d.array((1, 40, 1, 1)), d.array((2, 1, 12, 12))
    weights = (d.array((40, 32, 3, 3)) / 17).astype("f")
    x = d.add("Conv", ["x", d.constant("w", weights)], "c", pads=[1, 1, 1, 1])
    x = d.add("Mul", [x, "s"], "m")
    x = d.add("Mul", [x, "p"], "n")
    x = d.add("Relu", [x], "y")
    model = declaring(d.model([x]), d.feed)
    session = checked(model, d.feed, tolerance=TOLERANCE)
    assert groups(session) == ["Conv+Mul+Mul+Relu"]
    assert all(sizes(session))


def test_inputs_with_very_many_channels_are_transformed_by_a_step_of_their_own():
    model, feed = net(64, shape=(1, 600, 20, 20))
    session = checked(model, feed, tolerance=TOLERANCE)
    assert "winograd_input" in kernels(session)


@pytest.mark.parametrize(
    ("channels", "size", "tile"), [(64, 56, 4), (128, 28, 4), (256, 14, 2), (16, 3, 0)]
)
def test_layers_get_the_form_that_is_fastest(channels, size, tile):
    model, _ = net(channels, shape=(1, channels, size, size))
    assert sizes(opened(model)) == [tile]
    assert sizes(opened(model, winograd="f2")) == [min(tile, 2)]
    assert sizes(opened(model, winograd="off")) == [0]


@pytest.mark.parametrize(
    "attributes",
    [{"strides": [2, 2]}, {"dilations": [2, 2]}, {"strides": [1, 2]}],
)
def test_other_convolutions_are_direct(attributes):
    model, feed = net(64, shape=(1, 64, 28, 28), **attributes)
    session = checked(model, feed, tolerance=TOLERANCE)
    assert sizes(session) == [0]


def test_sizes_that_a_model_leaves_open_may_change_from_run_to_run():
    model, _ = net(64, 64, shape=(1, 32, 8, 9), declared=False)
    rng = np.random.default_rng(0)
    shapes = [(1, 32, 8, 9), (2, 32, 30, 4), (1, 32, 8, 9), (1, 32, 1, 1)]
    feeds = [{"x": rng.standard_normal(s).astype(np.float32)} for s in shapes]
    session = checked(model, *feeds, tolerance=TOLERANCE)
    assert all(sizes(session))


@pytest.mark.parametrize("shape", [(3, 64, 14, 14), (1, 128, 28, 28), (1, 512, 12, 12)])
def test_any_number_of_threads_gives_the_same_bits(shape):
    model, feed = net(128, 96, 40, shape=shape)
    results = [opened(model, threads=n).run(None, feed)[0] for n in (1, 2, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.int32), other.view(np.int32))


def test_filters_that_two_convolutions_share_are_transformed_once():
    d = Draw(11)
    d.feed["x"] = d.array((1, 32, 16, 16))
    w = d.constant("w", (d.array((32, 32, 3, 3)) / 17).astype("f"))
    x = d.add("Conv", ["x", w], "c", pads=[1, 1, 1, 1])
    x = d.add("Conv", [x, w], "y", pads=[1, 1, 1, 1])
    session = checked(d.model([x]), d.feed, tolerance=2 * TOLERANCE)
    (program,) = programs(session)
    requests = [r for stage in program.stages for r in stage.requests]
    assert len(requests) == 2
    assert len({r.key for r in requests}) == 1
    assert program.memory()["packed"] == 4 * requests[0].numbers
