"""The placement page: complete, offline, safe for any name, laid out without overlap."""

import json
import re
import time
from html.parser import HTMLParser
from itertools import combinations

import pytest
from doubles import DeviceProvider
from hypothesis import given
from hypothesis import strategies as st
from models import BOOL, FLOAT, dense, node
from models import model as make
from runtime.build import build
from runtime.explain import Event, NodeRecord, PartitionRecord, Placement
from runtime.pages.layers import arrange
from runtime.pages.placement import MOST_NODES_DRAWN, drawing, page
from runtime.providers import Request
from runtime.settings import Settings

CPU, SIM = "CPUExecutionProvider", "SimExecutionProvider"
EVIL = "</script><img src=x onerror=alert(1)>\"'&{{data}}\u2028<!--"


class Page(HTMLParser):
    """Reads a page as a browser would, near enough."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.texts = [], [], [], []
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def data(self):
        """What the page's script works on."""
        return json.loads(self.scripts[0])

    @property
    def text(self):
        """What is written on the page."""
        return " ".join(" ".join(self.texts).split())


def placement(nodes=3, name="n", provider=CPU, **fields):
    """Return a placement with a chain of nodes in one partition."""
    records = [
        NodeRecord(
            f"{name}{i}", "Relu", "", 17, provider, 0,
            *((f"{name}v{i}",), (f"{name}v{i + 1}",), ("tensor(float)[2]",)),
            *({}, (f"{name}{i}",)),
        )
        for i in range(nodes)
    ]  # fmt: skip
    part = PartitionRecord(
        *(0, provider, "cpu:0", nodes, {"Relu": nodes}),
        *((f"{name}v0",), (f"{name}v{nodes}",)),
        work=1.0,
    )
    fields.setdefault("providers", (provider,))
    return Placement("m.onnx", (provider,), nodes=records, partitions=[part], **fields)


def placed(model, *providers):
    """Return the placement of a model on providers registered before, then the CPU."""
    requests = [Request(name) for name in (*providers, CPU)]
    return build(model, requests, Settings(cost_rule=False)).placement


def test_a_placement_is_written_down_once_whenever_it_is_asked_for():
    made = build(dense(), [Request(CPU)], Settings())
    first = list(made.placement.nodes)
    assert [node.op_type for node in first] == [node.op_type for node in made.graph]
    assert made.placement.nodes == first
    made.close()
    assert made.placement.nodes == first


@pytest.fixture
def mixed(registered):
    """Return a placement with two devices, transfers and refusals."""
    registered(DeviceProvider(SIM, ["Add", "Relu"]))
    return placed(dense(), SIM)


def test_every_node_partition_provider_and_refusal_is_on_the_page(mixed):
    found = Page(page(mixed))
    assert len(found.data["nodes"]) == len(mixed.nodes)
    assert [p["index"] for p in found.data["partitions"]] == [0, 1, 2]
    for told in (SIM, CPU, "no device kernel for MatMul", "Refused operators"):
        assert told in found.text
    by_name = {row[0]: row for row in found.data["nodes"]}
    [[refuser, reason]] = by_name["matmul"][8]
    assert (refuser, found.data["reasons"][reason]) == (
        *(SIM, "no device kernel for MatMul"),
    )


def test_partitions_are_buttons_a_keyboard_reaches(mixed):
    found = Page(page(mixed))
    parts = [value for tag, key, value in found.attributes if key == "data-part"]
    assert parts == ["0", "1", "2"]
    assert found.attributes.count(("g", "role", "button")) == 3
    assert found.attributes.count(("g", "tabindex", "0")) == 3
    assert 'role="button"' not in drawing(mixed, buttons=False)


def test_copies_between_devices_are_drawn_and_listed(mixed):
    text = page(mixed)
    assert len(mixed.transfers) == 2
    assert text.count('class="flow copies"') == 2
    assert "cpu:0 → sim:0" in text
    assert "Copies between devices" in text


