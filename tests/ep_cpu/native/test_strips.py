"""Convolutions in strips give the very bits they give one by one, and NumPy's numbers."""

import json
from itertools import pairwise

import numpy as np
import pytest
from beside_numpy import checked, groups, kernels, opened, programs
from draws import Draw
from runtime_ep_cpu.native import chains, strips

from benchmarks.zoo import ZOO

TOLERANCE = 6e-6
"""Differences, as a part of the largest magnitude of a result."""
TARGETS = ["auto", "avx2", "generic"]


@pytest.fixture
def cutting(monkeypatch):
    """Return what sets how dear images between are, and the bytes a strip may have."""

    def use(cost=1e18, cache=strips.CACHE):
        monkeypatch.setattr(chains, "_cost", lambda size: cost)
        monkeypatch.setattr(strips, "CACHE", cache)

    return use


class Net(Draw):
    """A model of convolutions that follow each other, from its input ``x`` on."""

    def __init__(self, *shape, seed=7):
        super().__init__(seed)
        self.feed["x"] = self.array(shape)
        self.axes = len(shape) - 2
        self.channels = {"x": shape[1]}

    def conv(self, x, y, count, kernel=1, depthwise=False, act="Relu", **attributes):
        """Add a Conv of so many filters, one per channel if depthwise; return ``y``."""
        channels = self.channels[x]
        each = 1 if depthwise else channels
        shape = (count, each, *(kernel,) * self.axes)
        weights = self.array(shape) / np.sqrt(np.prod(shape[1:]))
        inputs = [
            x,
            self.constant(f"{y}_w", weights.astype("f")),
            self.constant(f"{y}_b", self.array((count,))),
        ]
        if "auto_pad" not in attributes:
            attributes.setdefault("pads", [kernel // 2] * (2 * self.axes))
        if depthwise:
            attributes["group"] = channels
        made = self.add("Conv", inputs, f"{y}_c" if act else y, **attributes)
        self.channels[y] = count
        return self.add(act, [made], y) if act else made

    def block(self, x, name, inner, count, kernel=3, residual=False, **attributes):
        """Add an inverted bottleneck: expand, one filter per channel, project."""
        e = self.conv(x, f"{name}e", inner)
        d = self.conv(e, f"{name}d", inner, kernel, depthwise=True, **attributes)
        p = self.conv(d, f"{name}p", count, act=None)
        if residual:
            p = self.add("Add", [p, x], f"{name}r")
            self.channels[p] = count
        return p

    def declared(self, *outputs):
        """Return a model that says which shapes its inputs have."""
        made = self.model(outputs)
        for value in made.graph.input:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, self.feed[value.name].shape, strict=True):
                dim.dim_value = size
        return made


def cut(session):
    """Return the work that was done in strips: the operators of each step's groups."""
    return [
        [share.group.label for share in step.shares]
        for program in programs(session)
        for stage in program.stages
        for step in stage._latest[1].steps
        if step.shares
    ]


def unchanged(cutting, model, feed, cache=strips.CACHE, threads=(1, 2, 3), **options):
    """Run a model in strips and without, and see that bits are the same; return both."""
    options.setdefault("tolerance", TOLERANCE)
    cutting(cost=0.0)
    plain = checked(model, feed, **options)
    assert not cut(plain)
    want = plain.run(None, feed)
    cutting(cache=cache)
    for count in threads:
        session = checked(model, feed, threads=count, **options)
        for one, other in zip(session.run(None, feed), want, strict=True):
            np.testing.assert_array_equal(one, other)
    return session


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 16, 19, 23), (2, 11, 33, 9), (3, 17, 7, 8)])
def test_a_block_keeps_its_bits(cutting, shape, stride, kernel, target):
    net = Net(*shape)
    steps = {"strides": [stride, stride]}
    y = net.block("x", "a", 40, 24, kernel, **steps)
    session = unchanged(cutting, net.model([y]), net.feed, target=target)
    assert cut(session) == [["Conv+Relu", "Conv+Relu", "Conv"]]
    assert "sequence" in kernels(session)


