"""Each optional ability of `runtime.abilities`: where it is there, it behaves."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import abilities
from runtime.abilities import Context
from runtime.calling import Placed
from runtime.plugin import HOST
from runtime.testing.fixtures import Claimed
from runtime.testing.subject import Opened, run_alone


def able(opened: Opened, ability: Any) -> list[Placed]:
    """Return the provider's partitions whose executables have an ability."""
    found = [p for p in opened.placed if isinstance(p.executable, ability)]
    if not found:
        pytest.skip(f"no executable is {ability.__name__}")
    return found


def test_weights_say_what_became_of_each_constant(claimed: Claimed) -> None:
    """Every name is a constant of the partition, every word one of three."""
    for item in able(claimed.opened, abilities.WeightReporting):
        told = item.executable.weights
        assert isinstance(told, Mapping)
        names = {value.name for value in item.partition.constants}
        strange = sorted(set(told) - names)
        assert not strange, f"weights names {', '.join(strange)}, no constants of it"
        words = {str(word) for word in told.values()}
        assert words <= {"kept", "repacked", "unused"}, f"weights says {words}"


def test_facts_are_text(claimed: Claimed) -> None:
    """What `explain()` shows of an executable is words by words."""
    for item in claimed.opened.placed:
        facts = getattr(item.executable, "facts", {})
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in facts.items())


def test_concurrency_is_declared_once(claimed: Claimed) -> None:
    """`concurrent`, where it is there, is a plain truth value and stays what it is."""
    for item in claimed.opened.placed:
        declared = getattr(item.executable, "concurrent", True)
        assert isinstance(declared, bool), f"concurrent is {declared!r}"


def test_memory_is_bytes_by_purpose(claimed: Claimed) -> None:
    """Names with counts that are not negative, before and after runs."""
    opened = claimed.fresh()
    for item in able(opened, abilities.MemoryReporting):
        for _ in range(2):
            told = item.executable.memory()
            assert isinstance(told, Mapping), f"memory() returned {told!r:.80}"
            for purpose, count in told.items():
                fine = isinstance(purpose, str) and isinstance(count, int)
                assert fine and count >= 0, f"memory() says {purpose!r}: {count!r}"
            opened(claimed.sample.feed())
    assert isinstance(opened.runnable.memory(), dict)
    assert not opened.faults, "; ".join(opened.faults)


def test_trimming_changes_no_result(claimed: Claimed) -> None:
    """Before the first run, between runs and twice in a row."""
    opened = claimed.fresh()
    items = able(opened, abilities.Trimmable)
    feed = claimed.sample.feed()
    for _ in range(2):
        for item in items:
            item.executable.trim()
            item.executable.trim()
        claimed.check(opened(feed), feed)
    opened.runnable.trim()
    claimed.check(opened(feed), feed)
    assert not opened.faults, "; ".join(opened.faults)


def test_a_prepared_run_is_like_any_other(claimed: Claimed) -> None:
    """It gives what a run gives, each time in new arrays, and writes no input.

    One that vouches for itself answers nothing but what it was prepared for.
    """
    opened, feed = claimed.fresh(), claimed.sample.feed()
    for item in able(opened, abilities.Preparable):
        given: list[Any] = [feed.get(value.name) for value in item.partition.inputs]
        arrays = all(type(v) is np.ndarray and v.flags.c_contiguous for v in given)
        if item.partition.device != HOST or not arrays:
            continue
        want, before = run_alone(opened, item, given), [v.copy() for v in given]
        run = item.executable.prepared(given)
        if run is None:
            continue
        results = [run(given) for _ in range(2)]
        for result in results:
            assert result is not None, "a prepared run gives up where runs succeed"
            for one, right in zip(result, want, strict=True):
                np.testing.assert_array_equal(one, right, strict=True)
                assert one.flags.carray, "a result is not contiguous and writable"
        old = [*given, *results[0]]
        shared = any(np.shares_memory(a, b) for a in results[1] for b in old)
        assert not shared, "a prepared run gives away memory that is not its own"
        for one, right in zip(given, before, strict=True):
            np.testing.assert_array_equal(one, right)
        if getattr(run, "vouches", False):
            for place, other in _others(given):
                odd = [*given[:place], other, *given[place + 1 :]]
                assert run(odd) is None, (
                    f"it vouches, and took {type(other)} {other!r:.60}"
                )


