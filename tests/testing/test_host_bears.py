"""With a hostile provider first, a session answers right and names the culprit."""

import re
import threading
import warnings

import numpy as np
import pytest
import runtime as ort
from runtime.explain import forget_warnings
from runtime.providers import registry
from runtime.testing import spoiled
from runtime.testing.fixtures import close
from runtime.testing.hostile import ABILITIES, DEFECTS, Hostile
from runtime.testing.samples import samples

CPU = "CPUExecutionProvider"
MODELS = ("dense", "fork", "scalar", "integers", "text")

# what the host can see, and must name
NAMED = {
    "wrong_dtype": "returned complex64 for",
    "wrong_shape": r"returned the shape \[1, 3, 3\] for 'y', which is \[\?, 3\]",
    "scalars": "returned .* for",
    "bare": "returned ndarray for 1 outputs",
    "too_many": "returned 2 values for 1 outputs",
    "nothing": "returned NoneType for 1 outputs",
    "keeps_buffers": "holds on to a result it returned",
    "keeps_arena": "holds on to a result it returned",
    "writes_in_place": "read-only",
    "raises_in_probe": "its probe raised Broken",
    "raises_in_get_capability": "get_capability.*on fire",
    "raises_in_compile": "compile.*on fire",
    "raises_in_data_transfer": "data_transfer.*on fire",
    "raises_in_run": "running.*on fire",
    "probe_answers_nothing": "it returned None, not a Probe",
    "claims_too_much": "did not compile a partition.*KeyError",
    "foreign": "stranger.*not offered",
    "malformed": "no claim of a list of nodes",
    "not_convex": "not convex",
    "nowhere": "no provider of this session copies",
    "not_callable": "compile returned 42, which cannot be called",
    "compiles_nothing": "its compile returned nothing",
    "unreadable": "on fire",
    "loses_scalars": "copied .* and made",
    "loses_dtype": "copied .* and made",
    "copies_nothing": "copied .* and made",
    "frozen": "compiled for",
    "fears_nothing": "out of bounds",
}
# the sample on which a defect shows, where it is not the first one
SHOWS = {
    "not_convex": "normalization",
    "loses_scalars": "scalar",
    "loses_dtype": "integers",
}
# what shows in no run of these models, or only to the kit
QUIET = {
    "returns_inputs", "leaks", "unsafe", "fragile", "linear", "deaf", "twice", "silent",
    "fickle", "edits_when_asked", "edits_when_compiling", "trims_too_much",
    "prepares_once", "vouches_wrongly",
    "counts_badly", "slow_probe", "probe_starts_thread", "bad_default", "bad_spelling",
    *(f"raises_in_{name}" for name in ABILITIES),
}  # fmt: skip
# wrong values of the right kind, which nobody can tell without computing them again
WRONG = {"wrong_value", "writes_inputs", "stale_cache"}
HANGS = {name for name in DEFECTS if name.startswith("hangs_in_")}


def test_every_defect_is_borne_or_excused():
    assert set(DEFECTS) == {*NAMED, *QUIET, *WRONG, *HANGS}
    assert not WRONG & {*NAMED, *QUIET}


@pytest.fixture
def hostile():
    """Return a function that makes a fresh provider with a defect, first in order."""
    names = []

    def make(defect, **fields):
        provider = Hostile(defect, **fields) if fields else DEFECTS[defect](defect)
        registry.register(provider, provider.info, provider.info.name)
        names.append(provider.info.name)
        forget_warnings()
        return provider.info.name

    yield make
    for name in names:
        registry.unregister(name)


def sizes(sample, defect):
    if defect == "fears_nothing":
        return [max(0, sample.minimum)]
    return [3, 5]


def answers(name, defect=""):
    """Run some models twice; assert every answer right at the end; return the events."""
    events = []
    for model in MODELS:
        sample = samples()[model]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ort.FallbackWarning)
            session = ort.InferenceSession(sample.model, providers=[name])
            alone = ort.InferenceSession(sample.model)
            feeds = [sample.feed(n, seed=n) for n in sizes(sample, defect)]
            wants = [alone.run(None, feed) for feed in feeds]
            gots = [session.run(None, feed) for feed in feeds]
        for got, want in zip(gots, wants, strict=True):
            close(got, want)
        events += session.explain().events
        session.close()
    return events


@pytest.mark.parametrize("defect", NAMED)
def test_answers_are_right_and_the_culprit_is_named(defect, hostile):
    name = hostile(defect)
    told = "\n".join(str(event) for event in answers(name, defect))
    assert re.search(f"{name}.*{NAMED[defect]}", told), told


