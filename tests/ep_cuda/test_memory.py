"""Device memory: how regions grow, how blocks are found and joined, what limits say."""

import ctypes
import gc
import random

import pytest
from double.current import Current
from runtime.errors import LimitExceeded
from runtime_ep_cuda.driver import OutOfMemory
from runtime_ep_cuda.memory import ALIGNMENT, AS_REQUESTED, Pool, told_size
from runtime_ep_cuda.sources import External, Share

MIB = 1 << 20


class Source:
    """Addresses without memory behind them."""

    def __init__(self, total=1 << 40):
        self.total = total
        self.regions = {}
        self.sizes = []
        self._next = 1 << 32

    def allocate(self, size):
        if sum(self.regions.values()) + size > self.total:
            raise OutOfMemory(f"{size} bytes")
        self.regions[self._next] = size
        self.sizes.append(size)
        self._next += size + (1 << 20)
        return self._next - size - (1 << 20)

    def free(self, address):
        del self.regions[address]

    def memory(self):
        return self.total - sum(self.regions.values()), self.total


def test_regions_double_by_default():
    source = Source()
    pool = Pool(source)
    for _ in range(40):
        pool.allocate(MIB // 4)
    assert source.sizes == [MIB, 2 * MIB, 4 * MIB, 8 * MIB]


def test_a_large_request_gets_the_next_power_of_two():
    source = Source()
    Pool(source).allocate(5 * MIB)
    assert source.sizes == [8 * MIB]


def test_regions_are_as_requested_where_that_is_asked_for():
    source = Source()
    pool = Pool(source, strategy=AS_REQUESTED)
    pool.allocate(1000)
    pool.allocate(3 * MIB)
    assert source.sizes == [1024, 3 * MIB]


def test_blocks_are_aligned_and_apart():
    pool = Pool(Source())
    rng = random.Random(0)
    held = {}
    for _ in range(2000):
        if held and rng.random() < 0.5:
            address = rng.choice(list(held))
            del held[address]
            pool.free(address)
        else:
            size = rng.randrange(1, 100_000)
            address = pool.allocate(size)
            assert address % ALIGNMENT == 0
            for other, room in held.items():
                assert address + size <= other or other + room <= address
            held[address] = size
        assert pool.used >= sum(held.values())
    for address in held:
        pool.free(address)
    assert pool.used == 0
    assert pool.trim() > 0
    assert pool.reserved == 0


def test_free_neighbours_are_joined():
    source = Source()
    pool = Pool(source)
    quarters = [pool.allocate(MIB // 4) for _ in range(4)]
    for address in (quarters[1], quarters[3], quarters[2], quarters[0]):
        pool.free(address)
    assert pool.allocate(MIB) == quarters[0]
    assert source.sizes == [MIB]


def test_the_smallest_block_that_fits_is_taken():
    pool = Pool(Source())
    small, _, large, _ = (pool.allocate(n * 1024) for n in (4, 1, 16, 1))
    pool.free(large)
    pool.free(small)
    assert pool.allocate(3 * 1024) == small


def test_a_limit_says_what_was_asked_for_and_what_is_held():
    pool = Pool(Source(), limit=8 * MIB)
    pool.allocate(3 * MIB, "weights")
    pool.allocate(2 * MIB, "the arena")
    with pytest.raises(LimitExceeded) as caught:
        pool.allocate(4 * MIB, "outputs")
    told = str(caught.value)
    assert "gpu_mem_limit is 8.0 MiB" in told
    assert "4.0 MiB of device memory for outputs" in told
    assert "3.0 MiB weights, 2.0 MiB the arena" in told
    assert "raise gpu_mem_limit" in told


def test_near_the_limit_regions_are_only_as_large_as_needed():
    source = Source()
    pool = Pool(source, limit=5 * MIB)
    pool.allocate(3 * MIB)
    pool.allocate(MIB)
    pool.allocate(MIB)
    assert pool.reserved <= 5 * MIB


def test_free_regions_are_given_back_before_a_request_is_refused():
    source = Source()
    pool = Pool(source, limit=8 * MIB, strategy=AS_REQUESTED)
    pieces = [pool.allocate(2 * MIB) for _ in range(4)]
    for address in pieces[:3]:
        pool.free(address)
    pool.allocate(6 * MIB)
    assert pool.reserved == 8 * MIB


def test_what_is_lent_counts_for_the_limit_and_leaves_no_trace():
    source = Source()
    pool = Pool(source, limit=8 * MIB)
    lent = pool.lend(5 * MIB, "timing")
    with pytest.raises(LimitExceeded, match=r"for timing .* held are 5\.0 MiB timing"):
        pool.lend(4 * MIB, "timing")
    pool.returned(lent)
    pool.free(pool.allocate(MIB))
    again = pool.lend(8 * MIB, "timing")
    pool.returned(again)
    pool.allocate(MIB)
    assert source.sizes == [5 * MIB, MIB, 8 * MIB, MIB]


def test_a_full_device_is_told_with_what_is_held_here():
    pool = Pool(Source(total=4 * MIB))
    pool.allocate(3 * MIB, "weights")
    with pytest.raises(
        LimitExceeded, match=r"no 2\.0 MiB.*\(.* are free\).*3\.0 MiB weigh"
    ):
        pool.allocate(2 * MIB, "outputs")


def test_memory_comes_back_when_nobody_holds_it():
    pool = Pool(Source())
    memory = pool.hold(1000, "an output")
    assert pool.held() == {"an output": 1024}
    del memory
    gc.collect()
    assert pool.held() == {}


def test_a_second_free_is_an_error():
    pool = Pool(Source())
    address = pool.allocate(10)
    pool.free(address)
    with pytest.raises(RuntimeError, match="freed already"):
        pool.free(address)


def test_memory_can_be_a_callers():
    kept = {}

    current, freed, emptied = Current(), [], []

    def allocate(size):
        kept[0] = ctypes.create_string_buffer(size)
        return ctypes.addressof(kept[0]) if current.is_here else None

    functions = (
        ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(allocate),
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(
            lambda address: freed.append((address, current.is_here))
        ),
        ctypes.CFUNCTYPE(None)(lambda: emptied.append(current.is_here)),
    )
    addresses = [ctypes.cast(f, ctypes.c_void_p).value for f in functions]
    pool = Pool(External(*addresses, current=current), strategy=AS_REQUESTED)
    address = pool.allocate(512)
    assert address == ctypes.addressof(kept[0])
    pool.free(address)
    pool.trim()
    assert (freed, emptied) == ([(address, True)], [True])


class Mark:
    """A place in a stream that is reached when it is waited for."""

    def __init__(self, order=None):
        self.done, self.asked, self.order = False, 0, order or self

    def reached(self):
        self.asked += 1
        return self.done

    def finish(self):
        self.done = True


def test_memory_in_use_in_a_callers_stream_is_not_given_out_before_that_is_done():
    source, mark = Source(), Mark()
    pool = Pool(source, strategy=AS_REQUESTED)
    held = pool.hold(512)
    address = held.address
    held.until(mark)
    del held
    assert pool.allocate(512) != address
    assert not mark.done, "there was other memory"
    mark.done = True
    assert pool.allocate(512) == address


def test_of_one_order_only_the_first_that_is_not_reached_is_asked():
    pool, order = Pool(Source()), object()
    marks = [Mark(order) for _ in range(5)]
    addresses = []
    for mark in (*marks, lonely := Mark()):
        held = pool.hold(512)
        held.until(mark)
        addresses.append(held.address)
    lonely.done = True
    asked = [mark.asked for mark in marks]
    del held
    pool.allocate(512)
    assert [m.asked - n for m, n in zip(marks, asked, strict=True)] == [1, 0, 0, 0, 0]
    for mark in marks[:2]:
        mark.done = True
    assert {pool.allocate(512) for _ in range(2)} <= set(addresses)


def test_a_later_mark_of_an_order_stands_for_those_before():
    pool, order = Pool(Source()), object()
    held = pool.hold(512)
    first, other, last = Mark(order), Mark(), Mark(order)
    for mark in (first, other, last):
        held.until(mark)
    assert held._marks == (other, last)


def test_where_no_other_memory_is_left_what_is_in_use_is_waited_for():
    pool = Pool(Source(), limit=1024, strategy=AS_REQUESTED)
    first, second = pool.hold(512), pool.hold(512)
    marks = [Mark(), Mark()]
    for held, mark in zip((first, second), marks, strict=True):
        held.until(mark)
    del held, first, second
    pool.allocate(512)
    assert all(mark.done for mark in marks)
    pool.allocate(512)


def test_regions_of_a_real_pool_are_the_drivers(driver):
    pool = Pool(driver)
    address = pool.allocate(100)
    assert driver.memory()[0] == driver.memory()[1] - MIB
    pool.free(address)
    pool.close()
    assert driver.memory()[0] == driver.memory()[1]


@pytest.mark.parametrize(
    ("size", "told"),
    [(12, "12 bytes"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")],
)
def test_sizes_are_told_for_people(size, told):
    assert told_size(size) == told


def test_a_part_of_a_pool_is_a_pool_within():
    outer = Pool(Source(), limit=2 * MIB)
    inner = Pool(Share(outer, "temporaries"), strategy=AS_REQUESTED)
    held = inner.hold(1000)
    assert outer.held() == {"temporaries": 1024}
    del held
    assert outer.held() == {"temporaries": 1024}, "kept for whoever has the part"
    with pytest.raises(LimitExceeded, match=r"gpu_mem_limit is .* for temporaries"):
        inner.allocate(2 * MIB)
    inner.trim()
    assert outer.held() == {}
