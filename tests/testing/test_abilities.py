"""Each optional ability absent, present and raising: a session does without, or names."""

import threading
import time
import warnings

import numpy as np
import pytest
import runtime as ort
from runtime import abilities
from runtime.abilities import Context
from runtime.api.keys import MAXIMUM_SECONDS
from runtime.explain import forget_warnings
from runtime.providers import registry
from runtime.testing import spoiled
from runtime.testing.hostile import Abled, Hostile, Unreadable
from runtime.testing.samples import samples

USES = {
    "memory": (abilities.MemoryReporting, lambda session: session.memory()),
    "trim": (abilities.Trimmable, lambda session: session.trim()),
    "close": (abilities.Closeable, lambda session: session.close()),
}
FINE = {"memory": lambda: {"arena": 7}, "trim": lambda: None, "close": lambda: None}
SAMPLE = samples()["fork"]


@pytest.fixture
def opened():
    """Return a function that opens a session whose executables have some abilities."""
    names = []

    def open_with(wrap):
        provider = Hostile("abled", wrap=wrap)
        registry.register(provider, provider.info, provider.info.name)
        names.append(provider.info.name)
        forget_warnings()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ort.FallbackWarning)
            return ort.InferenceSession(SAMPLE.model, providers=names[-1:])

    yield open_with
    for name in names:
        registry.unregister(name)


def check(session):
    feed = SAMPLE.feed()
    y, z = session.run(None, feed)
    np.testing.assert_array_equal(y, np.maximum(feed["x"], 0))
    np.testing.assert_array_equal(z, -y)


@pytest.mark.parametrize("name", USES)
def test_absent(name, opened):
    protocol, use = USES[name]
    session = opened(Abled)
    (placed,) = session._runnable.section.placed
    assert not isinstance(placed.executable, protocol)
    check(session)
    assert not use(session)
    assert not session.explain().events if name != "close" else True


@pytest.mark.parametrize("name", USES)
def test_present(name, opened):
    protocol, use = USES[name]
    calls = []

    def ability():
        calls.append(name)
        return FINE[name]()

    session = opened(lambda made: Abled(made, **{name: ability}))
    (placed,) = session._runnable.section.placed
    assert isinstance(placed.executable, protocol)
    check(session)
    found = use(session)
    assert calls == [name]
    if name == "memory":
        assert found == {"cpu:0": {"AbledExecutionProvider": {"arena": 7}}}
    if name != "close":
        check(session)


@pytest.mark.parametrize("name", USES)
def test_raising(name, opened):
    _, use = USES[name]
    session = opened(lambda made: Abled(made, **{name: spoiled.fail}))
    check(session)
    with pytest.warns(
        ort.FallbackWarning, match=r"Abled.*breaks its promises.*on fire"
    ):
        use(session)
    if name != "close":
        check(session)
        assert [event.stage for event in session.explain().events] == ["ability"]


def test_closing_goes_on_after_one_that_raises(opened):
    """The model has two partitions; the first to be closed raises."""
    closed = []

    def wrap(made):
        def close():
            closed.append(made)
            raise OSError("busy")

        return Abled(made, close=close)

    provider = Hostile("abled", wrap=wrap, likes=lambda node: node.op_type != "Add")
    registry.register(provider, provider.info, provider.info.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ort.FallbackWarning)
            session = ort.InferenceSession(
                samples()["elementwise"].model, providers=[provider.info.name]
            )
            session.close()
    finally:
        registry.unregister(provider.info.name)
    assert len(closed) == 2


@pytest.mark.parametrize("lie", [-1, None, {"arena": "much"}, [("arena", 1)]])
def test_memory_that_is_no_mapping_of_counts_is_blamed(lie, opened):
    session = opened(lambda made: Abled(made, memory=lambda: lie))
    with pytest.warns(ort.FallbackWarning, match="Abled.*MemoryReporting"):
        assert session.memory() == {}
    check(session)


