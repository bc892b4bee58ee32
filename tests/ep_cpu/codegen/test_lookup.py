"""Gathers and scatters against NumPy: any axis, any indices, never out of range."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded, run
from runtime_ep_cpu.codegen import lookup
from runtime_ep_cpu.codegen.target import host, named, runnable

TARGETS = runnable()
INDEX = {np.dtype(np.int32): "i32", np.dtype(np.int64): "i64"}


def strides(array):
    return [stride // array.itemsize for stride in array.strides]


def look_up(places, to, source, indices, way="gather", target=None, threads=1):
    """Run a look-up; return whether an index was out of range."""
    found = lookup.plan(to.itemsize, places, INDEX[indices.dtype], way)
    allowed = lookup.specs(to.itemsize, INDEX[indices.dtype], len(places.axes), way)
    assert found.spec in allowed
    failed = np.zeros(1, np.int64)
    values = [to, source, indices, failed, *found.numbers]
    run(found.spec, values, found.chunks, 0, threads, target or host())
    return bool(failed[0])


def described(describe, data, indices, axis, to):
    return describe(
        data.shape, strides(data), indices.shape, strides(indices), axis, strides(to)
    )


def numbers(shape, dtype=np.float32, seed=0):
    return guarded(np.random.default_rng(seed).integers(0, 100, shape).astype(dtype))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_takes_slices_of_an_axis_and_wraps_negative_indices(
    target, index, dtype, axis
):
    data = numbers((5, 7, 9), dtype)
    size = data.shape[axis]
    indices = np.random.default_rng(1).integers(-size, size, (3, 4)).astype(index)
    wanted = np.take(data, indices, axis)
    to = guarded(np.zeros_like(wanted))
    places = described(lookup.gather, data, indices, axis, to)
    assert not look_up(places, to, data, indices, target=named(target))
    np.testing.assert_array_equal(to, wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_embedding_is_a_gather_of_rows(threads):
    data = numbers((1000, 384))
    indices = numbers((2, 128), np.int64, 3)
    to = guarded(np.zeros((2, 128, 384), np.float32))
    places = described(lookup.gather, data, indices, 0, to)
    found = lookup.plan(4, places, "i64")
    assert found.spec.family == "gather_rows"
    assert found.chunks > 2
    assert not look_up(places, to, data, indices, threads=threads)
    np.testing.assert_array_equal(to, data[indices])


def test_a_scalar_index_a_view_of_data_and_strided_indices():
    data = numbers((4, 6, 8))
    one = np.array(-2)
    to = np.zeros((4, 8), np.float32)
    look_up(described(lookup.gather, data, one, 1, to), to, data, one)
    np.testing.assert_array_equal(to, data[:, -2])
    view = data.transpose(2, 0, 1)
    indices = np.array([[1, 5], [0, 9], [3, 7]])[:, 0]
    to = np.zeros((3, 4, 6), np.float32)
    look_up(described(lookup.gather, view, indices, 0, to), to, view, indices)
    np.testing.assert_array_equal(to, view[indices])


@pytest.mark.parametrize("wrong", [5, -6, 2**40, -(2**62)])
@pytest.mark.parametrize("inner", [1, 3])
def test_an_index_out_of_range_is_told_and_zeros_stand_there(wrong, inner):
    data = numbers((5, inner)) + 1
    indices = np.array([1, wrong, 4])
    to = np.full((3, inner), 7, np.float32)
    places = described(lookup.gather, data, indices, 0, to)
    assert look_up(places, to, data, indices)
    wanted = data[[1, 0, 4]]
    wanted[1] = 0
    np.testing.assert_array_equal(to, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_elements_takes_one_element_per_index(dtype, axis):
    data = numbers((4, 6, 5), dtype)
    shape = [3, 5, 4]
    shape[axis] = 11
    size = data.shape[axis]
    indices = np.random.default_rng(2).integers(-size, size, shape)
    cut = [slice(n) for n in shape]
    cut[axis] = slice(None)
    to = guarded(np.zeros(shape, dtype))
    places = described(lookup.gather_elements, data, indices, axis, to)
    assert not look_up(places, to, data, indices)
    np.testing.assert_array_equal(
        to, np.take_along_axis(data[tuple(cut)], indices, axis)
    )


@pytest.mark.parametrize(
    ("batch", "shape", "indices"),
    [
        (0, (4, 5, 6), (3, 2)),
        (0, (4, 5, 6), (2, 3, 3)),
        (1, (3, 5, 6), (3, 4, 1)),
        (2, (2, 3, 6), (2, 3, 5, 1)),
    ],
)
def test_gather_nd_takes_slices_by_index_tuples(batch, shape, indices):
    data = numbers(shape)
    depth = indices[-1]
    sizes = np.array(shape[batch : batch + depth])
    random = np.random.default_rng(4)
    index = np.stack([random.integers(-n, n, indices[:-1]) for n in sizes], -1)
    lead = np.indices(indices[:-1])[:batch]
    wanted = data[(*lead, *np.moveaxis(index, -1, 0))]
    to = guarded(np.zeros_like(wanted))
    places = described(lookup.gather_nd, data, index, batch, to)
    assert not look_up(places, to, data, index)
    np.testing.assert_array_equal(to, wanted)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [1, 3, 3000])
def test_scatter_nd_writes_rows_and_the_last_of_several_stays(width, threads):
    data = numbers((20, width))
    index = np.random.default_rng(5).integers(-20, 20, (64, 1))
    updates = numbers((64, width), seed=6)
    wanted = data.copy()
    for place, update in zip(index[:, 0], updates, strict=True):
        wanted[place] = update
    to = data.copy()
    places = lookup.scatter(described(lookup.gather_nd, to, index, 0, updates))
    assert not look_up(places, to, updates, index, "scatter", threads=threads)
    np.testing.assert_array_equal(to, wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_elements_writes_one_element_per_index(axis):
    data = numbers((6, 7))
    indices = np.random.default_rng(7).permuted(
        np.tile(np.arange(6), (6, 1)), axis=axis
    )
    updates = numbers((6, 6), seed=8)
    wanted = data.copy()
    np.put_along_axis(wanted[:, : 6 + axis], indices, updates, axis)
    to = data.copy()
    places = described(lookup.gather_elements, to, indices, axis, updates)
    assert not look_up(lookup.scatter(places), to, updates, indices, "scatter")
    np.testing.assert_array_equal(to, wanted)


def test_a_scatter_out_of_range_writes_nothing():
    to = guarded(np.zeros((4, 3), np.float32))
    index = np.array([[1], [4], [-5]])
    updates = np.ones((3, 3), np.float32)
    places = lookup.scatter(described(lookup.gather_nd, to, index, 0, updates))
    assert look_up(places, to, updates, index, "scatter")
    np.testing.assert_array_equal(to.sum(1), [0, 3, 0, 0])


def test_no_indices_are_no_chunks():
    data = np.zeros((4, 3), np.float32)
    index = np.zeros((0,), np.int64)
    to = np.zeros((0, 3), np.float32)
    assert (
        lookup.plan(4, described(lookup.gather, data, index, 0, to), "i64").chunks == 0
    )
