"""What does not return is reported once, with the provider's name and its stack."""

import os
import threading
import time
import warnings

import numpy as np
import pytest
import runtime as ort
from runtime import watchdog
from runtime.explain import forget_warnings
from runtime.providers import registry
from runtime.testing import hostile, spoiled
from runtime.testing.fixtures import close
from runtime.testing.hostile import DEFECTS
from runtime.testing.samples import samples
from runtime.watchdog import patience, watched

EP = "AcmeExecutionProvider"


def slow_kernel(seconds):
    time.sleep(seconds)
    return seconds


def test_a_call_that_takes_too_long_is_told_once_with_its_stack():
    told = []
    with patience(EP, "compile", 0.05, told.append):
        slow_kernel(0.3)
    (event,) = told
    assert event.provider == EP
    assert event.stage == "hang"
    assert "compile has not returned for 0.05 s" in event.reason
    assert "slow_kernel" in event.reason
    assert str(event).startswith(f"{EP} may hang")


def test_the_stack_is_that_of_the_thread_that_hangs():
    told = []

    def work():
        with patience(EP, "run", 0.05, told.append):
            slow_kernel(0.3)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (event,) = told
    assert "slow_kernel" in event.reason
    assert "thread.join" not in event.reason


def test_calls_that_return_in_time_are_not_told():
    told = []
    for _ in range(50):
        with patience(EP, "run", 0.2, told.append):
            pass
    time.sleep(0.3)
    assert not told


def test_several_calls_are_told_in_the_order_in_which_they_are_due():
    told = []

    def work(name, limit):
        with patience(name, "run", limit, told.append):
            slow_kernel(0.5)

    threads = [
        threading.Thread(target=work, args=(name, limit))
        for name, limit in (("late", 0.3), ("early", 0.05), ("never", 5.0))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.provider for event in told] == ["early", "late"]


def test_a_call_that_raises_is_not_watched_any_more():
    told = []
    with pytest.raises(OSError, match="gone"), patience(EP, "run", 0.1, told.append):
        raise OSError("gone")
    time.sleep(0.3)
    assert not told


def test_the_watching_thread_is_there_only_while_it_has_something_to_watch():
    with patience(EP, "run", 5.0):
        assert any(t.name == "runtime-watchdog" for t in threading.enumerate())
    time.sleep(3 * watchdog.LINGER)
    assert not any(t.name == "runtime-watchdog" for t in threading.enumerate())
    told = []
    with patience(EP, "run", 0.05, told.append):
        slow_kernel(0.2)
    assert told


def test_without_a_limit_nothing_is_wrapped():
    assert watched(slow_kernel, EP, "run", 0.0) is slow_kernel


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_watches_anew():
    with patience(EP, "run", 5.0):
        child = os.fork()
        if child == 0:
            told = []
            with patience(EP, "run", 0.05, told.append):
                slow_kernel(0.3)
            os._exit(0 if len(told) == 1 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


STAGES = ("probe", "get_capability", "compile", "data_transfer", "run")


def hanging(stage, monkeypatch):
    """Return a provider that hangs at one stage, for a while only."""
    monkeypatch.setattr(spoiled, "FOREVER", 0.6)
    hostile.make.cache_clear()
    return DEFECTS[f"hangs_in_{stage}"](f"hangs_in_{stage}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_session_names_the_provider_that_hangs(stage, monkeypatch):
    """The answer is right in the end."""
    provider = hanging(stage, monkeypatch)
    registry.register(provider, provider.info, provider.info.name)
    forget_warnings()
    sample, options = samples()["dense"], ort.SessionOptions()
    options.add_session_config_entry("session.hang_warning_seconds", "0.2")
    feed = sample.feed()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            session = ort.InferenceSession(
                sample.model, options, providers=[provider.info.name]
            )
            results = session.run(None, feed)
    finally:
        registry.unregister(provider.info.name)
    told = [str(w.message) for w in caught if "has not returned" in str(w.message)]
    assert told, [str(w.message) for w in caught]
    assert told[0].startswith(f"{provider.info.name} may hang: {stage}")
    assert "in hang" in told[0]
    close(results, ort.InferenceSession(sample.model).run(None, feed))
    assert isinstance(results[0], np.ndarray)


def test_the_import_of_a_provider_is_watched(monkeypatch):
    from runtime.providers import Installed

    class Point:
        dist, name, value = None, "IdleExecutionProvider", "idle:provider"

        def load(self):
            slow_kernel(0.5)
            raise ImportError("at last")

    entry = Installed(Point.name, Point())
    monkeypatch.setitem(registry._registered, Point.name, entry)
    monkeypatch.setenv("RUNTIME_HANG_WARNING_SECONDS", "0.1")
    forget_warnings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ort.InferenceSession(samples()["dense"].model, providers=[Point.name])
    told = [str(warning.message) for warning in caught]
    assert told[0].startswith("IdleExecutionProvider may hang: import has not returned")
    assert "slow_kernel" in told[0]


def test_the_session_option_comes_before_the_environment(monkeypatch):
    provider = hanging("compile", monkeypatch)
    registry.register(provider, provider.info, provider.info.name)
    monkeypatch.setenv("RUNTIME_HANG_WARNING_SECONDS", "0.1")
    forget_warnings()
    options = ort.SessionOptions()
    options.add_session_config_entry("session.hang_warning_seconds", "0")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ort.InferenceSession(
                samples()["dense"].model, options, providers=[provider.info.name]
            )
    finally:
        registry.unregister(provider.info.name)
    assert not [w for w in caught if "has not returned" in str(w.message)]
