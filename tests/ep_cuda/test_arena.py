"""Intermediate results share memory, and never at the same time."""

import numpy as np
import pytest
from runtime_ep_cuda.arena import ALIGNMENT, aligned, lay_out, lives
from runtime_ep_cuda.tensor import Buffer


def chain(count, size):
    """Return the buffers touched by a chain of actions, each reading the one before."""
    buffers = [Buffer(size) for _ in range(count + 1)]
    return buffers, [[buffers[i], buffers[i + 1]] for i in range(count)]


def check(touched, offsets):
    """Assert that no two buffers that live together overlap; return the bytes in all."""
    found = lives(touched)
    for one in found:
        assert offsets[one.buffer] % ALIGNMENT == 0
        for other in found:
            if one is other or one.last < other.first or other.last < one.first:
                continue
            a, b = offsets[one.buffer], offsets[other.buffer]
            assert a + one.buffer.size <= b or b + other.buffer.size <= a


def test_a_chain_needs_two_buffers_however_long_it_is():
    _, touched = chain(50, 1000)
    offsets, total = lay_out(touched)
    check(touched, offsets)
    assert total == 2 * aligned(1000)


def test_memory_of_the_caller_and_weights_take_no_place():
    given, weight, made = Buffer(10, "input"), Buffer(10, "weight"), Buffer(10)
    offsets, total = lay_out([[given, weight, made], [made, Buffer(10, "output")]])
    assert list(offsets) == [made]
    assert total == ALIGNMENT


@pytest.mark.parametrize("seed", range(20))
def test_random_lives_never_overlap_and_stay_near_what_is_alive(seed):
    rng = np.random.default_rng(seed)
    buffers = [Buffer(int(rng.integers(1, 5000))) for _ in range(40)]
    touched = [
        [buffers[i] for i in rng.integers(max(0, step - 5), min(40, step + 3), 3)]
        for step in range(1, 38)
    ]
    offsets, total = lay_out(touched)
    check(touched, offsets)
    alive = max(
        sum(aligned(f.buffer.size) for f in lives(touched) if f.first <= at <= f.last)
        for at in range(len(touched))
    )
    assert alive <= total <= 1.5 * alive


def test_a_buffer_without_bytes_is_no_trouble():
    empty, full = Buffer(0), Buffer(300)
    offsets, total = lay_out([[empty, full]])
    assert total == aligned(300)
    assert offsets[empty] % ALIGNMENT == 0
