"""Tensors are views: what NumPy says of strided arrays holds of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_ep_cuda.tensor import Buffer, Tensor

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def dense(shape, order=None):
    return Tensor.dense(Buffer(int(np.prod(shape)) * 4), np.float32, shape, order)


def elements(tensor):
    """Return the numbers of a tensor's elements in its buffer, as the tensor sees them."""
    places = np.full(tensor.shape, tensor.offset)
    for axis, (dim, step) in enumerate(zip(tensor.shape, tensor.strides, strict=True)):
        along = np.arange(dim) * step
        places += along.reshape(-1, *(1,) * (tensor.rank - axis - 1))
    return places


def test_a_dense_tensor_is_c_ordered_unless_told_otherwise():
    assert dense((2, 3, 4)).strides == (12, 4, 1)
    assert dense((2, 3, 4, 5), (0, 2, 3, 1)).strides == (60, 1, 15, 3)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_of_a_dense_tensor_is_found_again(data):
    shape = data.draw(SHAPES)
    order = data.draw(st.permutations(range(len(shape))))
    tensor = dense(shape, order)
    assert tensor.is_dense(order)
    assert tensor.is_dense(tensor.order)


def test_a_tensor_with_gaps_has_no_order():
    assert dense((4, 4)).sliced(1, 0, 2).order is None
    assert dense((1, 4)).broadcast((3, 4)).order is None


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_reshape_is_a_view_or_refused_and_never_another_order_of_elements(data):
    shape = data.draw(SHAPES)
    tensor = dense(shape, data.draw(st.permutations(range(len(shape)))))
    size = tensor.size
    first = data.draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
    target = (first, size // first)
    seen = tensor.reshaped(target)
    want = elements(tensor).reshape(target)
    if seen is None:
        assert not tensor.is_dense()
    else:
        np.testing.assert_array_equal(elements(seen), want)


def test_a_c_ordered_tensor_takes_every_shape():
    assert dense((2, 3, 4)).reshaped((4, 6)).strides == (6, 1)
    assert dense((0, 3)).reshaped((3, 0, 5)).shape == (3, 0, 5)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_slices_transpositions_and_broadcasts_are_numpys(data):
    shape = data.draw(SHAPES)
    tensor = dense(shape)
    axes = data.draw(st.permutations(range(len(shape))))
    array = elements(tensor).transpose(axes)
    seen = tensor.transposed(axes)
    np.testing.assert_array_equal(elements(seen), array)
    axis = data.draw(st.integers(0, len(shape) - 1))
    step = data.draw(st.sampled_from([1, 2, -1, -2]))
    start = 0 if step > 0 else seen.shape[axis] - 1
    count = len(range(seen.shape[axis])[::step])
    index = [slice(None)] * len(shape)
    index[axis] = slice(None, None, step)
    array = array[tuple(index)]
    seen = seen.sliced(axis, start, count, step)
    np.testing.assert_array_equal(elements(seen), array)
    wide = (2, *(5 if dim == 1 else dim for dim in array.shape))
    want = np.broadcast_to(array, wide)
    np.testing.assert_array_equal(elements(seen.broadcast(wide)), want)


def test_an_address_counts_the_offset_in_bytes():
    tensor = dense((4, 4)).sliced(0, 2, 2)
    tensor.buffer.address = 1024
    assert tensor.address == 1024 + 2 * 4 * 4


@pytest.mark.parametrize("shape", [(1, 3, 1, 2), (1, 1), ()])
def test_axes_of_one_element_disturb_no_order(shape):
    tensor = dense(shape)
    assert tensor.is_dense()
    assert tensor.order == tuple(range(len(shape)))