def _others(given: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yield what is of another kind than an input: its place, and the thing."""
    for place, array in enumerate(given):
        yield place, None
        yield place, array.tolist()
        yield place, array[None]
        yield place, array.view(_Subclass)
        yield place, array.astype(bool if array.dtype != bool else np.int8)
        yield place, array.repeat(2, axis=0) if array.ndim else array.reshape(1)
        apart = np.stack([array, array], axis=-1)[..., 0]
        if not apart.flags.c_contiguous:
            yield place, apart


class _Subclass(np.ndarray[Any, Any]):
    """An array of another class."""


def test_closing_ends_in_peace(claimed: Claimed) -> None:
    """A session that has run closes, and another one of the same model goes on."""
    opened, other = claimed.fresh(), claimed.fresh()
    items = able(opened, abilities.Closeable)
    feed = claimed.sample.feed()
    opened(feed)
    for item in items:
        item.executable.close()
    claimed.check(other(feed), feed)


def test_a_session_gone_takes_its_executables_along(claimed: Claimed) -> None:
    """Nobody holds an executable once its session was closed and forgotten."""
    opened = claimed.fresh()
    opened(claimed.sample.feed())
    held = [ref for item in opened.placed if (ref := _reference(item.executable))]
    opened.runnable.close()
    del opened
    gc.collect()
    alive = sum(ref() is not None for ref in held)
    assert not alive, f"{alive} executables outlive their session"


def _reference(value: Any) -> Any:
    try:
        return weakref.ref(value)
    except TypeError:
        return None


def test_cancelling_nothing_does_nothing(claimed: Claimed) -> None:
    """A cancel without a run in progress does not stop the next run."""
    opened = claimed.fresh()
    items = able(opened, abilities.Cancellable)
    feed = claimed.sample.feed()
    for _ in range(2):
        for item in items:
            item.executable.cancel()
        claimed.check(opened(feed), feed)
    assert not opened.faults, "; ".join(opened.faults)


def test_cancelling_from_another_thread_leaves_the_executable_well(
    claimed: Claimed,
) -> None:
    """Runs that are cancelled end or raise; the runs after them are right."""
    opened = claimed.fresh()
    items = able(opened, abilities.Cancellable)
    feed, done = claimed.sample.feed(), threading.Event()

    def cancel() -> None:
        while not done.is_set():
            for item in items:
                item.executable.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        for item in items:
            _run_anyhow(opened, item, feed)
    finally:
        done.set()
        thread.join()
    claimed.check(opened(feed), feed)


def _run_anyhow(opened: Opened, item: Placed, feed: dict[str, Any]) -> None:
    given = [feed.get(value.name) for value in item.partition.inputs]
    if any(value is None for value in given):
        return
    for _ in range(20):
        try:
            run_alone(opened, item, given)
        except Exception as error:
            assert type(error).__name__, "cancelled"


def test_a_run_that_is_asked_to_stop_is_no_fault(claimed: Claimed) -> None:
    """It stops or ends with the right answer, whenever it is asked; so does the next."""
    opened, feed = claimed.fresh(), claimed.sample.feed()
    for delay in range(20):
        options = runtime.RunOptions()
        timer = threading.Timer(delay * 2e-5, setattr, (options, "terminate", True))
        timer.start()
        try:
            claimed.check(opened.call(None, feed, options), feed)
        except RuntimeError as error:
            assert "stopped" in str(error), error
        timer.join()
    claimed.check(opened(feed), feed)
    assert not opened.faults, "; ".join(opened.faults)


def test_exports_are_bytes(claimed: Claimed) -> None:
    """What an executable exports is some bytes, and exporting does not hurt it."""
    opened, feed = claimed.fresh(), claimed.sample.feed()
    for item in able(opened, abilities.Exportable):
        made = item.executable.export()
        assert isinstance(made, bytes), f"export() returned {type(made).__name__}"
        assert made, "export() returned nothing"
    claimed.check(opened(feed), feed)


def test_a_trace_is_no_burden(claimed: Claimed) -> None:
    """With somebody listening, results are the same and events have been recorded."""
    opened, feed = claimed.fresh(profiling=True), claimed.sample.feed()
    claimed.check(opened(feed), feed)
    context = Context(trace=opened.runnable.trace)
    for item in opened.placed:
        given = [feed.get(value.name) for value in item.partition.inputs]
        if all(value is not None for value in given):
            device = item.partition.device
            up = [opened.up(value, device) for value in given]
            item.run(up, (None,) * len(item.partition.outputs), context)
    assert opened.runnable.trace.events
