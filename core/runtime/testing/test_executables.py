"""What an executable promises, whatever it computes: see `runtime.plugin.Executable`."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from runtime.abilities import Context
from runtime.calling import Placed
from runtime.graph import Value
from runtime.ownership import root
from runtime.plugin import HOST
from runtime.testing import fingerprints
from runtime.testing.fixtures import Claimed, close
from runtime.testing.samples import FLOAT, Kind, model, node
from runtime.testing.subject import Opened, Subject, run_alone
from runtime.valuetypes import TensorType, numpy_dtype


def captured(claimed: Claimed, feed: dict[str, Any]) -> list[tuple[Placed, list[Any]]]:
    """Return the provider's partitions of the main graph with what each is given.

    The values are those of a run of the whole model, copied to the host.
    """
    opened, found = claimed.opened, []
    plan = opened.runnable.plan()
    values: dict[Value, Any] = {}
    inputs = opened.runnable.inputs
    values.update({v: feed[v.name] for v in inputs if v.name in feed})
    for step in plan.steps:
        if step.placed is None:
            continue
        part = step.placed.partition
        given = [values[value] for value in part.inputs]
        if part.provider == opened.name:
            found.append((step.placed, given))
        results = run_alone(opened, step.placed, writable(given))
        values.update(zip(part.outputs, results, strict=True))
    return found


def writable(values: Sequence[Any]) -> list[Any]:
    """Return copies that a careless executable could write."""
    return [v.copy() if isinstance(v, np.ndarray) else v for v in values]


def test_results_are_as_declared(claimed: Claimed) -> None:
    """Element types, ranks and known sizes are those of the partition's outputs."""
    feed = claimed.sample.feed()
    for item, given in captured(claimed, feed):
        results = run_alone(claimed.opened, item, given)
        for value, result in zip(item.partition.outputs, results, strict=True):
            _check_declared(value, result)


def _check_declared(value: Value, result: Any) -> None:
    if not isinstance(value.type, TensorType) or not value.dtype:
        return
    assert isinstance(result, np.ndarray), f"{value.name} is {type(result).__name__}"
    assert result.dtype == numpy_dtype(value.dtype), f"{value.name} is {result.dtype}"
    if value.shape is None:
        return
    told = f"{value.name} has shape {result.shape}, declared {value.shape}"
    assert result.ndim == len(value.shape), told
    for found, declared in zip(result.shape, value.shape, strict=True):
        assert not isinstance(declared, int) or found == declared, told


def test_results_are_right(claimed: Claimed) -> None:
    """The provider and the host's provider agree, and nothing moved silently."""
    feed = claimed.sample.feed()
    claimed.check(claimed.opened(feed), feed)
    assert not claimed.opened.faults, "; ".join(claimed.opened.faults)


def test_inputs_are_never_written(claimed: Claimed) -> None:
    """What is given stays as it is, even where it could be written."""
    opened, feed = claimed.opened, claimed.sample.feed()
    for item, given in captured(claimed, feed):
        values = writable(given)
        before = [fingerprints.of_array(value) for value in values]
        device = item.partition.device
        moved = [opened.up(value, device) for value in values]
        nothing = (None,) * len(item.partition.outputs)
        item.run(moved, nothing, Context())
        after = [fingerprints.of_array(opened.down(v, device)) for v in moved]
        names = [value.name for value in item.partition.inputs]
        changed = [n for n, a, b in zip(names, before, after, strict=True) if a != b]
        assert not changed, f"it wrote its inputs {', '.join(changed)}"


def test_constants_are_never_written(claimed: Claimed) -> None:
    """Initializers are shared with other sessions and providers."""
    opened = claimed.fresh()
    before = [fingerprints.of_graph(graph) for graph in opened.graphs]
    opened(claimed.sample.feed())
    after = [fingerprints.of_graph(graph) for graph in opened.graphs]
    assert before == after, "a run changed the graph or its constants"


def test_read_only_inputs_will_do(claimed: Claimed) -> None:
    """Callers feed mapped files and views that nobody can write."""
    feed = claimed.sample.feed()
    want = claimed.expected(feed)
    for value in feed.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    close(claimed.opened(feed), want)
    assert not claimed.opened.faults, "; ".join(claimed.opened.faults)


