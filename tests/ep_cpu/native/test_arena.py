"""Buffers that live at the same time do not overlap."""

from hypothesis import given
from hypothesis import strategies as st
from runtime_ep_cpu.native.arena import ALIGNMENT, arrange
from runtime_ep_cpu.native.layout import Buffer, Home

LIVES = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 12), st.integers(0, 6)), max_size=25
)


def buffers(lives):
    return [
        Buffer(Home.ARENA, size, first=first, last=first + length)
        for size, first, length in lives
    ]


@given(LIVES)
def test_buffers_in_use_at_the_same_level_lie_apart_and_inside(lives):
    made = buffers(lives)
    whole = arrange(made)
    for index, one in enumerate(made):
        assert one.address % ALIGNMENT == 0
        assert one.address >= 0
        assert one.address + one.size <= whole
        for other in made[:index]:
            if one.first <= other.last and other.first <= one.last:
                apart = (
                    one.address + one.size <= other.address
                    or other.address + other.size <= one.address
                )
                assert apart, (one, other)


def test_a_chain_needs_the_memory_of_two():
    made = buffers([(640, level, 1) for level in range(10)])
    assert arrange(made) == 2 * 640


def test_what_lives_when_most_is_needed_may_come_before_what_is_larger():
    made = buffers([(128, 2, 2), (128, 2, 1), (192, 0, 1), (128, 1, 2)])
    assert arrange(made) == 3 * 128


def test_nothing_needs_nothing():
    assert arrange([]) == 0
