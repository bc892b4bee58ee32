"""Candidates are chosen by order or by the clock, and the choice is remembered."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from double.host import HostDriver
from double.libraries import HostCandidate
from library.specs import attention, convolution, product
from runtime.cache import CompileCache
from runtime_ep_cuda.driver import OutOfMemory, Properties
from runtime_ep_cuda.memory import Pool
from runtime_ep_cuda.operations import specs_of
from runtime_ep_cuda.tuning import MOST_RUNS, ROUNDS, Tuner

OPERATION = product((1, 4, 8), (1, 8, 16))
LIMIT = 1 << 20
STREAM = 7


@dataclass
class FakeCandidate:
    """A candidate that takes as long as it says, and counts its runs."""

    driver: "FakeDriver"
    name: str
    seconds: float = 1e-5
    workspace: int = 0
    recordable: bool = True
    savable: bool = True
    works: bool = True
    runs: list = field(default_factory=list)

    def run(self, pointers, workspace, stream):
        if not self.works:
            raise RuntimeError("it fails here")
        if self.driver.captures and not self.recordable:
            raise RuntimeError("not while recording")
        self.runs.append((tuple(pointers), workspace))
        self.driver.work(self.seconds)

    def save(self):
        if not self.savable:
            raise RuntimeError("not to be saved")
        return f"saved {self.name}".encode()


@dataclass
class Recording:
    driver: "FakeDriver"
    seconds: float
    closed: bool = False

    def launch(self, stream):
        assert not self.closed
        self.driver.now += self.seconds

    def close(self):
        self.closed = True


class FakeDriver:
    """A device with a clock of its own, on which only candidates take time."""

    def __init__(self, *offered, room=1 << 30, driver="580.1"):
        self.properties = Properties(
            "fake", (9, 0), 132, 1 << 36, 1 << 17, 1 << 25, (("driver", driver),)
        )
        self.offered = [FakeCandidate(self, *each) for each in offered]
        self.now, self.captures, self.recorded = 0.0, 0, 0.0
        self.room, self.held, self.asked, self.restored = room, {}, 0, []
        self.filled, self.most = {}, 0
        self.recordings = []

    def work(self, seconds):
        if self.captures:
            self.recorded += seconds
        else:
            self.now += seconds

    def allocate(self, size):
        if size + sum(self.held.values()) > self.room:
            raise OutOfMemory(f"{size} bytes")
        address = 256 * (1 + len(self.filled) + len(self.held))
        self.held[address] = size
        self.most = max(self.most, sum(self.held.values()))
        return address

    def free(self, address):
        del self.held[address]

    def fill(self, target, byte, size, stream):
        assert self.held[target] >= size
        self.filled[target] = byte

    def event(self, timed=True):
        return {}

    def record(self, event, stream):
        event["at"] = self.now

    def elapsed(self, begin, end):
        return end["at"] - begin["at"]

    def synchronize(self, stream):
        assert not self.captures

    @contextmanager
    def recording(self, stream):
        found = []
        self.captures, self.recorded = 1, 0.0
        try:
            yield found
        finally:
            self.captures = 0
        found.append(Recording(self, self.recorded))
        self.recordings += found

    def candidates(self, operation, limit, most=8, deterministic=False):
        self.asked += 1
        found = [each for each in self.offered if each.workspace <= limit]
        return [
            each for each in found if not deterministic or "random" not in each.name
        ]

    def restore(self, operation, saved):
        self.restored.append(saved)
        names = {each.save(): each for each in self.offered if each.savable}
        return names.get(saved)


@pytest.fixture
def cache(tmp_path):
    return CompileCache(tmp_path)


def test_exhaustive_takes_the_fastest(cache):
    driver = FakeDriver(("slow", 3e-5), ("fast", 1e-5), ("middling", 2e-5))
    tuner = Tuner(driver, cache)
    assert tuner.choose(OPERATION, LIMIT, STREAM).name == "fast"
    (choice,) = tuner.choices
    assert choice.origin == "timed"
    assert dict(choice.seconds) == pytest.approx(
        {"slow": 3e-5, "fast": 1e-5, "middling": 2e-5}
    )


def test_what_is_hardly_faster_does_not_go_before_what_the_library_prefers(cache):
    driver = FakeDriver(("preferred", 1.00e-5), ("other", 0.99e-5))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM).name == "preferred"
    driver = FakeDriver(("preferred", 1.00e-5), ("other", 0.95e-5))
    assert Tuner(driver, CompileCache("", False)).choose(
        OPERATION, LIMIT, STREAM
    ).name == ("other")


def test_heuristic_takes_the_first_without_running_any(cache):
    driver = FakeDriver(("first", 3e-5), ("faster", 1e-5))
    tuner = Tuner(driver, cache, "HEURISTIC")
    assert tuner.choose(OPERATION, LIMIT, STREAM).name == "first"
    assert not any(each.runs for each in driver.offered)
    assert tuner.choices[0].origin == "first"


def test_default_takes_the_first_of_those_with_the_least_scratch_memory(cache):
    driver = FakeDriver(("large", 1e-5, 512), ("none", 1e-5), ("none either", 1e-5))
    assert (
        Tuner(driver, cache, "DEFAULT").choose(OPERATION, LIMIT, STREAM).name == "none"
    )


def test_a_single_candidate_is_not_timed(cache):
    driver = FakeDriver(("only", 1e-5))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM).name == "only"
    assert not driver.offered[0].runs


def test_where_there_are_none_there_is_no_choice(cache):
    driver = FakeDriver(("large", 1e-5, 4096))
    tuner = Tuner(driver, cache)
    assert tuner.choose(OPERATION, 100, STREAM) is None
    assert tuner.choices == []
    assert cache.entries() == []


def test_long_runs_are_timed_less_often_and_hopeless_ones_once(cache):
    driver = FakeDriver(("short", 1e-6), ("long", 1e-2), ("hopeless", 5e-2))
    Tuner(driver, cache, captured=False).choose(OPERATION, LIMIT, STREAM)
    short, long, hopeless = (len(each.runs) for each in driver.offered)
    assert short == 3 + ROUNDS * MOST_RUNS
    assert (long, hopeless) == (3, 3)
    driver = FakeDriver(("long", 1e-2), ("a bit longer", 1.1e-2))
    Tuner(driver, CompileCache("", False), captured=False).choose(
        OPERATION, LIMIT, STREAM
    )
    assert [len(each.runs) for each in driver.offered] == [3 + ROUNDS] * 2


@pytest.mark.parametrize(
    "operation",
    [
        OPERATION,
        convolution((1, 4, 8, 8), (4, 4, 3, 3), dtype="bfloat16"),
        attention((1, 2, 8, 8), (1, 2, 8, 8), bias=(1, 1, 8, 8)),
    ],
)
def test_arguments_are_lent_filled_and_given_back(cache, operation):
    driver = FakeDriver(("one", 1e-5, 512), ("two", 2e-5))
    Tuner(driver, cache).choose(operation, LIMIT, STREAM)
    assert driver.held == {}
    pointers, workspace = driver.offered[0].runs[0]
    assert len(set(pointers) | {workspace}) == len(specs_of(operation)) + 1
    assert set(driver.filled) >= {*pointers, workspace}
    assert all(recording.closed for recording in driver.recordings)


def test_without_room_to_time_the_first_is_taken(cache):
    driver = FakeDriver(("first", 3e-5), ("faster", 1e-5), room=100)
    tuner = Tuner(driver, cache)
    assert tuner.choose(OPERATION, LIMIT, STREAM).name == "first"
    assert driver.held == {}


def test_without_room_to_time_what_needs_least_scratch_memory_is_taken(cache):
    driver = FakeDriver(("large", 1e-5, 4096), ("small", 3e-5, 64), room=100)
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM).name == "small"


def test_where_results_must_not_differ_other_candidates_are_chosen(cache):
    driver = FakeDriver(("random", 1e-5), ("steady", 3e-5), ("also steady", 2e-5))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM).name == "random"
    steady = Tuner(driver, cache, deterministic=True)
    assert steady.choose(OPERATION, LIMIT, STREAM).name == "also steady"


def test_what_cannot_be_recorded_is_not_taken_unless_nothing_is_recorded(cache):
    driver = FakeDriver(("stubborn", 1e-5, 0, False), ("willing", 2e-5))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM).name == "willing"
    driver = FakeDriver(("stubborn", 1e-5, 0, False), ("willing", 2e-5))
    eager = Tuner(driver, cache, captured=False)
    assert eager.choose(OPERATION, LIMIT, STREAM).name == "stubborn"


def test_what_cannot_be_recorded_is_taken_where_nothing_can(cache):
    driver = FakeDriver(("slow", 2e-5, 0, False), ("fast", 1e-5, 0, False))
    tuner = Tuner(driver, cache)
    assert tuner.choose(OPERATION, LIMIT, STREAM).name == "fast"
    assert tuner.choices[0].origin == "timed"
    assert driver.held == {}


def test_where_all_candidates_fail_the_library_does_not_have_the_operation(
    cache, caplog
):
    failing = (1e-5, 0, True, True, False)
    driver = FakeDriver(("one", *failing), ("another", *failing))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM) is None
    assert "2 ways of libraries" in caplog.text
    assert cache.entries() == []
    assert driver.held == {}


def test_timing_keeps_to_the_limit_of_its_pool(cache):
    offered = (("large", 1e-5, 1 << 20), ("small", 3e-5, 64))
    for limit, name in ((1 << 21, "large"), (1 << 20, "small")):
        driver = FakeDriver(*offered)
        pool = Pool(driver, limit)
        tuner = Tuner(driver, CompileCache("", False), pool=pool)
        assert tuner.choose(OPERATION, LIMIT, STREAM).name == name
        assert driver.most <= limit
        assert (pool.reserved, dict(pool.held())) == (0, {})


def test_in_the_default_stream_nothing_is_recorded(cache):
    driver = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, 0).name == "fast"
    assert driver.recordings == []


@pytest.mark.parametrize("captured", [False, True])
def test_on_the_double_what_is_chosen_computes(cache, captured):
    class Twice(HostDriver):
        """The double with two candidates, one of which needs no workspace."""

        def candidates(self, operation, limit, most=8, deterministic=False):
            return [HostCandidate(self, operation, size) for size in (4096, 0)]

    driver = Twice()
    stream, (free, _) = driver.stream(), driver.memory()
    tuner = Tuner(driver, cache, captured=captured)
    chosen = tuner.choose(OPERATION, LIMIT, stream)
    assert tuner.choices[0].origin == "timed"
    assert driver.memory()[0] == free
    arrays = [np.ones((1, 4, 8), np.float16), np.ones((1, 8, 16), np.float16)]
    pointers = [driver.allocate(size) for size in (64, 256, 128)]
    for pointer, array in zip(pointers, arrays, strict=False):
        driver.upload(pointer, array, stream)
    workspace = driver.allocate(4096)
    chosen.run(pointers, workspace, stream)
    found = np.empty((1, 4, 16), np.float16)
    driver.download(found, pointers[2], stream)
    np.testing.assert_array_equal(found, 8)
    again = Tuner(driver, cache, captured=captured)
    assert again.choose(OPERATION, LIMIT, stream).workspace == chosen.workspace
    assert again.choices[0].origin == "cache"
    driver.close()


def test_the_same_operation_is_chosen_once(cache):
    driver = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    tuner = Tuner(driver, cache)
    assert tuner.choose(OPERATION, LIMIT, STREAM) is tuner.choose(
        OPERATION, LIMIT, STREAM
    )
    assert driver.asked == 1
    assert len(tuner.choices) == 1


def test_another_session_finds_the_choice_and_builds_nothing(cache):
    Tuner(FakeDriver(("slow", 3e-5), ("fast", 1e-5)), cache).choose(
        OPERATION, LIMIT, STREAM
    )
    driver = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    tuner = Tuner(driver, cache)
    assert tuner.choose(OPERATION, LIMIT, STREAM).name == "fast"
    assert driver.asked == 0
    assert tuner.choices[0].origin == "cache"


@pytest.mark.parametrize(
    "other",
    [
        {"search": "HEURISTIC"},
        {"options": ("deterministic",)},
        {"driver": FakeDriver(("slow", 3e-5), ("fast", 1e-5), driver="581.0")},
    ],
)
def test_a_choice_is_for_one_device_search_and_set_of_options(cache, other):
    driver = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM)
    again = {"driver": driver, **other}
    Tuner(cache=cache, **again).choose(OPERATION, LIMIT, STREAM)
    assert again["driver"].asked == (2 if again["driver"] is driver else 1)


def test_a_choice_that_does_not_fit_is_made_anew_and_kept(cache):
    first = FakeDriver(("gone", 1e-5), ("slow", 3e-5))
    Tuner(first, cache).choose(OPERATION, LIMIT, STREAM)
    second = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    assert Tuner(second, cache).choose(OPERATION, LIMIT, STREAM).name == "fast"
    assert second.restored == [b"saved gone"]
    third = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    assert Tuner(third, cache).choose(OPERATION, LIMIT, STREAM).name == "fast"
    assert third.asked == 0


def test_a_damaged_entry_is_made_anew(cache):
    driver = FakeDriver(("slow", 3e-5), ("fast", 1e-5))
    Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM)
    (entry,) = cache.entries()
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    with pytest.warns(RuntimeWarning, match="checksum"):
        chosen = Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM)
    assert chosen.name == "fast"
    assert driver.asked == 2


def test_what_cannot_be_saved_is_used_all_the_same(cache):
    driver = FakeDriver(("only", 1e-5, 0, True, False))
    assert Tuner(driver, cache).choose(OPERATION, LIMIT, STREAM).name == "only"
    assert cache.entries() == []
