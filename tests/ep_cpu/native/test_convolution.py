"""Native convolutions give NumPy's results: every attribute, alone and in nets."""

import numpy as np
import pytest
from beside_numpy import checked, groups, opened, programs, roles
from draws import TYPES, Draw
from runtime_ep_cpu.native.planner import Planner

TOLERANCE = 4e-6
"""Differences of float32 sums, as a part of the largest magnitude of a result."""
ROUNDED = {"float32": TOLERANCE, "float16": 4e-3, "bfloat16": 3e-2}
"""The same where each node's result is rounded to a type."""
NETS = 2e-5
"""The same after several layers, each of which passes the others' on."""


def drawn_convolution(d, x, channels, name, rank, kind="float32"):
    """Add a Conv of random attributes that keeps an image of 9 and more from vanishing."""
    kernel = [d.size(3) for _ in range(rank)]
    group = d.one(1, 1, channels, *(g for g in (2, 3) if channels % g == 0))
    filters = group * d.one(1, 2, 5, 17)
    attributes = {"group": group, "strides": [d.one(1, 1, 2) for _ in range(rank)]}
    attributes["dilations"] = [d.one(1, 1, 2) for _ in range(rank)]
    if d.one(True, False):
        attributes["pads"] = [d.size(3, 0) for _ in range(2 * rank)]
    else:
        modes = ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
        attributes["auto_pad"] = d.one(*modes)
    weights = d.array((filters, channels // group, *kernel)) / np.sqrt(9 * channels)
    inputs = [x, d.constant(f"{name}_w", weights.astype(TYPES[kind][1]))]
    if d.one(True, False):
        inputs.append(d.constant(f"{name}_b", d.array((filters,), kind)))
    return d.add("Conv", inputs, name, **attributes), filters


def followed(d, x, filters, rank, name, kind="float32"):
    """Add up to three element-wise nodes behind a value."""
    functions = ("Relu", "Sigmoid", "Tanh", *(("HardSwish",) * (kind == "float32")))
    for i in range(d.size(3, 0)):
        what = d.one("function", "scale", "number", "twice", "pixels")
        here = f"{name}_{i}"
        if what == "function":
            x = d.add(d.one(*functions), [x], here)
        elif what == "scale":
            row = d.array((1, filters, *(1,) * rank), kind)
            x = d.add("Mul", [x, d.either(f"{here}_s", row)], here)
        elif what == "number":
            half = np.array(0.5, TYPES[kind][1])
            x = d.add("Add", [d.constant(f"{here}_n", half), x], here)
        elif what == "pixels":
            row = d.array((1,) * (rank + 2), kind)
            x = d.add("Mul", [x, d.operand(f"{here}_p", row)], here)
        else:
            x = d.add("Add", [x, x], here)
    return x


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("seed", range(40))
def test_a_convolution_of_any_attributes(seed, target):
    d = Draw(seed)
    rank = d.one(1, 2, 2, 2, 3)
    batch, channels = d.size(3), d.one(1, 3, 6, 16, 18)
    sizes = [d.size(14, 9) for _ in range(rank)]
    x = d.operand("a", d.array((batch, channels, *sizes)))
    x, filters = drawn_convolution(d, x, channels, "p", rank)
    followed(d, x, filters, rank, "q")
    checked(
        d.model([d.nodes[-1].output[0]]), d.feed, target=target, tolerance=TOLERANCE
    )


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(20))
def test_a_convolution_in_half_precision_is_rounded_node_by_node(seed, kind):
    d = Draw(2000 + seed)
    rank = d.one(1, 2, 2, 3)
    batch, channels = d.size(3), d.one(1, 3, 6, 16, 18)
    x = d.operand("a", d.array((batch, channels, *(d.size(14, 9),) * rank), kind))
    x, filters = drawn_convolution(d, x, channels, "p", rank, kind)
    x = followed(d, x, filters, rank, "q", kind)
    model = d.model([x], opset=22)
    checked(model, d.feed, target=d.one("auto", "avx2"), tolerance=ROUNDED[kind])


@pytest.mark.parametrize("seed", range(60))
def test_nets_of_convolutions_joined_split_added_and_looked_at_otherwise(seed):
    d = Draw(1000 + seed)
    rank = d.one(1, 2, 2, 3)
    channels = d.one(2, 4, 16, 20)
    x = d.operand("a", d.array((d.size(2), channels, *(d.size(12, 11),) * rank)))
    outputs = []
    for layer in range(d.size(4, 2)):
        kernel, name = d.one(1, 3, 3, 5), f"l{layer}"
        filters = d.one(2, 8, 16, 34)
        weights = d.array((filters, channels, *(kernel,) * rank))
        weights /= np.sqrt(weights[0].size)
        before, attributes = x, {"pads": [kernel // 2] * (2 * rank)}
        w = d.constant(f"{name}_w", weights)
        x = d.add("Conv", [x, w], name, **attributes)
        x = followed(d, x, filters, rank, f"{name}_f")
        way = d.one("alone", "concat", "split", "residual", "turned", "output")
        if way == "concat":
            x = d.add("Concat", [x, before], f"{name}_c", axis=1)
            filters += channels
        elif way == "split":
            half = d.constant(f"{name}_h", np.array([filters // 2] * 2))
            one, other = f"{name}_s", f"{name}_t"
            d.add("Split", [x, half], one, other, axis=1)
            x, filters = d.one(one, other), filters // 2
            outputs += [one, other]
        elif way == "residual" and filters == channels:
            x = d.add("Relu", [d.add("Add", [before, x], f"{name}_r")], f"{name}_u")
        elif way == "turned":
            order = [0, *range(2, rank + 2), 1]
            y = d.add("Transpose", [x], f"{name}_n", perm=order)
            y = d.add("Tanh", [y], f"{name}_h")
            x = d.add("Transpose", [y], f"{name}_o", perm=list(np.argsort(order)))
        elif way == "output":
            outputs.append(x)
        channels = filters
    model = d.model(list(dict.fromkeys([*outputs, x])))
    checked(model, d.feed, tolerance=NETS)


def net(*layers, shape=(1, 32, 12, 12)):
    """Return the model of a chain: the filters of a 3x3 Conv, or an operator's name."""
    d = Draw(3)
    x, channels = "x", shape[1]
    d.feed["x"] = d.array(shape)
    for i, layer in enumerate(layers):
        if isinstance(layer, int):
            w = (d.array((layer, channels, 3, 3)) / np.sqrt(9 * channels)).astype("f")
            x = d.add("Conv", [x, d.constant(f"w{i}", w)], f"y{i}", pads=[1, 1, 1, 1])
            channels = layer
        else:
            x = d.add(layer, [x], f"y{i}")
    return d.model([x]), d.feed


def test_element_wise_work_is_part_of_the_convolution_before_it():
    model, feed = net(16, "Relu", 8, "Sigmoid", "Neg")
    session = checked(model, feed, tolerance=TOLERANCE)
    assert groups(session) == ["Conv+Relu", "Conv+Sigmoid+Neg"]
    assert {role for _, role in roles(session)} == {"native"}


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("limits", [(None, None), (0.0, 6.0), (None, 0.5), (2.0, -1.0)])
def test_what_keeps_a_convolution_within_limits_is_part_of_its_sums(
    limits, depthwise, target
):
    d = Draw(6)
    d.feed["x"] = d.array((2, 40, 9, 8))
    d.feed["x"][0, 3, 4, 4] = np.nan
    w = d.array((40, 1 if depthwise else 40, 3, 3)) / np.float32(20)
    group = 40 if depthwise else 1
    inputs = ["x", d.constant("w", w), d.constant("b", d.array((40,)))]
    x = d.add("Conv", inputs, "c", pads=[1, 1, 1, 1], group=group)
    given = [
        "" if limit is None else d.constant(f"{x}{i}", np.array(limit, np.float32))
        for i, limit in enumerate(limits)
    ]
    d.add("Clip", [d.add("Relu", [x], "r"), *given], "y")
    session = checked(
        d.model(["y"]), d.feed, target=target, winograd="off", tolerance=TOLERANCE
    )
    ((epilogue,),) = (
        [step.epilogue for step in stage.steps if hasattr(step, "epilogue")]
        for program in programs(session)
        for stage in program.stages
    )
    assert epilogue.expression is None
    assert epilogue.operands == ()


def test_limits_that_change_from_run_to_run_are_no_part_of_the_sums():
    d = Draw(8)
    d.feed["x"], d.feed["most"] = d.array((1, 16, 5, 5)), np.array(0.25, np.float32)
    x = d.add("Conv", ["x", d.constant("w", d.array((20, 16, 1, 1)))], "c")
    d.add("Clip", [x, "", "most"], "y")
    checked(d.model(["y"]), d.feed, tolerance=TOLERANCE)


def test_weights_larger_than_the_second_cache_are_taken_in_pieces():
    d = Draw(5)
    d.feed["x"] = d.array((1, 600, 6, 5))
    w = (d.array((50, 600, 3, 3)) / 75).astype(np.float32)
    inputs = ["x", d.constant("w", w), d.constant("b", d.array((50,)))]
    d.add("Relu", [d.add("Conv", inputs, "p", pads=[1, 1, 1, 1])], "y")
    checked(d.model(["y"]), d.feed, tolerance=TOLERANCE)


def test_channels_by_the_thousand_have_gaps_between_pixels_and_the_same_results():
    model, feed = net(256, "Relu", 512, "Relu", 8, shape=(2, 256, 5, 4))
    checked(model, feed, tolerance=TOLERANCE)


@pytest.mark.parametrize("shape", [(1, 3, 40, 40), (3, 64, 14, 14), (1, 512, 4, 4)])
def test_any_number_of_threads_gives_the_same_bits(shape):
    model, feed = net(64, "Relu", 96, "Relu", 33, shape=shape)
    results = [opened(model, threads=n).run(None, feed)[0] for n in (1, 2, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.int32), other.view(np.int32))


def test_sizes_may_change_from_run_to_run():
    model, _ = net(16, "Relu", 5, shape=(1, 3, 8, 9))
    rng = np.random.default_rng(0)
    shapes = [(1, 3, 8, 9), (1, 3, 30, 4), (1, 3, 8, 9), (1, 3, 1, 1)]
    feeds = [{"x": rng.standard_normal(s).astype(np.float32)} for s in shapes]
    checked(model, *feeds, tolerance=TOLERANCE)


def test_numbers_that_are_none_stay_where_they_are():
    d = Draw(2)
    x = d.array((1, 4, 8, 8))
    x[0, 1, 2, 3], x[0, 2, 6, 6] = np.nan, np.inf
    d.feed["x"] = x
    d.add("Conv", ["x", d.constant("w", d.array((3, 4, 3, 3)))], "y", pads=[1, 1, 1, 1])
    checked(d.model(["y"]), d.feed, tolerance=TOLERANCE)


@pytest.mark.parametrize("shape", [(1, 3, 2, 9), (1, 4, 9, 9)])
def test_an_image_that_does_not_fit_the_filters_is_refused_as_by_numpy(shape):
    d = Draw(2)
    d.feed["x"] = d.array((1, 3, 9, 9))
    d.add("Conv", ["x", d.constant("w", d.array((3, 3, 3, 3)))], "y")
    model = d.model(["y"])
    feed = {"x": np.zeros(shape, np.float32)}
    told = []
    for native in ("required", "off"):
        with pytest.raises(Exception) as caught:
            opened(model, native=native).run(None, feed)
        told.append(str(caught.value))
    assert told[0] == told[1]


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("seed", range(40))
def test_a_depthwise_convolution_of_any_attributes(seed, target):
    d = Draw(3000 + seed)
    rank, kind = d.one(1, 2, 2, 2, 3), d.one("float32", "float32", "float16")
    channels = d.one(16, 17, 24, 33, 40, 72)
    kernel = [d.one(1, 2, 3, 3, 5, 7, 9, 11) for _ in range(rank)]
    strides, gaps = ([d.one(1, 1, 2, 3) for _ in range(rank)] for _ in range(2))
    sizes = [d.size(11) + (k - 1) * g for k, g in zip(kernel, gaps, strict=True)]
    sizes[-1] += d.one(0, 3, 14, 60)
    x = d.operand("a", d.array((d.size(2), channels, *sizes), kind))
    weights = d.array((channels, 1, *kernel)) / np.sqrt(np.prod(kernel))
    inputs = [x, d.constant("w", weights.astype(TYPES[kind][1]))]
    if d.one(True, False):
        inputs.append(d.constant("b", d.array((channels,), kind)))
    attributes = {"group": channels, "strides": strides, "dilations": gaps}
    if d.one(True, False):
        attributes["pads"] = [d.size(3, 0) for _ in range(2 * rank)]
    else:
        attributes["auto_pad"] = d.one("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
    x = d.add("Conv", inputs, "p", **attributes)
    x = followed(d, x, channels, rank, "q", kind)
    model = d.model([x], opset=22)
    checked(model, d.feed, target=target, tolerance=ROUNDED[kind])


def inverted_residuals(*layers, shape):
    """Return the model of a net: (channels, kernel, stride) of depthwise layers between
    others that widen to and narrow from them, with what they begin with added."""
    d = Draw(4)
    x, channels = "x", shape[1]
    d.feed["x"] = d.array(shape)
    low, high = d.constant("low", np.float32(0)), d.constant("high", np.float32(6))
    for i, (wide, kernel, stride) in enumerate(layers):
        before = x
        w = d.constant(f"u{i}", (d.array((wide, channels, 1, 1)) / 4).astype("f"))
        x = d.add("Clip", [d.add("Conv", [x, w], f"a{i}"), low, high], f"b{i}")
        w = d.array((wide, 1, kernel, kernel)) / kernel
        inputs = [
            x,
            d.constant(f"v{i}", w.astype("f")),
            d.constant(f"z{i}", d.array(wide)),
        ]
        attributes = {"pads": [kernel // 2] * 4, "strides": [stride, stride]}
        x = d.add("Conv", inputs, f"c{i}", group=wide, **attributes)
        x = d.add("Clip", [x, low, high], f"d{i}")
        w = d.constant(f"w{i}", (d.array((channels, wide, 1, 1)) / wide).astype("f"))
        x = d.add("Conv", [x, w], f"e{i}")
        if stride == 1:
            x = d.add("Add", [before, x], f"f{i}")
    return d.model([x]), d.feed


LAYERS = (32, 3, 1), (48, 5, 2), (80, 3, 1), (96, 7, 1)


def test_depthwise_layers_among_others_read_their_zeros_where_they_were_left():
    model, feed = inverted_residuals(*LAYERS, shape=(2, 16, 29, 30))
    session = checked(model, feed, tolerance=NETS)
    assert groups(session)[:2] == ["Conv+Clip", "Conv+Clip"]
    left = {
        v.name: m
        for p in programs(session)
        for s in p.stages
        for v, m in s.margins.items()
    }
    assert [left[f"b{i}"] for i in range(4)] == [
        ((k // 2,) * 2,) * 2 for _, k, _ in LAYERS
    ]


@pytest.mark.parametrize("shape", [(1, 16, 57, 70), (2, 16, 7, 7)])
def test_any_number_of_threads_gives_the_same_bits_between_depthwise_layers(shape):
    model, feed = inverted_residuals(*LAYERS, shape=shape)
    results = [opened(model, threads=n).run(None, feed)[0] for n in (1, 2, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.int32), other.view(np.int32))


def test_a_channel_without_numbers_is_alone_with_it():
    d = Draw(2)
    x = d.array((1, 24, 8, 8))
    x[0, 1, 2, 3], x[0, 20, 6, 6] = np.nan, np.inf
    d.feed["x"] = x
    inputs = ["x", d.constant("w", d.array((24, 1, 3, 3)))]
    d.add("Conv", inputs, "y", pads=[1, 1, 1, 1], group=24)
    checked(d.model(["y"]), d.feed, tolerance=TOLERANCE)


def test_what_is_joined_along_the_channels_is_made_there(monkeypatch):
    copied = []
    copy = Planner.copy

    def seen(planner, *arguments):
        copied.append(planner.group and planner.group.label)
        copy(planner, *arguments)

    monkeypatch.setattr(Planner, "copy", seen)
    d = Draw(7)
    d.feed["x"] = d.array((2, 5, 12, 11))
    w = [
        d.constant(f"w{i}", d.array((6, c, 3, 3)) / 9)
        for i, c in enumerate((5, 6, 12, 18))
    ]
    pads = [1, 1, 1, 1]
    a = d.add("Relu", [d.add("Conv", ["x", w[0]], "p", pads=pads)], "a")
    b = d.add("Conv", [a, w[1]], "b", pads=pads)
    ab = d.add("Concat", [a, b], "ab", axis=1)
    c = d.add("Sigmoid", [d.add("Conv", [ab, w[2]], "q", pads=pads)], "c")
    abc = d.add("Concat", [c, ab], "abc", axis=1)
    d.add("Conv", [abc, w[3]], "y", pads=pads)
    checked(d.model(["y"]), d.feed, tolerance=TOLERANCE)
    assert copied
    assert "Concat" not in copied


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_windows_that_lie_in_the_padding_in_part_or_as_a_whole(rank):
    d = Draw(11 + rank)
    d.feed["x"] = d.array((2, 5, *(3, 2, 4)[:rank]))
    w = d.constant("w", d.array((6, 5, *(3,) * rank)))
    pads = [4, 3, 2][:rank] + [5, 2, 3][:rank]
    d.add("Conv", ["x", w, d.constant("b", d.array((6,)))], "y", pads=pads)
    d.add("Conv", ["x", w], "z", pads=pads, dilations=[2] * rank, strides=[2] * rank)
    checked(d.model(["y", "z"]), d.feed, tolerance=TOLERANCE)


def test_channels_of_an_image_are_normalized_where_they_lie(monkeypatch):
    d = Draw(1)
    d.feed["x"] = d.array((1, 64, 6, 6))
    w = [(d.array((64, 64, k, k)) / (8 * k)).astype("f") for k in (1, 2)]
    x = d.add("Conv", ["x", d.constant("v", w[0])], "a")
    x = d.add("Transpose", [x], "b", perm=[0, 2, 3, 1])
    rows = [d.constant(name, d.array((64,))) for name in ("scale", "bias")]
    x = d.add("LayerNormalization", [x, *rows], "c")
    x = d.add("Transpose", [x], "d", perm=[0, 3, 1, 2])
    d.add("Conv", [x, d.constant("w", w[1])], "e", strides=[2, 2])
    model, planned, plan = d.model(["e"]), [], Planner.step

    def step(self, spec, *arguments, **more):
        planned.append(spec.family)
        plan(self, spec, *arguments, **more)

    monkeypatch.setattr(Planner, "step", step)
    checked(model, d.feed, tolerance=NETS)
    first = planned.index("convolution")
    assert planned[first : first + 3] == ["convolution", "layer_norm", "convolution"]


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("filters", [15, 17, 20, 24, 31, 49, 52, 65, 78, 80, 98, 112])
def test_any_number_of_filters_fills_wide_and_narrow_panels(filters, target):
    d = Draw(filters)
    d.feed["x"] = d.array((1, 5, 9, 8))
    inputs = ["x", d.constant("w", d.array((filters, 5, 3, 3)) / 7)]
    inputs.append(d.constant("b", d.array((filters,))))
    d.add("Relu", [d.add("Conv", inputs, "p", strides=[1, 2])], "y")
    checked(d.model(["y"]), d.feed, target=target, tolerance=TOLERANCE)


@pytest.mark.parametrize("each", [1, 3, 4, 7, 10, 16, 33])
@pytest.mark.parametrize("groups", [2, 4, 6])
def test_groups_of_any_number_of_filters_are_joined_or_apart(each, groups):
    d = Draw(each * groups)
    d.feed["x"] = d.array((2, 3 * groups, 7, 6))
    w = d.constant("w", d.array((each * groups, 3, 3, 3)) / 5)
    inputs = ["x", w, d.constant("b", d.array((each * groups,)))]
    d.add("Conv", inputs, "y", group=groups, pads=[1, 1, 1, 1])
    checked(d.model(["y"]), d.feed, tolerance=TOLERANCE)
