"""Runs that are recorded once for their shapes and addresses, and replayed when they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime_ep_cuda.driver import Driver, Stream

from runtime_ep_tensorrt.slots import Recorded, Slot

MOST = 8
"""Recorded runs that a slot keeps; the one not used for longest goes first."""

Arrays = Mapping[str, Any]


def replay(
    driver: Driver,
    slot: Slot,
    index: int,
    inputs: Arrays,
    results: Arrays,
    stream: Stream,
) -> None:
    """Run as recorded, where these shapes and addresses have come before.

    Working memory is one of the addresses.
    """
    both = (*inputs.values(), *results.values())
    arrays = ((array.pointer, tuple(array.shape)) for array in both)
    key = (slot.address, index, *arrays)
    if key not in slot.recordings:
        slot.recordings[key] = None
        while len(slot.recordings) > MOST:
            _, old = slot.recordings.popitem(last=False)
            if old is not None:
                old.close()
        with driver.using(stream):
            slot.run.go(stream)
        return
    slot.recordings.move_to_end(key)
    recorded = slot.recordings[key]
    if recorded is None:
        driver.synchronize(stream)
        recorded = slot.recordings[key] = _recorded(
            driver, slot, index, inputs, results
        )
    recorded.recording.launch(stream)


def _recorded(
    driver: Driver, slot: Slot, index: int, inputs: Arrays, results: Arrays
) -> Recorded:
    """Record a run in a context of its own, in which nothing is changed afterwards.

    TensorRT wants that of contexts that are recorded. It prepares itself in the run before.
    """
    engine, stream = slot.engine, slot.stream
    with driver.using(stream):
        run = engine.context()
        run.use_memory(slot.address, engine.memory)
        if engine.profiles > 1:
            run.use_profile(index, stream)
        for name, array in inputs.items():
            run.give(name, array.pointer, array.shape)
        for name, array in results.items():
            run.give(name, array.pointer)
        run.settle()
        run.go(stream)
    driver.synchronize(stream)
    with driver.recording(stream) as found:
        run.go(stream)
    return Recorded(run, found[0])
