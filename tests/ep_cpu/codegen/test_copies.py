"""Strided copies against NumPy: every kernel, size, target, and nothing outside."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded, run
from runtime_ep_cpu.codegen import copies, nest
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import host, named, runnable

TARGETS = runnable()
DTYPES = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def strides(array):
    return [stride // array.itemsize for stride in array.strides]


def copy(to, source, target=None, threads=1):
    """Copy by generated code between views of one shape; return the kernel's name."""
    target = target or host()
    found = copies.plan(target, to.itemsize, to.shape, strides(to), strides(source))
    assert found.spec in copies.specs(to.itemsize, turned=min(source.strides) < 0)
    run(found.spec, [to, source, *found.numbers], found.chunks, 0, threads, target)
    return found.spec.family


def data(shape, size, seed=0):
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, size), np.uint8)
    return bits.view(DTYPES[size])[..., 0]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", copies.SIZES)
@pytest.mark.parametrize(
    ("shape", "order", "kernel"),
    [
        ((3, 37, 50), (0, 2, 1), "copy_transposed"),
        ((64, 64), (1, 0), "copy_transposed"),
        ((17, 33, 2, 20), (2, 0, 3, 1), "copy_transposed"),
        ((2, 5, 3, 24), (0, 2, 1, 3), "copy_rows"),
        ((70, 1), (1, 0), "copy_rows"),
        ((70, 3), (1, 0), ""),
        ((2, 3, 2, 3, 2, 5), (5, 4, 3, 2, 1, 0), ""),
    ],
)
def test_a_transpose_is_numpys(target, size, shape, order, kernel):
    source = guarded(data(shape, size))
    view = source.transpose(order)
    to = guarded(np.zeros(view.shape, DTYPES[size]))
    assert copy(to, view, named(target)).startswith(kernel)
    np.testing.assert_array_equal(to, view)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", copies.SIZES)
@pytest.mark.parametrize(
    "count", [1, 2, 3, 5, 7, 8, 15, 31, 63, 64, 65, 100, 300, 1000]
)
def test_rows_of_any_length_touch_nothing_beside_them(target, size, count):
    for front in (False, True):
        source = guarded(data((count,), size), front)
        to = guarded(np.zeros(count, DTYPES[size]), front)
        assert copy(to, source, named(target)) == "copy_rows"
        np.testing.assert_array_equal(to, source)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", copies.SIZES)
@pytest.mark.parametrize("count", [1, 5, 64, 131])
def test_elements_repeat_and_rows_are_read_backwards(target, size, count):
    source = guarded(data((3, count), size))
    to = guarded(np.zeros_like(source))
    copy(to, source[:, ::-1], named(target))
    np.testing.assert_array_equal(to, source[:, ::-1])
    view = np.broadcast_to(source[:, :1], source.shape)
    copy(to, view, named(target))
    np.testing.assert_array_equal(to, view)


@pytest.mark.parametrize("size", copies.SIZES)
def test_pieces_are_written_into_a_larger_whole_and_nothing_else(size):
    pieces = [data((4, n, 3), size, seed=n) for n in (2, 5, 1)]
    whole = np.zeros((4, 8, 3), DTYPES[size])
    start = 0
    for piece in pieces:
        stop = start + piece.shape[1]
        before = whole.copy()
        copy(whole[:, start:stop], piece)
        before[:, start:stop] = piece
        np.testing.assert_array_equal(whole, before)
        start = stop


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("step", [(1, 2), (-1, -1), (-3, 1), (2, -2), (1, 1)])
def test_slices_of_large_arrays_are_copied_in_chunks(step, threads):
    source = data((300, 701), 4)
    view = source[:: step[0], :: step[1]]
    to = np.zeros(view.shape, np.uint32)
    copy(to, view, threads=threads)
    np.testing.assert_array_equal(to, view)
    turned = np.zeros(view.shape[::-1], np.uint32)
    copy(turned, view.T, threads=threads)
    np.testing.assert_array_equal(turned, view.T)