def test_bodies_have_drawings_of_their_own(registered):
    from onnx import helper

    info = helper.make_tensor_value_info
    branch = helper.make_graph(
        [node("Relu", ["x"], ["b"], name="inner")], "g", [], [info("b", FLOAT, [2])]
    )
    nodes = [
        node("Neg", ["z"], ["x"]),
        node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch),
    ]
    kinds = {"c": (BOOL, []), "z": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    registered(DeviceProvider(SIM, ["Relu"]))
    found = placed(make(nodes, *kinds).SerializeToString(), SIM)
    told = Page(page(found))
    assert told.tags.count("svg") == 1 + len(
        {p.body for p in found.partitions if p.body}
    )


def test_the_page_loads_nothing_and_allows_only_its_own_script(mixed):
    text = page(mixed)
    found = Page(text)
    assert not {"link", "iframe", "object", "img", "base"} & set(found.tags)
    assert not [a for a in found.attributes if a[1] in ("src", "href", "srcset")]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    [policy] = [v for _, k, v in found.attributes if k == "content" and "default" in v]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    import base64
    import hashlib

    digest = hashlib.sha256(found.scripts[1].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def hostile():
    """Return a placement whose every string attacks the page."""
    found = placement(3, EVIL, EVIL)
    found.model, found.requested = EVIL, (EVIL, f"other{EVIL}")
    found.nodes[0].refusals[EVIL] = EVIL
    found.transfers.append((EVIL, EVIL, EVIL))
    found.events.append(Event(EVIL, "compile", EVIL, EVIL, (EVIL,)))
    found.passes.append((EVIL, 1, 0.1))
    found.seconds[EVIL] = 1.0
    found.settings[EVIL] = EVIL
    part = found.partitions[0]
    part.facts[EVIL] = EVIL
    part.weights[EVIL] = 3
    part.op_types[EVIL] = 1
    return found


def test_hostile_names_are_text_and_nothing_else():
    usual, attacked = Page(page(placement())), Page(page(hostile()))
    assert "img" not in attacked.tags
    assert len(attacked.scripts) == len(usual.scripts) == 2
    assert attacked.scripts[1] == usual.scripts[1]
    assert not [a for a in attacked.attributes if a[1].startswith("on")]
    assert attacked.data["nodes"][0][0] == f"{EVIL}0"
    assert "<" not in attacked.scripts[0]
    assert EVIL.split("\u2028")[0] in " ".join(attacked.texts)


@given(st.text(max_size=40))
def test_no_name_whatever_adds_an_element(name):
    usual, named = Page(page(placement(2))), Page(page(placement(2, name)))
    assert sorted(named.tags) == sorted(usual.tags)
    assert named.data["nodes"][0][0] == f"{name}0"


def test_names_that_utf8_cannot_hold_are_written_all_the_same(tmp_path):
    found = placement(2, "\ud800")
    found.model = "\udfff.onnx"
    found.save(str(tmp_path / "p.html"))
    assert "?.onnx" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_an_empty_graph_and_a_provider_not_in_use_have_a_page():
    found = Placement("", ("QNNExecutionProvider", CPU), (CPU,))
    found.events.append(Event("QNNExecutionProvider", "request", "it is not installed"))
    told = Page(page(found)).text
    assert "no nodes left to run" in told
    assert "ExecutionProvider it is not installed" in told


def test_large_models_have_a_page_without_the_node_drawing_and_in_time():
    small = Page(page(placement(MOST_NODES_DRAWN)))
    assert len(small.data["graph"]["boxes"]) == MOST_NODES_DRAWN
    began = time.perf_counter()
    large = Page(page(placement(20_000)))
    assert time.perf_counter() - began < 5
    assert large.data["graph"] is None
    assert len(large.data["nodes"]) == 20_000


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 30))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = draw(st.lists(pairs.filter(lambda p: p[0] < p[1]), max_size=60))
    widths = draw(st.lists(st.integers(20, 250), min_size=count, max_size=count))
    return [(float(width), 30.0) for width in widths], edges


@given(graphs())
def test_boxes_never_overlap_and_edges_run_downwards(graph):
    sizes, edges = graph
    layout = arrange(sizes, edges)
    boxes = [
        (x, y, x + w, y + h) for (x, y), (w, h) in zip(layout.boxes, sizes, strict=True)
    ]
    for a, b in combinations(boxes, 2):
        apart = a[2] <= b[0] + 1e-6 or b[2] <= a[0] + 1e-6
        assert apart or a[3] <= b[1] + 1e-6 or b[3] <= a[1] + 1e-6
    for box in boxes:
        assert box[0] >= -1e-6
        assert box[2] <= layout.width + 1e-6
        assert box[3] <= layout.height + 1e-6
    for (source, target), path in zip(edges, layout.paths, strict=True):
        assert boxes[source][3] < boxes[target][1]
        assert path[0][1] == pytest.approx(boxes[source][3])
        assert path[-1][1] == pytest.approx(boxes[target][1])
        assert boxes[source][0] <= path[0][0] <= boxes[source][2]
        assert boxes[target][0] <= path[-1][0] <= boxes[target][2]


def test_a_chain_is_straight_and_a_cycle_does_not_hang():
    size = (100.0, 30.0)
    straight = arrange([size] * 4, [(0, 1), (1, 2), (2, 3)])
    assert len({x for x, _ in straight.boxes}) == 1
    arrange([size] * 3, [(0, 1), (1, 2), (2, 0)])
    assert arrange([], []).boxes == []