FATAL = [name for name in NAMED if not name.startswith("keeps")]


@pytest.mark.parametrize("defect", FATAL)
def test_there_is_a_warning_by_name(defect, hostile):
    name, sample = hostile(defect), samples()[SHOWS.get(defect, "dense")]
    with pytest.warns(ort.FallbackWarning, match=name):
        session = ort.InferenceSession(sample.model, providers=[name])
        for size in (3, 0):
            session.run(None, sample.feed(size))


@pytest.mark.parametrize("defect", sorted(QUIET))
def test_answers_are_right(defect, hostile):
    answers(hostile(defect))


@pytest.mark.parametrize("defect", FATAL)
def test_strict_raises_by_name(defect, hostile):
    name, sample = hostile(defect), samples()[SHOWS.get(defect, "dense")]
    with pytest.raises(RuntimeError, match=name), warnings.catch_warnings():
        warnings.simplefilter("ignore", ort.FallbackWarning)
        session = ort.InferenceSession(sample.model, providers=[name], strict=True)
        for size in (3, 5, 0):
            session.run(None, sample.feed(size))


def test_results_that_are_kept_are_copied(hostile):
    """The first result stays what it was after the second run."""
    sample = samples()["relu"]
    for defect in ("keeps_buffers", "keeps_arena"):
        session = ort.InferenceSession(sample.model, providers=[hostile(defect)])
        (first,) = session.run(None, sample.feed(4, seed=1))
        before = first.copy()
        (second,) = session.run(None, sample.feed(4, seed=2))
        np.testing.assert_array_equal(first, before)
        assert not np.shares_memory(first, second)
        assert set(session.explain().counts()) == set(session.get_providers()[:1])
        assert len(session.explain().events) == 1, "told once, not at every run"


def test_honest_results_are_not_copied_and_nobody_is_blamed(hostile):
    """The host copies only what it must: what a provider gives away is handed on."""
    made = []

    def run():
        def keep_identity(call, inputs, outputs):
            results = call(inputs, outputs)
            made.append([id(result) for result in results])
            return results

        return keep_identity

    sample = samples()["fork"]
    session = ort.InferenceSession(sample.model, providers=[hostile("honest", run=run)])
    results = session.run(None, sample.feed(4))
    assert [id(result) for result in results] == made[-1]
    assert not session.explain().events


def test_the_callers_arrays_are_not_written_by_a_plain_function(hostile):
    sample = samples()["relu"]
    session = ort.InferenceSession(sample.model, providers=[hostile("writes_in_place")])
    feed = sample.feed(4)
    before = feed["x"].copy()
    with pytest.warns(ort.FallbackWarning, match="read-only"):
        (result,) = session.run(None, feed)
    np.testing.assert_array_equal(feed["x"], before)
    np.testing.assert_array_equal(result, np.maximum(before, 0))


def test_views_of_inputs_are_copied(hostile):
    sample = samples()["relu"]
    session = ort.InferenceSession(sample.model, providers=[hostile("returns_inputs")])
    x = np.ones((4, 4), np.float32)
    (result,) = session.run(None, {"x": x})
    assert not np.shares_memory(result, x)
    assert not session.explain().events


def test_an_executable_that_is_not_concurrent_is_called_by_one_thread_at_a_time(
    hostile,
):
    def serial(made):
        executable = spoiled.Spoiled(made, spoiled.unsafe())
        executable.concurrent = False
        return executable

    sample = samples()["relu"]
    session = ort.InferenceSession(
        sample.model, providers=[hostile("serial", wrap=serial)]
    )
    feeds = [sample.feed(4, seed=seed) for seed in range(8)]
    got = [None] * 8

    def work(index):
        got[index] = session.run(None, feeds[index])[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for feed, result in zip(feeds, got, strict=True):
        np.testing.assert_array_equal(result, np.maximum(feed["x"], 0))
    assert not session.explain().events


def test_a_listing_survives_every_provider(hostile):
    names = [hostile(defect) for defect in DEFECTS if defect not in HANGS]
    usable = ort.get_available_providers()
    assert CPU in usable
    assert "RaisesInProbeExecutionProvider" not in usable
    assert len(usable) > len(names) // 2


@pytest.mark.parametrize("info", [42, "x", {"name": "x"}, lambda: 42, print])
def test_a_provider_without_a_proper_description_is_not_usable(info):
    from runtime.providers import Installed

    class Odd:
        """Describes itself by something else."""

    Odd.info = staticmethod(info) if callable(info) else info
    entry = Installed("OddExecutionProvider", object=Odd())
    assert not entry.probe().usable
    assert "not a ProviderInfo" in entry.probe().reason
