"""What `get_capability` and `compile` promise: see `runtime.plugin`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from runtime.partition import is_convex
from runtime.plugin import Claim, Refusal
from runtime.testing import child, fingerprints
from runtime.testing.fixtures import Claimed, any_claimed, close, kit_of
from runtime.testing.graphs import random_model
from runtime.testing.samples import FLOAT, STRING, Kind, model, node
from runtime.testing.subject import Opened, Subject


def test_it_answers(request: pytest.FixtureRequest) -> None:
    """Probing, dividing, compiling and running end, tried in a process of its own."""
    limit = request.config.getoption("ep_limit")
    subject = kit_of(request).subject
    outcome = child.answer_of(subject, limit)
    assert not outcome.unusable, outcome.unusable
    assert not outcome.fatal, f"{subject.name}: {outcome.fatal}"
    assert outcome.answer.get("done"), f"{subject.name}: {outcome.told}"


def test_it_claims_something(subject: Subject) -> None:
    """A provider that claims no sample and no node case has nothing to show."""
    assert any_claimed(subject) is not None, (
        f"{subject.name} claims nothing of any sample or ONNX node case; its refusals "
        "say why: run with -rs, or look at session.explain()"
    )


def test_capability_is_pure_and_deterministic(claimed: Claimed) -> None:
    """Asking twice gives the same answers and leaves the graph as it was."""
    opened = claimed.fresh(dry=True)
    before = fingerprints.of_graph(opened.runnable.graph)
    first = fingerprints.of_answers(opened.claims())
    second = fingerprints.of_answers(opened.claims())
    after = fingerprints.of_graph(opened.runnable.graph)
    assert first == second, "asked twice, it answered differently"
    changed = fingerprints.differences(before, after)
    assert not changed, f"get_capability changed the graph: {', '.join(changed)}"


def test_sessions_are_divided_alike(claimed: Claimed) -> None:
    """Two sessions of one model give the provider the same nodes."""
    first, second = claimed.fresh(dry=True), claimed.fresh(dry=True)
    assert _owners(first) == _owners(second)


def _owners(opened: Opened) -> list[tuple[str, str, int]]:
    return [(n.name, n.provider, n.partition) for n in opened.nodes]


def test_answers_are_sound(claimed: Claimed) -> None:
    """Claims hold nodes that were offered, each once; refusals have a reason."""
    opened = claimed.fresh(dry=True)
    offered = set(opened.runnable.graph)
    kinds = {"cpu", *claimed.subject.info.device_kinds}
    seen: Counter[int] = Counter()
    for answer in opened.claims():
        assert isinstance(answer, (Claim, Refusal)), f"it answered {answer!r:.200}"
        if isinstance(answer, Refusal):
            assert answer.node in offered, f"it refused {answer.node!r}, not offered"
            assert answer.reason.strip(), (
                f"it refused {answer.node.label} without reason"
            )
            continue
        assert answer.nodes, "a claim holds no nodes"
        foreign = [n.label for n in answer.nodes if n not in offered]
        assert not foreign, f"it claims {', '.join(foreign)}, which was not offered"
        assert answer.device.kind in kinds, f"its info does not name {answer.device}"
        if answer.fused:
            told = f"the fused claim from {answer.nodes[0].label} is not convex"
            assert is_convex(answer.nodes, opened.runnable.graph), told
        seen.update(id(n) for n in answer.nodes)
    assert max(seen.values(), default=1) == 1, "it claims a node more than once"


@pytest.mark.parametrize("seed", range(12))
def test_fused_claims_of_random_graphs_are_convex(subject: Subject, seed: int) -> None:
    """No path leaves a fused claim and comes back into it."""
    opened = subject.open(random_model(seed), dry=True)
    offered = set(opened.runnable.graph)
    for answer in opened.claims():
        if isinstance(answer, Claim):
            foreign = [n.label for n in answer.nodes if n not in offered]
            assert not foreign, f"it claims {', '.join(foreign)}, which was not offered"
            if answer.fused:
                told = f"the fused claim from {answer.nodes[0].label} is not convex"
                assert is_convex(answer.nodes, opened.runnable.graph), told


def test_only_what_is_offered_is_claimed(claimed: Claimed) -> None:
    """Offered a part of a graph, it claims nothing of the rest."""
    opened = claimed.fresh(dry=True)
    graph, providers = opened.runnable.graph, opened.runnable.providers
    offered = tuple(graph)[len(graph) // 2 :]
    groups = providers.call(
        "get_capability",
        opened.name,
        graph=graph,
        nodes=offered,
        settings=providers.settings(opened.name),
    )
    for answer in (answer for group in groups for answer in group or ()):
        nodes = answer.nodes if isinstance(answer, Claim) else (answer.node,)
        foreign = [n.label for n in nodes if n not in offered]
        assert not foreign, f"it answered for {', '.join(foreign)}, not offered"


def test_compile_leaves_the_graph_as_it_was(claimed: Claimed) -> None:
    """Compiling changes neither nodes nor constants: others compile them, too."""
    opened = claimed.fresh(dry=True)
    before = fingerprints.of_graph(opened.runnable.graph)
    opened.runnable.section.compile_all()
    after = fingerprints.of_graph(opened.runnable.graph)
    changed = fingerprints.differences(before, after)
    assert not changed, f"compile changed the graph: {', '.join(changed)}"


_RARE = {
    "Det": [node("Det", ["a"], ["r"])],
    "Einsum": [node("Einsum", ["a", "a"], ["r"], equation="ij,jk->ik")],
    "Cast": [
        node("Cast", ["a"], ["s"], to=STRING),
        node("Cast", ["s"], ["r"], to=FLOAT),
    ],
    "ReverseSequence": [
        node("ReverseSequence", ["a", "lengths"], ["r"], batch_axis=0, time_axis=1)
    ],
    "GridSample": [
        node("Reshape", ["a", "image"], ["i"]),
        node("Reshape", ["a", "grid"], ["g"]),
        node("GridSample", ["i", "g"], ["r"]),
    ],
}
"""Operators that few providers have, each from ``a`` to ``r``."""


@pytest.mark.parametrize("rare", _RARE)
def test_a_refusal_falls_back(subject: Subject, rare: str) -> None:
    """A model with an operator that is refused runs, and tells who refused it and why."""
    nodes = [node("Relu", ["x"], ["a"]), *_RARE[rare], node("Add", ["r", "one"], ["y"])]
    constants = {
        "one": np.float32(1),
        "lengths": np.array([4, 3, 2, 1]),
        "image": np.array([1, 1, 4, 4]),
        "grid": np.array([1, 2, 4, 2]),
    }
    inputs: dict[str, Kind] = {"x": (FLOAT, [4, 4])}
    made = model(nodes, inputs, {"y": (FLOAT, None)}, constants)
    opened = subject.open(made)
    refused = [n for n in opened.nodes if subject.name in n.refusals]
    if not refused:
        pytest.skip("it refuses nothing of this")
    assert all(n.refusals[subject.name].strip() for n in refused)
    feed = {"x": np.random.default_rng(0).uniform(-1, 1, (4, 4)).astype(np.float32)}
    close(opened(feed), subject.alone(made)(feed))
    assert not opened.faults, "; ".join(opened.faults)