def test_weights_and_facts(opened):
    """Absent, present, and raising: then the partition goes to the next provider."""
    session = opened(lambda made: lambda *x: made.run(x, (None, None), Context()))
    check(session)
    shown = opened(lambda made: Abled(made, facts={"precision": "f32"}))
    (record,) = shown.explain().partitions
    assert record.facts == {"precision": "f32"}
    moved = opened(Unreadable)
    assert set(moved.explain().counts()) == {"CPUExecutionProvider"}
    assert "Abled" in str(moved.explain().events[0])
    check(moved)


def test_an_export_that_no_run_uses_does_not_matter_in_a_run(opened):
    for ability in (lambda: b"x", spoiled.fail):
        check(opened(lambda inner, ability=ability: Abled(inner, export=ability)))


class Waiting(Abled):
    """Runs until it is cancelled, all callers at once; then runs end at once."""

    patience = 20.0

    def __init__(self, inner, cancel=None):
        super().__init__(inner)
        self.begun, self.stop = threading.Semaphore(0), threading.Event()
        if cancel is not None:
            self.cancel = cancel

    def cancel(self):
        self.stop.set()

    def run(self, inputs, outputs, context):
        known = self.stop.is_set()
        self.begun.release()
        if not known and self.stop.wait(self.patience):
            raise OSError("the queue was emptied")
        return super().run(inputs, outputs, context)


def in_thread(session, options):
    """Start a run; return its thread and what becomes of it."""
    ends = []

    def work():
        try:
            ends.append(session.run(None, SAMPLE.feed(), options))
        except Exception as error:
            ends.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ends


def waiting(opened, **fields):
    session = opened(lambda made: Waiting(made, **fields))
    (placed,) = session._runnable.section.placed
    return session, placed.executable


def test_a_run_that_cannot_poll_is_cancelled_and_nobody_is_blamed(opened):
    session, executable = waiting(opened)
    options = ort.RunOptions()
    thread, ends = in_thread(session, options)
    executable.begun.acquire()
    options.terminate = True
    thread.join(10)
    assert "stopped" in str(ends[0])
    assert not session.explain().events
    check(session)


def test_other_callers_that_are_stopped_along_get_their_answer(opened):
    session, executable = waiting(opened)
    options, others = ort.RunOptions(), (ort.RunOptions(), None)
    runs = [in_thread(session, given) for given in (options, *others)]
    for _ in runs:
        executable.begun.acquire()
    options.terminate = True
    for thread, _ in runs:
        thread.join(10)
    stopped, *answers = [ends[0] for _, ends in runs]
    assert isinstance(stopped, Exception)
    for y, z in answers:
        np.testing.assert_array_equal(z, -y)
    assert not session.explain().events


def test_a_run_whose_time_is_over_is_cancelled(opened):
    session, _ = waiting(opened)
    others = set(threading.enumerate())
    options, began = ort.RunOptions(), time.monotonic()
    options.add_run_config_entry(MAXIMUM_SECONDS, "0.2")
    with pytest.raises(RuntimeError, match="stopped"):
        session.run(None, SAMPLE.feed(), options)
    assert time.monotonic() - began < 10
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if isinstance(thread, threading.Timer)]


def test_a_cancel_that_raises_is_blamed_and_the_run_ends_in_its_own_time(
    opened, monkeypatch
):
    monkeypatch.setattr(Waiting, "patience", 0.5)
    session, executable = waiting(opened, cancel=spoiled.fail)
    options = ort.RunOptions()
    thread, ends = in_thread(session, options)
    executable.begun.acquire()
    with pytest.warns(ort.FallbackWarning, match="Abled.*cancel: Broken.*on fire"):
        options.terminate = True
    thread.join(10)
    assert ends
    check(session)


def test_without_a_cancel_a_run_ends_in_its_own_time(opened):
    session, options = opened(Abled), ort.RunOptions()
    y, z = session.run(None, SAMPLE.feed(), options)
    np.testing.assert_array_equal(z, -y)
