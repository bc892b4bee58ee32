"""`runtime bench`: what it reports, and that the figures are what they are called."""

import itertools
import threading
import time

import pytest
from runtime.cli import timing
from runtime.cli.exits import Exit
from runtime.cli.timing import Times, alternate, measure, warm_up

QUICK = ("--min-seconds", "0.02", "--warm-up", "0.01", "--min-runs", "12")


def test_latency_creation_and_placement(call, model):
    result = call("bench", model, "--dim", "batch=2", *QUICK, "--json")
    assert result.code == Exit.OK
    found = result.data
    ours = found["runtime"]
    assert ours["runs"] >= 12
    assert 0 < ours["p50"] <= ours["p90"] <= ours["p95"] <= ours["p99"] <= ours["max"]
    assert ours["first_run"] > 0
    assert found["dims"] == {"batch": 2}
    assert found["placement"]["providers"][0]["nodes"] == 4
    stages = found["creation"]["first_stages"]
    parts = ("load", "simplify", "partition")
    assert sum(stages[key] for key in parts) == pytest.approx(stages["before_compile"])
    assert stages["before_compile"] <= found["creation"]["first"]


def test_text_has_the_line_for_loading_passes_and_partitioning(call, model):
    out = call("bench", model, *QUICK).out
    assert out.count("loading, passes and partitioning: ") == 1
    assert "CPUExecutionProvider: 4 nodes in 1 partition" in out
    assert "throughput" in out


def test_onnxruntime_side_by_side(call, model):
    pytest.importorskip("onnxruntime")
    result = call("bench", model, *QUICK, "--vs-onnxruntime", "--json")
    assert result.code == Exit.OK
    found = result.data
    medians = found["runtime"]["p50"] / found["onnxruntime"]["p50"]
    assert found["versus"]["ratio"] == pytest.approx(medians)
    assert found["versus"]["outputs_agree"]
    creation = found["creation"]
    assert creation["ratio"] == pytest.approx(
        creation["seconds"] / creation["onnxruntime_seconds"]
    )
    assert (
        "onnxruntime's whole session creation"
        in call("bench", model, *QUICK, "--vs-onnxruntime").out
    )


def test_without_onnxruntime_there_is_nothing_to_compare_with(call, model, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = call("bench", model, "--vs-onnxruntime")
    assert result.code == Exit.USAGE
    assert "pip install onnxruntime" in result.err


def test_several_threads_at_once(call, model):
    result = call("bench", model, *QUICK, "--concurrency", "3", "--json")
    assert result.data["runtime"]["runs"] >= 12


def test_measuring_lasts_as_long_and_as_often_as_asked():
    times = Times()
    measure(lambda: time.sleep(0.002), 0.03, 3, 1, times)
    assert len(times.runs) >= 3
    assert times.wall >= 0.03
    assert all(seconds >= 0.002 for seconds in times.runs)
    few = Times()
    measure(lambda: None, 0.0, 50, 1, few)
    assert len(few.runs) == 50


def test_threads_really_run_together():
    together = threading.Barrier(3, timeout=5)
    times = Times()
    measure(together.wait, 0.0, 3, 3, times)
    assert len(times.runs) == 3


def test_a_failure_in_a_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0, 0.0, 2, 2, Times())


def test_percentiles_are_runs_that_happened():
    times = Times([float(n) for n in range(1, 101)], 10.0)
    assert [times.percentile(p) for p in (1, 50, 90, 99, 100)] == [1, 50, 90, 99, 100]
    assert times.summary()["per_second"] == 10
    assert Times([3.0], 3.0).percentile(50) == 3.0


def test_calls_take_turns():
    order = []
    calls = [lambda: order.append("a"), lambda: order.append("b")]
    times, rounds = alternate(calls, 0.0, 10, 1)
    assert "".join(order) == "ab" * 10
    assert [len(own.runs) for own in times] == [10, 10]
    assert len(rounds) == 10


class Clock:
    """Stands for the module ``time``; only what is called takes time."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def take(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def test_warm_up_goes_on_until_times_are_stable(clock):
    pauses = iter([0.1 * 0.8**n for n in range(12)])
    assert warm_up(lambda: clock.take(next(pauses, 0.001)), 0.0) == 12 + 2 * 3


def test_warm_up_lasts_as_long_as_asked_and_ends_if_times_never_settle(clock):
    warm_up(lambda: clock.take(0.01), 0.5)
    assert clock.now >= 0.5
    pauses = itertools.cycle([0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    began = clock.now
    warm_up(lambda: clock.take(next(pauses)), 0.5)
    assert 5 < clock.now - began < 7