def test_results_are_given_away(claimed: Claimed) -> None:
    """What one run returned is neither held nor written by the next."""
    opened = claimed.opened
    one, two = (captured(claimed, claimed.sample.feed(seed=seed)) for seed in (0, 1))
    for (item, first), (_, second) in zip(one, two, strict=True):
        device = item.partition.device
        nothing = (None,) * len(item.partition.outputs)
        up = [opened.up(value, device) for value in first]
        results = list(item.run(up, nothing, Context()))
        before = [fingerprints.of_array(opened.down(v, device)) for v in results]
        item.run([opened.up(v, device) for v in second], nothing, Context())
        after = [fingerprints.of_array(opened.down(v, device)) for v in results]
        assert before == after, "a later run wrote what an earlier one had returned"
        if device == HOST:
            _check_released(results, up)


def _check_released(results: list[Any], inputs: list[Any]) -> None:
    """Assert that nobody but us holds what a run returned; views of inputs aside."""
    given = {id(root(value)) for value in inputs}
    held = [
        weakref.ref(root(value))
        for value in results
        if isinstance(value, np.ndarray) and value.flags.writeable
        if id(root(value)) not in given
    ]
    results.clear()
    gc.collect()
    alive = sum(ref() is not None for ref in held)
    assert not alive, f"it holds on to {alive} arrays that it returned"


def test_buffers_are_filled(claimed: Claimed) -> None:
    """An output that is given memory is written there, and that memory is returned."""
    opened, feed = claimed.opened, claimed.sample.feed()
    for item, given in captured(claimed, feed):
        wants = run_alone(opened, item, given)
        device = item.partition.device
        buffers = [_buffer(opened, want, device) for want in wants]
        up = [opened.up(value, device) for value in given]
        results = item.run(up, buffers, Context())
        for want, buffer, result in zip(wants, buffers, results, strict=True):
            if buffer is None:
                continue
            close([opened.down(buffer, device)], [want])
            told = "it filled a buffer and returned something else"
            close([opened.down(result, device)], [want])
            assert result is buffer or _same_memory(result, buffer), told


def _buffer(opened: Opened, like: Any, device: Any) -> Any:
    if not isinstance(like, np.ndarray) or like.dtype == object:
        return None
    return opened.up(np.zeros_like(like, order="C"), device)


def _same_memory(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.size == 0 or np.shares_memory(one, other)
    return getattr(one, "pointer", None) == getattr(other, "pointer", 0)


def test_any_size_will_do(claimed: Claimed) -> None:
    """Nothing, one, some and many, in any order, on one executable."""
    for size in claimed.sizes(3, 1, 17, 0, 2, 3):
        feed = claimed.sample.feed(size, seed=size)
        claimed.check(claimed.opened(feed), feed)
        assert not claimed.opened.faults, "; ".join(claimed.opened.faults)


def test_a_first_run_on_nothing_will_do(claimed: Claimed) -> None:
    """An executable that first meets a size of zero works with others afterwards."""
    opened = claimed.fresh()
    for size in claimed.sizes(0, 2):
        feed = claimed.sample.feed(size, seed=size)
        claimed.check(opened(feed), feed)
        assert not opened.faults, "; ".join(opened.faults)


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "offset"])
def test_memory_may_have_any_layout(claimed: Claimed, layout: str) -> None:
    """Inputs need not be contiguous: another provider may hand over a view."""
    opened = claimed.opened
    for item, given in captured(claimed, claimed.sample.feed()):
        want = run_alone(opened, item, given)
        laid = [_laid_out(value, layout) for value in given]
        device = item.partition.device
        if device == HOST:
            close(list(item.run(laid, (None,) * len(want), Context())), want)
        else:
            close(run_alone(opened, item, laid), want)


