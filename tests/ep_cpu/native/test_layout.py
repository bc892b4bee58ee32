"""Layouts say what NumPy's views say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_ep_cpu.native.layout import (
    Buffer,
    Home,
    Layout,
    Unplannable,
    contiguous_strides,
    in_order,
    of_array,
    reshaped_strides,
)

DIMS = st.lists(st.integers(1, 4), min_size=0, max_size=4)


def elements(shape, strides, offset=0):
    """Return which element of a buffer lies at each index, by strides in elements."""
    places = np.full(shape, offset, np.int64)
    for axis, (dim, stride) in enumerate(zip(shape, strides, strict=True)):
        steps = np.arange(dim) * stride
        places += steps.reshape(dim, *(1,) * (len(shape) - axis - 1))
    return places


def laid_out(layout):
    return elements(layout.shape, layout.strides, layout.offset)


def whole(*shape):
    return Layout(Buffer(Home.ARENA), "float", shape, contiguous_strides(shape))


@st.composite
def views(draw):
    """Return shape and strides of a view: permuted, sliced, reversed, repeated."""
    shape = draw(DIMS)
    order = draw(st.permutations(range(len(shape))))
    steps = np.array(contiguous_strides(shape), np.int64)
    for axis in range(len(shape)):
        change = draw(st.sampled_from(("no", "no", "no", "zero", "wide", "back")))
        steps[axis] *= {"no": 1, "zero": 0, "wide": 2, "back": -1}[change]
    return tuple(shape[i] for i in order), tuple(int(steps[i]) for i in order)


@st.composite
def reshapes(draw):
    shape, strides = draw(views())
    factors = [f for dim in shape for f in ((2, 2) if dim == 4 else (dim,)) if f > 1]
    wanted = []
    while factors:
        taken = draw(st.integers(1, len(factors)))
        wanted.append(int(np.prod(factors[:taken])))
        factors = factors[taken:]
    ones = draw(st.lists(st.integers(0, len(wanted)), max_size=2))
    for place in ones:
        wanted.insert(place, 1)
    return shape, strides, tuple(wanted)


@given(reshapes())
def test_reshaped_strides_keep_every_element_at_its_place_in_order(case):
    shape, strides, wanted = case
    found = reshaped_strides(shape, strides, wanted)
    if found is not None:
        assert len(found) == len(wanted)
        before = elements(shape, strides).reshape(-1)
        np.testing.assert_array_equal(elements(wanted, found).reshape(-1), before)


@given(reshapes())
def test_a_reshape_needs_a_copy_only_where_numpy_needs_one(case):
    shape, strides, wanted = case
    base = np.zeros(4096, np.int8)
    view = np.lib.stride_tricks.as_strided(base[2048:], shape, strides)
    other = np.lib.stride_tricks.as_strided(base[2048:], shape, strides)
    try:
        other.shape = wanted
    except AttributeError:
        assert reshaped_strides(shape, strides, wanted) is None
    else:
        assert reshaped_strides(shape, strides, wanted) is not None, view.strides


def test_rows_that_repeat_can_be_reshaped_apart_but_not_together():
    assert reshaped_strides((3, 4), (0, 1), (3, 2, 2)) == (0, 2, 1)
    assert reshaped_strides((3, 4), (0, 1), (12,)) is None
    assert reshaped_strides((3, 4), (0, 0), (12,)) == (0,)


def test_scalars_and_single_elements_are_reshaped_into_each_other():
    assert reshaped_strides((), (), (1, 1)) == (1, 1)
    assert reshaped_strides((1, 1), (7, 9), ()) == ()


@given(views())
def test_a_layout_is_contiguous_where_numpy_says_so(view):
    shape, strides = view
    base = np.zeros(4096, np.int8)
    array = np.lib.stride_tricks.as_strided(base[2048:], shape, strides)
    layout = Layout(Buffer(Home.ARENA), "i8", shape, strides)
    assert layout.is_contiguous is array.flags.c_contiguous


@given(DIMS, DIMS)
def test_broadcasting_is_numpys(shape, into):
    layout = whole(*shape)
    numbers = np.arange(max(1, layout.size)).reshape(shape)
    try:
        want = np.broadcast_to(numbers, into)
    except ValueError:
        with pytest.raises(Unplannable, match="broadcast"):
            layout.broadcast(into)
        return
    np.testing.assert_array_equal(laid_out(layout.broadcast(into)), want)


@given(views())
def test_transposing_is_numpys(view):
    shape, strides = view
    layout = Layout(Buffer(Home.ARENA), "float", shape, strides)
    order = tuple(reversed(range(len(shape))))
    want = elements(shape, strides).transpose(order)
    np.testing.assert_array_equal(laid_out(layout.transposed(order)), want)


def test_strides_of_whole_arrays_are_numpys():
    for shape in ((), (3,), (2, 3, 4), (1, 5, 1)):
        want = [s // 4 for s in np.zeros(shape, np.float32).strides]
        if 1 not in shape:
            assert list(contiguous_strides(shape)) == want
        assert whole(*shape).is_contiguous


def test_an_array_in_another_order_is_copied_and_kept():
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    layout = of_array(turned)
    np.testing.assert_array_equal(layout.buffer.holder, turned)
    assert layout.buffer.holder.flags.c_contiguous
    assert layout.buffer.address == layout.buffer.holder.ctypes.data
    straight = np.arange(6, dtype=np.float32)
    assert of_array(straight).buffer.holder is straight
    assert in_order(straight) is straight


def test_a_type_without_a_native_form_is_refused():
    with pytest.raises(Unplannable, match="uint16"):
        of_array(np.zeros(2, np.uint16))