@pytest.mark.parametrize("cache", [20_000, 40_000, 80_000])
def test_strips_are_as_high_as_the_cache_allows(cutting, cache):
    net = Net(2, 16, 40, 20)
    y = net.block("x", "a", 32, 16, residual=True)
    session = unchanged(cutting, net.declared(y), net.feed, cache, threads=[2])
    assert cut(session) == [["Conv+Relu", "Conv+Relu", "Conv+Add"]]
    (plan,) = [s._latest[1] for p in programs(session) for s in p.stages]
    (step,) = [step for step in plan.steps if step.shares]
    beside = 20 * 64 + 2048  # a row of the depthwise one's sums; arguments, cache lines
    assert cache // 3 < plan.scratch < cache + beside
    assert step.chunks >= 16


def test_no_strip_where_a_row_is_too_much(cutting):
    net = Net(1, 16, 24, 20)
    session = unchanged(
        cutting, net.model([net.block("x", "a", 32, 16)]), net.feed, 5000
    )
    assert not cut(session)


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 0, 0, 0]},
        {"pads": [2, 0, 1, 2]},
        {"pads": [0, 2, 2, 1], "strides": [2, 1]},
        {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "VALID", "strides": [3, 2]},
    ],
)
def test_any_padding(cutting, attributes):
    net = Net(2, 16, 27, 14)
    y = net.block("x", "a", 48, 16, **attributes)
    session = unchanged(cutting, net.model([y]), net.feed, threads=[2])
    assert len(cut(session)) == 1


def test_rows_of_padding_alone_are_nobodys_strip(cutting):
    net = Net(1, 16, 20, 20)
    y = net.block("x", "a", 32, 16, pads=[3, 1, 3, 1])
    session = unchanged(cutting, net.model([y]), net.feed, threads=[2])
    assert not cut(session)


def test_filters_over_all_channels_and_a_stride_may_begin(cutting):
    net = Net(1, 3, 45, 31)
    x = net.conv("x", "s", 24, 3, strides=[2, 2])
    x = net.conv(x, "d", 24, 3, depthwise=True, act="HardSwish")
    y = net.conv(x, "p", 12, act=None)
    session = unchanged(cutting, net.model([y]), net.feed)
    assert cut(session) == [["Conv+Relu", "Conv+HardSwish", "Conv"]]


def test_three_axes(cutting):
    net = Net(1, 16, 11, 6, 7)
    y = net.block("x", "a", 32, 16)
    session = unchanged(cutting, net.model([y]), net.feed, threads=[2])
    assert len(cut(session)) == 1


def test_a_long_chain_is_divided(cutting):
    net = Net(1, 16, 20, 20)
    x = "x"
    for number in range(3):
        x = net.block(x, f"b{number}", 32, 16)
    session = unchanged(cutting, net.model([x]), net.feed, threads=[2])
    assert [len(labels) for labels in cut(session)] == [3, 3, 3]


def test_a_chain_ends_where_two_read(cutting):
    net = Net(1, 16, 20, 20)
    e = net.conv("x", "e", 32)
    d = net.conv(e, "d", 32, 3, depthwise=True)
    g = net.add("GlobalAveragePool", [d], "g")
    m = net.add("Mul", [d, g], "m")
    net.channels["m"] = 32
    y = net.conv(m, "p", 16, act=None)
    session = unchanged(cutting, net.model([y]), net.feed, threads=[2])
    assert cut(session) == [["Conv+Relu", "Conv+Relu"]]


@pytest.mark.parametrize("reader", ["output", "shape", "operand"])
def test_what_others_ask_for_is_made_as_a_whole(cutting, reader):
    net = Net(1, 16, 20, 20)
    e = net.conv("x", "e", 16)
    if reader == "operand":
        y = net.add("Add", [net.conv(e, "d", 16, 3, True, act=None), e], "y")
        outputs = [y]
    else:
        outputs = [net.conv(e, "d", 16, 3, True)]
        if reader == "output":
            outputs.append(e)
        else:
            shape = net.add("Shape", [e], "shape")
            outputs.append(
                net.add("Expand", [net.constant("one", np.float32(1)), shape], "o")
            )
    session = unchanged(cutting, net.model(outputs), net.feed, threads=[2])
    assert not cut(session)