def test_expansion_and_tiling_are_copies_with_strides_of_zero():
    source = data((3, 1, 5), 4)
    to = np.zeros((2, 3, 4, 5), np.uint32)
    copy(to, np.broadcast_to(source, to.shape))
    np.testing.assert_array_equal(to, np.broadcast_to(source, to.shape))
    tiled = np.zeros((9, 10), np.uint32)
    tile = source[:, 0]
    copy(tiled.reshape(3, 3, 2, 5), np.broadcast_to(tile[None, :, None], (3, 3, 2, 5)))
    np.testing.assert_array_equal(tiled, np.tile(tile, (3, 2)))


def test_a_constant_is_one_row_of_a_source_without_strides():
    to = guarded(np.zeros((7, 11, 13), np.uint16))
    value = np.full((), 0x1234, np.uint16)
    assert copy(to, np.broadcast_to(value, to.shape)) == "copy_repeated"
    assert (to == 0x1234).all()


def test_short_contiguous_rows_become_wider_elements():
    source = data((40, 50, 2), 4)
    to = np.zeros((50, 40, 2), np.uint32)
    assert copy(to, source.transpose(1, 0, 2)) == "copy_transposed"
    np.testing.assert_array_equal(to, source.transpose(1, 0, 2))


def test_pairs_of_bytes_are_copied_without_kernels_of_their_own():
    assert not [s for s in copies.specs(1) if dict(s.parameters).get("size") == 2]
    for shape, order in (
        ((9, 4, 2), (1, 0, 2)),
        ((64, 2), (1, 0)),
        ((3, 70, 2), (2, 1, 0)),
    ):
        view = data(shape, 1).transpose(order)
        to = guarded(np.zeros(view.shape, np.uint8))
        copy(to, view)
        np.testing.assert_array_equal(to, view)


def test_random_views_are_copied():
    random = np.random.default_rng(5)
    for seed in range(150):
        rank = int(random.integers(1, 7))
        shape = random.integers(1, 12 - rank, rank)
        dtype = DTYPES[int(random.choice(copies.SIZES))]
        source = data(tuple(shape * 2), np.dtype(dtype).itemsize, seed)
        cut = tuple(slice(None, None, int(random.choice([1, 2, -1]))) for _ in shape)
        view = source[cut][tuple(slice(int(n)) for n in shape)]
        view = view.transpose(random.permutation(rank))
        to = np.zeros(view.shape, dtype)
        copy(to, view)
        np.testing.assert_array_equal(to, view)


def test_nothing_is_done_for_no_elements():
    for shape in ((0,), (3, 0, 2), (0, 64, 64)):
        to = np.zeros(shape, np.float32)
        found = copies.plan(host(), 4, shape, strides(to), strides(to))
        assert found.chunks == 0


def test_axes_are_merged_where_all_operands_allow_it():
    space = nest.collapse((2, 1, 3, 4), [(12, 12, 4, 1), (0, 7, 4, 1)])
    assert (space.sizes, space.inner) == ((1, 1, 1, 1, 2), 12)
    assert space.strides == ((0, 0, 0, 0, 12, 1), (0, 0, 0, 0, 0, 1))
    assert nest.collapse((), [(), ()]).inner == 1


def test_too_many_axes_are_refused_with_the_remedy():
    shape = (2,) * 8
    step = [3**i for i in range(8)]
    with pytest.raises(ValueError, match="copy an operand first"):
        nest.collapse(shape, [step])


def test_chunks_depend_on_sizes_alone_and_cover_everything():
    for rows, inner in [(1, 10**6), (10**6, 4), (128, 768), (3, 100_000), (1, 1)]:
        division = nest.divide(rows, inner, 16384)
        if division.blocks > 1:
            assert division.rows == 1
            assert (division.blocks - 1) * division.block < inner
            assert division.blocks * division.block >= inner
        assert division.rows * division.chunks >= rows
        assert division.chunks <= max(1, rows * inner // 4096)


def test_a_kernels_name_is_its_family_and_parameters():
    assert Spec.of("copy_strided", size=4) in copies.specs(4)
    assert Spec.of("copy_strided", size=2) not in copies.specs(4)