def _laid_out(value: Any, layout: str) -> Any:
    """Return an equal array whose memory is laid out in another way."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    if layout == "fortran":
        return np.asfortranarray(value)
    if layout == "reversed":
        return value[..., ::-1].copy()[..., ::-1]
    if layout == "strided":
        wide = np.repeat(value, 2, axis=-1)
        return wide[..., ::2]
    wide = np.empty(value.size + 1, value.dtype)
    wide[1:] = value.ravel()
    return wide[1:].reshape(value.shape)


def test_sixteen_threads_may_call_at_once(claimed: Claimed) -> None:
    """Each gets its own answer, whether the executable is concurrent or made to wait."""
    opened, sample = claimed.opened, claimed.sample
    sizes = claimed.sizes(1, 2, 3, 4)
    feeds = [sample.feed(sizes[i % len(sizes)], seed=i) for i in range(16)]
    wants = [claimed.expected(feed) for feed in feeds]
    ready = threading.Barrier(16)

    def work(index: int) -> None:
        ready.wait()
        for _ in range(8):
            close(opened.call(None, feeds[index]), wants[index])

    with _impatient(), ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(work, index) for index in range(16)]:
            done.result()
    assert not opened.faults, "; ".join(opened.faults)


@contextmanager
def _impatient() -> Iterator[None]:
    """Let threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


_CLASHES: dict[str, tuple[str, list[Any], list[Any]]] = {
    "broadcast": ("Add", ["n", 4], ["m", 4]),
    "product": ("MatMul", ["a", "b"], ["c", "d"]),
    "join": ("Concat", ["a", "b"], ["c", "d"]),
}
"""Shapes that only a run can know not to fit: operator, and its inputs' shapes."""


@pytest.mark.parametrize("clash", _CLASHES)
def test_a_run_after_an_error_works(subject: Subject, clash: str) -> None:
    """Data that does not fit is an error; the next run is right, by the same provider."""
    op, *shapes = _CLASHES[clash]
    inputs: dict[str, Kind] = {"x": (FLOAT, shapes[0]), "y": (FLOAT, shapes[1])}
    attributes = {"axis": 0} if op == "Concat" else {}
    nodes = [node(op, ["x", "y"], ["z"], **attributes)]
    made = model(nodes, inputs, {"z": (FLOAT, [None, None])})
    opened = subject.open(made)
    if not opened.owned:
        pytest.skip("; ".join(opened.refusals) or "not claimed")
    right = {name: np.full((4, 4), 2, np.float32) for name in ("x", "y")}
    wrong = {"x": right["x"][:2], "y": right["y"][:3, : 4 if op == "Add" else 3]}
    want = subject.alone(made)(right)
    close(opened(right), want)
    for _ in range(2):
        with pytest.raises(Exception, match=r"\w"):
            opened(wrong)
        close(opened(right), want)
    assert opened.placed, "after an error in the data it lost its part of the model"


def test_memory_does_not_grow(one: Claimed) -> None:
    """Two thousand runs leave nothing behind, neither bytes nor objects."""
    feeds = [one.sample.feed(size, seed=size) for size in one.sizes(512, 511, 510)]
    call = one.fresh().call

    def work(runs: int) -> None:
        for index in range(runs):
            call(None, feeds[index % len(feeds)])

    def grown(runs: int) -> tuple[float, float]:
        blocks, bytes_before = _blocks(), _resident()
        work(runs)
        return (_blocks() - blocks) / runs, (_resident() - bytes_before) / runs

    work(500)
    rounds = [grown(500) for _ in range(4)]
    # A leak shows in every round; a heap that grew once, or another thread's memory, does not.
    blocks = min(blocks for blocks, _ in rounds)
    resident = min(resident for _, resident in rounds)
    assert blocks < 0.5, f"each run leaves {blocks:.1f} Python objects behind"
    assert resident < 1024, f"each run leaves {resident:.0f} bytes behind"


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def test_a_cancelled_run_ends(claimed: Claimed) -> None:
    """A run whose flag is set beforehand may finish or stop; the next one is right."""
    from runtime.errors import Cancelled

    opened, feed = claimed.opened, claimed.sample.feed()
    flag = threading.Event()
    flag.set()
    for item, given in captured(claimed, feed):
        want = run_alone(opened, item, given)
        device = item.partition.device
        up = [opened.up(value, device) for value in given]
        try:
            results = item.run(up, (None,) * len(want), Context(cancelled=flag))
        except Cancelled:
            results = None
        if results is not None:
            close([opened.down(v, device) for v in results], want)
        close(run_alone(opened, item, given), want)