def test_the_last_may_be_made_among_the_channels_of_another(cutting):
    net = Net(2, 16, 20, 20)
    parts = [net.block("x", "a", 32, 16), net.block("x", "b", 48, 24)]
    whole = net.add("Concat", parts, "whole", axis=1)
    net.channels["whole"] = 40
    y = net.conv(whole, "y", 16, 3)
    session = unchanged(cutting, net.model([y]), net.feed, threads=[2])
    assert [len(labels) for labels in cut(session)] == [3, 3]


def test_an_operand_may_be_a_row_of_the_input(cutting):
    net = Net(2, 8, 20, 20)
    x = net.conv("x", "w", 16)
    ends = [net.constant(f"at{i}", [n]) for i, n in enumerate((0, 1, 2))]
    row = net.add("Slice", [x, *ends], "row")
    y = net.add("Add", [net.block(x, "a", 32, 16), row], "y")
    session = unchanged(cutting, net.declared(y), net.feed, 40_000, threads=[2])
    assert cut(session) == [["Conv+Relu", "Conv+Relu", "Conv+Add"]]


def test_other_shapes_have_other_strips(cutting):
    cutting(cache=40_000)
    net = Net(1, 16, 20, 20)
    model = net.model([net.block("x", "a", 32, 16)])
    feeds = [{"x": net.array((b, 16, h, w))} for b, h, w in [(1, 20, 20), (2, 50, 9)]]
    checked(model, *feeds, tolerance=TOLERANCE)


@pytest.mark.parametrize("size", [12, 112])
def test_small_images_stay_as_they_are(size):
    net = Net(1, 16, size, size)
    y = net.block("x", "a", 96, 24, strides=[2, 2])
    session = checked(net.model([y]), net.feed, tolerance=TOLERANCE)
    assert bool(cut(session)) is (size == 112)


def test_a_profile_tells_the_time_of_each_of_them(cutting, tmp_path):
    cutting()
    net = Net(1, 16, 20, 20)
    model = net.model([net.block("x", "a", 32, 8)])
    options = {"enable_profiling": True, "profile_file_prefix": str(tmp_path / "p")}
    session = opened(model, **options)
    session.run(None, net.feed)
    with open(session.end_profiling(), encoding="utf-8") as file:
        events = [e for e in json.load(file) if e["name"].endswith("_kernel_time")]
    copied, *events = events
    assert copied["args"]["fused"] == ["Conv", "Relu"]
    assert [e["args"]["fused"] for e in events] == [["Conv", "Relu"]] * 2 + [["Conv"]]
    shapes = [(1, 16, 20, 20), (1, 32, 20, 20), (1, 32, 20, 20), (1, 8, 20, 20)]
    for event, (before, after) in zip(events, pairwise(shapes), strict=True):
        assert event["args"]["input_type_shape"][0] == {"float": list(before)}
        assert event["args"]["output_type_shape"] == [{"float": list(after)}]
        assert event["dur"] >= 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3", "efficientnet"])
def test_a_small_net_keeps_its_bits(cutting, name):
    entry = ZOO[name]
    feed = entry.feeds("tiny", batch=2)
    session = unchanged(cutting, entry.build("tiny"), feed, 60_000, tolerance=2e-5)
    assert cut(session)


def test_a_net_of_usual_size_has_strips_where_images_are_large(cutting):
    entry = ZOO["mobilenet_v2"]
    model, feed = entry.build("full"), entry.feeds("full")
    session = opened(model)
    (got,) = session.run(None, feed)
    assert 2 <= len(cut(session)) <= 5
    cutting(cost=0.0)
    np.testing.assert_array_equal(got, opened(model).run(None, feed)[0])
    assert len(groups(session)) > 50
