"""Pixels of several images are divided into rows, and rows into kinds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from runtime_ep_cpu.native.layout import Buffer, Home, Layout
from runtime_ep_cpu.native.steps.kinds import Kinds
from runtime_ep_cpu.native.steps.pixels import SEGMENT, rows_of
from runtime_ep_cpu.native.steps.windows import Taps


@st.composite
def images(draw):
    """Return images of one shape ``[batch, *sizes]`` with gaps at the ends of axes."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    shape = (*shape, draw(st.sampled_from([1, 3, SEGMENT, SEGMENT + 1, 150])))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        strides = [draw(st.integers(1, 3))]
        for size in reversed(shape[1:]):
            strides.insert(0, strides[0] * (size + draw(st.integers(0, 1))))
        found.append(Layout(Buffer(Home.ARENA), "float", shape, tuple(strides)))
    return found


def pixels_of(rows, image, step):
    """Return where each pixel of the rows lies in an image, in order."""
    pairs = zip(rows.pixels, rows.offsets[:, image], strict=True)
    return [int(at) + i * step for pixels, at in pairs for i in range(pixels)]


@given(images(), st.integers(0, 3))
def test_rows_go_through_all_pixels_in_order(places, apart):
    rows = rows_of(places, apart)
    assert rows.longest <= SEGMENT
    for number, place in enumerate(places):
        index = np.indices(place.shape).reshape(len(place.shape), -1)
        want = (np.array(place.strides) @ index).tolist()
        assert pixels_of(rows, number, place.strides[-1]) == want


@given(images(), st.integers(0, 3))
def test_rows_are_joined_across_no_axis_that_stays_apart(places, apart):
    rows = rows_of(places, apart)
    shape = places[0].shape
    assert len(rows.outer) >= min(apart, len(shape) - 1)
    assert rows.outer == shape[: len(rows.outer)]
    assert rows.count == np.prod(rows.outer) * rows.segments


def test_a_table_tells_of_each_row_a_number_and_where_it_begins():
    place = Layout(Buffer(Home.ARENA), "float", (1, 2, 3), (20, 10, 2))
    rows = rows_of([place, place])
    assert rows.table(rows.pixels) == [3, 0, 0, 3, 10, 10]


def test_rows_are_of_one_kind_where_the_same_rows_of_a_filter_read_no_padding():
    taps = Taps((3, 3), (1, 1))
    live = taps.live((6, 6), ((1, 1), (1, 1)), (1, 1))
    kinds = Kinds(taps, live)
    place = Layout(Buffer(Home.ARENA), "float", (2, 4, 4), (16, 4, 1))
    rows = rows_of([place], kinds.apart)
    assert kinds.of(rows).tolist() == [0, 1, 1, 2] * 2
    _, pieces = kinds.pieces(3, 3)
    assert pieces == [1, 2, 1, 1, 0, 3, 1, 1, 0, 2, 1, 1]


def test_planes_of_a_volume_and_their_rows_have_kinds_of_both():
    taps = Taps((3, 3, 1), (1, 1, 1))
    live = taps.live((4, 4, 2), ((1, 1), (1, 1), (0, 0)), (1, 1, 1))
    kinds = Kinds(taps, live)
    place = Layout(Buffer(Home.ARENA), "float", (1, 2, 2, 2), (8, 4, 2, 1))
    rows = rows_of([place], kinds.apart)
    assert kinds.of(rows).tolist() == [0, 1, 2, 3]
