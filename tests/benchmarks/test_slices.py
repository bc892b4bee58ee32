"""Disturbed slices are thrown away and told apart; turns are shuffled and fair."""

import itertools
from dataclasses import asdict

import pytest

from benchmarks import quiet, slices
from benchmarks.quiet import TICK, Usage

QUIET = Usage(wall=0.2, machine=0.4, steal=0.0, own=0.4, waited=0.0)


def changed(**fields):
    return Usage(**{**asdict(QUIET), **fields})


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (QUIET, ""),
        (changed(machine=0.4 + 2 * TICK), ""),
        (changed(machine=0.4 - 2 * TICK), ""),
        (changed(steal=TICK), ""),
        (changed(machine=0.5), "others"),
        (changed(steal=0.05), "steal"),
        (changed(waited=0.02, machine=0.4 + TICK), "waiting"),
        (changed(waited=0.02), ""),
    ],
)
def test_a_slice_is_thrown_away_for_what_others_did_beyond_the_clock_ticks(
    usage, reason
):
    assert quiet.disturbance(usage) == reason


def test_the_machine_is_busy_with_all_but_idle_io_wait_and_steal():
    text = "cpu  10 20 30 4000 500 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"
    busy, stolen = quiet.processors(text)
    assert busy == pytest.approx(73 * TICK)
    assert stolen == pytest.approx(80 * TICK)


def test_usage_goes_through_json_and_back():
    assert Usage(**QUIET.to_dict()) == QUIET


def test_the_gate_opens_near_the_usual_rate_and_not_below():
    rates = iter([100.0] * 20 + [85.0, 95.0])
    gate = quiet.Gate(lambda: next(rates))
    for _ in range(20):
        assert gate.reading()
    assert not gate.reading()
    assert gate.reading()


def test_one_lucky_reading_does_not_close_the_gate():
    rates = iter([100.0] * 20 + [300.0, 99.0])
    gate = quiet.Gate(lambda: next(rates))
    assert all(gate.reading() for _ in range(22))


def test_the_gate_gives_up_when_the_machine_stays_slow():
    rates = itertools.chain([100.0] * 20, itertools.repeat(50.0))
    gate = quiet.Gate(lambda: next(rates))
    for _ in range(20):
        gate.reading()
    assert not gate.wait(0.02)


def test_a_rate_below_the_least_is_not_quiet_however_long_it_lasts():
    gate = quiet.Gate(lambda: 50.0, least=60.0)
    assert not any(gate.reading() for _ in range(300))


class Rival:
    """Takes a fixed time for a run and writes down when it was its turn."""

    def __init__(self, name, log, ns, usages):
        self.name, self.log, self.ns = name, log, ns
        self.usages, self.parked = usages, False

    def ask(self, **request):
        assert not self.parked
        self.log.append(self.name)
        usage = next(self.usages).to_dict()
        return {"ns": [self.ns] * request["run"], "usage": usage}

    def park(self):
        self.parked = True

    def resume(self):
        self.parked = False


def turns(usages, seconds=100.0, step=1.0, seed=0):
    """Take turns of two rivals by a clock that moves by steps."""
    log = []
    rivals = {
        "ours": Rival("ours", log, 1_000_000, itertools.repeat(QUIET)),
        "peer": Rival("peer", log, 2_000_000, usages),
    }
    ticks = itertools.count()
    found = slices.take_turns(
        rivals,
        quiet.Gate(lambda: 1.0),
        seconds,
        seed=seed,
        clock=lambda: step * next(ticks),
    )
    return found, log[4:]


def test_every_round_keeps_the_median_of_each_undisturbed_slice():
    found, _ = turns(itertools.repeat(QUIET), 10.0)
    assert len(found.rounds) >= slices.ENOUGH
    assert all(each == {"ours": 0.001, "peer": 0.002} for each in found.rounds)
    assert found.taken == 2 * len(found.rounds)
    assert not found.thrown


def test_the_order_differs_between_rounds_and_both_begin_about_as_often():
    _, log = turns(itertools.repeat(QUIET), 60.0)
    firsts = log[::2]
    assert 0.25 < firsts.count("ours") / len(firsts) < 0.75


def test_a_disturbed_slice_is_taken_again():
    usages = itertools.cycle([changed(machine=1.0), QUIET])
    found, _ = turns(usages, 10.0)
    assert all(each["peer"] == 0.002 for each in found.rounds)
    assert found.thrown == {"others": len(found.rounds)}
    assert found.taken == 3 * len(found.rounds)


def test_a_slice_after_which_the_machine_is_slow_does_not_count():
    rates = itertools.chain([1.0], itertools.cycle([1.0, 0.5]))
    rivals = {"ours": Rival("ours", [], 1_000_000, itertools.repeat(QUIET))}
    ticks = itertools.count()
    gate = quiet.Gate(lambda: next(rates))
    gate.reading()
    found = slices.take_turns(rivals, gate, 4.0, clock=lambda: next(ticks))
    assert all(each == {"ours": None} for each in found.rounds)
    assert set(found.thrown) == {"calibration"}


def test_a_rival_that_is_always_disturbed_leaves_its_rounds_empty_but_noted():
    found, _ = turns(itertools.repeat(changed(machine=1.0)), 4.0)
    assert all(each == {"ours": 0.001, "peer": None} for each in found.rounds)
    assert all(each == {"ours": 0.001, "peer": 0.002} for each in found.noisy)
    assert found.thrown == {"others": 3 * len(found.rounds)}


def test_three_times_the_time_is_given_where_too_few_rounds_are_whole():
    quiet_, _ = turns(itertools.repeat(QUIET), 20.0)
    noisy, _ = turns(itertools.repeat(changed(machine=1.0)), 20.0)
    assert len(noisy.rounds) == pytest.approx(3 * len(quiet_.rounds), abs=3)
