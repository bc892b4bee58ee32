"""Each optional ability absent, present and raising: a session does without, or names."""

import warnings

import numpy as np
import pytest
import runtime as ort
from runtime import abilities
from runtime.abilities import Context
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
        assert found == {"AbledExecutionProvider": {"arena": 7}}
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


@pytest.mark.parametrize("name", ["export", "cancel"])
def test_abilities_that_no_run_uses_do_not_matter_in_a_run(name, opened):
    for ability in (lambda: b"x", spoiled.fail):
        made = {name: ability}
        check(opened(lambda inner, made=made: Abled(inner, **made)))
