"""Models divided between providers compute what the host's provider computes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from runtime.graph import Node
from runtime.providers import registry
from runtime.testing import graphs
from runtime.testing.fixtures import close
from runtime.testing.providers import LOOP, Loopback
from runtime.testing.subject import Subject

SEEDS = range(25)
MODELS: dict[str, Callable[[int], bytes]] = {
    "graph": graphs.random_model,
    "branches": graphs.random_branches,
    "loop": graphs.random_loop,
    "sequence": graphs.random_sequence,
}


class Picky(Loopback):
    """Takes a part of the nodes, by their names, so that partitions alternate."""

    def __init__(self, share: int, **fields: Any) -> None:
        super().__init__("KitPickyExecutionProvider", self._picks, **fields)
        self.share = share

    def _picks(self, node: Node) -> bool:
        name = node.name or (node.outputs[0].name if node.outputs else "")
        return sum(map(ord, name)) % 5 < self.share and not node.bodies


@pytest.fixture(params=["alone", "host", "device"])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """Who is asked before the provider under test: nobody, or a picky one."""
    if request.param == "alone":
        yield ()
        return
    fields = {"device": LOOP} if request.param == "device" else {}
    picky = Picky(2, **fields)
    registry.register(picky, picky.info, picky.info.name)
    yield (picky.info.name,)
    registry.unregister(picky.info.name)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", MODELS)
def test_divided_models_equal_the_host_alone(
    subject: Subject, before: tuple[str, ...], kind: str, seed: int
) -> None:
    """Random graphs, branches and loops that read outer values, and sequences."""
    made, feed = MODELS[kind](seed), graphs.random_feed(seed)
    opened = subject.open(made, before=before)
    want = subject.alone(made)(feed)
    for _ in range(2):
        close(opened(feed), want)
    assert not opened.faults, "; ".join(opened.faults)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_passes_it_is_the_same(subject: Subject, seed: int) -> None:
    """A graph offered as it was written, constants and all."""
    made, feed = graphs.random_model(seed), graphs.random_feed(seed)
    opened = subject.open(made, passes="none")
    close(opened(feed), subject.alone(made)(feed))
    assert not opened.faults, "; ".join(opened.faults)


def test_a_failed_neighbour_does_not_matter(subject: Subject) -> None:
    """What a provider before it could not compile is offered to it, and runs."""
    from runtime.testing.hostile import make

    hostile = make("raises_in_compile")
    registry.register(hostile, hostile.info, hostile.info.name)
    try:
        for seed in range(5):
            made, feed = graphs.random_model(seed), graphs.random_feed(seed)
            opened = subject.open(made, before=(hostile.info.name,))
            close(opened(feed), subject.alone(made)(feed))
            assert not opened.faults, "; ".join(opened.faults)
    finally:
        registry.unregister(hostile.info.name)


def test_results_do_not_depend_on_who_ran_before(subject: Subject) -> None:
    """Two sessions of different models, used in turns, do not disturb each other."""
    pairs = []
    for seed in (100, 101):
        made, feed = graphs.random_model(seed), graphs.random_feed(seed)
        pairs.append((subject.open(made), feed, subject.alone(made)(feed)))
    for _ in range(5):
        for opened, feed, want in pairs:
            close(opened(feed), want)
            assert all(isinstance(value, np.ndarray) for value in want)
