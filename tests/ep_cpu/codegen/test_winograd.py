"""Winograd's convolution, alone: transforms, borders, strides, epilogues, repeatability."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import Frame, block, guarded, run_frame
from hypothesis import given
from hypothesis import strategies as st
from oracle import DTYPES
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec, library
from runtime_ep_cpu.codegen.microkernel import UNLIMITED, shapes, tiles
from runtime_ep_cpu.codegen.target import host, named, runnable
from runtime_ep_cpu.codegen.winograd import PLANE, Blocking, Slices, blocking
from runtime_ep_cpu.codegen.winograd_forms import FORMS

TARGETS = runnable()
SIZES = list(FORMS)
BOUND = {2: 2e-6, 4: 6e-6}
"""The greatest error, relative to the greatest result."""
RNG = np.random.default_rng(21)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def filters_of(count, channels, *taps):
    whole = floats(count, channels, *taps, 3, 3)
    return whole / np.float32(whole[0].size ** 0.5)


def call(target, spec, values, chunks, scratch=0, threads=1):
    kernels = library(target)
    kernels.load([spec])
    frame = Frame(kernels.address(spec), block(values), chunks, scratch, threads)
    run_frame(frame, target)


def transformed(target, w, size, vectors):
    """Return U of filters [filters, channels, taps, 3, 3]."""
    filters, channels, taps = w.shape[:3]
    width = target.lanes * vectors
    panels = -(-filters // width)
    shape = (panels, FORMS[size].places, taps, channels, width)
    u = guarded(np.full(shape, np.nan, "f"))
    spec = Spec.of("winograd_filters", size=size)
    values = [w, 9 * taps * channels, 9 * taps, u, filters, channels, taps, width]
    call(target, spec, values, panels)
    return u


def strides(image):
    """Return how far pixels, rows, slices and images of [N, D, H, W, C] are apart."""
    return [image.strides[axis] // image.itemsize for axis in (3, 2, 1, 0)]


def sliced(x):
    """Return [N, H, W, C] as images of one slice."""
    return x if x.ndim == 5 else x[:, None]


def pieces_of(slices, taps, before):
    """Return a piece for each slice of a result, with `before` slices of padding."""
    found = []
    for made in range(slices + 2 * before - taps + 1):
        first = max(0, before - made)
        last = min(taps, slices + before - made)
        found += (made, 1, made + first - before, first, last - first)
    return found


def convolve(
    target, x, w, size, vectors, bias=None, pads=(1, 1, 1, 1), out=None,
    expression=None, operands=(), wide=(), cut=None, threads=1, pieces=None,
):  # fmt: skip
    """Convolve [N, H, W, C] by [M, C, 3, 3]; pads are top, left, bottom, right.

    Images with slices are [N, D, H, W, C], for filters of [M, C, taps, 3, 3].
    """
    form = FORMS[size]
    is_flat = x.ndim == 4
    x, w = sliced(x), w if w.ndim == 5 else w[:, :, None]
    batch, depth, height, width, channels = x.shape
    filters, _, taps = w.shape[:3]
    pieces = [0, 1, 0, 0, 1] if pieces is None else pieces
    firsts, counts, used = pieces[::5], pieces[1::5], pieces[4::5]
    products = sum(count * own for count, own in zip(counts, used, strict=True))
    slices = Slices(depth, firsts[-1] + counts[-1], products)
    top, left, bottom, right = pads
    high, broad = height + top + bottom - 2, width + left + right - 2
    lines, columns = -(-high // size), -(-broad // size)
    count = batch * lines * columns
    panel = target.lanes * vectors
    cut = cut or blocking(form, count, channels, filters, panel, slices)
    kernels, inner = library(target), tiles(target, vectors, runs=True)
    transform = Spec.of("winograd_input", size=size)
    kernels.load([*inner, transform])
    table = block([kernels.address(spec) for spec in inner])
    u = transformed(target, w, size, vectors)
    zeros = guarded(np.zeros(max(channels, panel), np.float32))
    row = guarded(np.zeros(len(u) * panel, np.float32))
    if bias is not None:
        row[:filters] = bias
    if out is None:
        element = "float" if expression is None else expression.results[0][1]
        shape = (batch, slices.made, high, broad, filters)
        out = guarded(np.full(shape, 7, DTYPES[element]))
    out = sliced(out)
    v = np.full((cut.blocks, form.places, cut.v_plane), np.nan, np.float32)
    last = count - (cut.blocks - 1) * cut.block
    steps = [
        4 * (tiles * cut.v_row - channels) if tap else 0
        for tiles in (cut.block, last)
        for tap in range(taps)
    ]
    values = [
        x, *strides(x), height, width, top, left, zeros, lines, columns, count, depth,
        channels, cut.block, v if cut.shared else 0, cut.v_row, cut.v_plane,
    ]  # fmt: skip
    if cut.shared:
        call(target, transform, values, count * depth, 0, threads)
    unlimited = np.array(UNLIMITED, np.float32)
    values += [
        kernels.address(transform), cut.blocks, cut.panels, cut.groups, u, taps,
        block(steps), block(pieces), len(firsts), filters, row, table,
        unlimited, cut.s_plane, out, *strides(out), high, broad, slices.made,
    ]  # fmt: skip
    for x in map(sliced, operands):
        values += [x, *strides(x)]
    spec = Spec.of(
        "winograd", size=size, vectors=vectors, epilogue=expression, wide=tuple(wide)
    )
    call(target, spec, values, cut.blocks * cut.groups, 4 * cut.scratch, threads)
    return out[:, 0] if is_flat else out


def direct(x, w, bias=0.0, pads=(1, 1, 1, 1)):
    """Return the convolution, in double precision."""
    top, left, bottom, right = pads
    whole = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    high, broad = whole.shape[1] - 2, whole.shape[2] - 2
    taps = (
        whole[:, i : i + high, k : k + broad] @ w[:, :, i, k].T.astype(np.float64)
        for i in range(3)
        for k in range(3)
    )
    return sum(taps) + bias


def close(got, want, size):
    error = np.abs(got - want).max() / np.abs(want).max()
    assert error < BOUND[size]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", SIZES)
def test_filters_are_rounded_once_and_padded_with_zeros(name, size):
    target, form = named(name), FORMS[size]
    g = np.array([form.filter_row(place) for place in range(form.span)])
    for vectors in shapes(target):
        width = target.lanes * vectors
        for filters, channels in ((1, 1), (width + 3, 5), (2 * width, 18)):
            w = guarded(floats(filters, channels, 2, 3, 3))
            u = transformed(target, w, size, vectors)
            want = np.einsum("ia,octab,kb->iktco", g, w.astype(np.float64), g)
            got = u.transpose(1, 2, 3, 0, 4).reshape(form.places, 2, channels, -1)
            want = want.reshape(form.places, 2, channels, filters)
            np.testing.assert_allclose(got[..., :filters], want, rtol=1.2e-7, atol=1e-8)
            assert not got[..., filters:].any()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", SIZES)
def test_images_of_many_sizes(name, size):
    target = named(name)
    for vectors in shapes(target):
        for _ in range(5):
            batch, height, width = (int(RNG.integers(1, most)) for most in (4, 15, 15))
            channels = int(RNG.integers(target.lanes, 40))
            filters = int(RNG.integers(1, 90))
            x = guarded(floats(batch, height, width, channels))
            w, bias = filters_of(filters, channels), floats(filters)
            got = convolve(target, x, w, size, vectors, bias)
            close(got, direct(x, w, bias), size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "pads", [(0, 0, 0, 0), (1, 0, 0, 1), (2, 3, 1, 0), (0, 2, 2, 2)]
)
def test_any_padding(size, pads):
    target = host()
    x, w = guarded(floats(2, 6, 9, 20)), filters_of(10, 20)
    close(convolve(target, x, w, size, 1, pads=pads), direct(x, w, pads=pads), size)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("taps", "before"), [(1, 0), (3, 0), (3, 1), (2, 1), (5, 3)])
def test_filters_slide_along_slices(name, size, taps, before):
    target = named(name)
    for slices in (taps, taps + 3):
        x, bias = guarded(floats(2, slices, 9, 7, 20)), floats(37)
        w = filters_of(37, 20, taps)
        pieces = pieces_of(slices, taps, before)
        got = convolve(target, x, w, size, 1, bias, pieces=pieces)
        whole = np.pad(x, ((0, 0), (before, before), (0, 0), (0, 0), (0, 0)))
        for made, image in enumerate(got.swapaxes(0, 1)):
            want = sum(direct(whole[:, made + i], w[:, :, i], 0) for i in range(taps))
            close(image, want + bias, size)


def test_slices_that_read_by_the_same_taps_are_a_piece():
    target, x, w = host(), floats(2, 9, 10, 11, 24), filters_of(40, 24, 3)
    joined = [0, 1, 0, 1, 2, 1, 7, 0, 0, 3, 8, 1, 7, 0, 2]
    each = pieces_of(9, 3, 1)
    want = convolve(target, x, w, 4, 1, pieces=each)
    got = convolve(target, x, w, 4, 1, pieces=joined, threads=2)
    np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


@pytest.mark.parametrize("channels", [64, 200, 512])
@pytest.mark.parametrize("size", SIZES)
def test_errors_stay_within_the_bound_of_the_form(size, channels):
    x = np.maximum(floats(1, 14, 14, channels), 0)
    w = filters_of(64, channels)
    close(convolve(host(), x, w, size, 2), direct(x, w), size)


@pytest.mark.parametrize("size", SIZES)
def test_images_may_have_gaps_and_nothing_else_is_written(size):
    target = host()
    w = filters_of(21, 19)
    space = guarded(np.full((2, 9, 11, 40), np.nan, np.float32))
    x = space[:, 1:8, 2:10, :19]
    x[...] = floats(*x.shape)
    memory = np.full((2, 10, 12, 30), 5, np.float32)
    out = memory[:, 2:9, 1:9, 4:25]
    convolve(target, x, w, size, 1, out=out)
    close(out, direct(x, w), size)
    out[...] = 5
    assert (memory == 5).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_convolution_may_be_cut_anyhow_with_the_same_bits(size):
    target, form = host(), FORMS[size]
    vectors = 1
    width = target.lanes * vectors
    x, w, bias = (
        floats(2, 13, 10, 33),
        filters_of(3 * width - 2, 33),
        floats(3 * width - 2),
    )
    count = 2 * -(-13 // size) * -(-10 // size)
    want = convolve(target, x, w, size, vectors, bias)
    for size_of_block, panels in ((1, 1), (5, 2), (count, 3), (7, 3)):
        blocks, groups = -(-count // size_of_block), -(-3 // panels)
        for shared in (False, True):
            v_plane, s_plane = size_of_block * 64 + 16, size_of_block * width + 16
            scratch = form.places * (v_plane + s_plane) + form.size**2 * width
            cut = Blocking(
                size_of_block,
                blocks,
                panels,
                groups,
                shared,
                64,
                v_plane,
                s_plane,
                scratch,
            )
            got = convolve(target, x, w, size, vectors, bias, cut=cut, threads=2)
            np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


FINISH = Expression(
    ("float", "float", "half"),
    (Instruction("tanh", (0,)), Instruction("multiply", (3, 1)), Instruction("add", (4, 2))),
    ((5, "float"),),
)  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("element", ["float", "half"])
def test_an_epilogue_sees_operands_per_pixel_and_per_filter(name, size, element):
    target = named(name)
    vectors = max(shapes(target))
    filters = target.lanes * vectors + 3
    x, w, bias = floats(2, 7, 6, 18), filters_of(filters, 18), floats(filters)
    per_pixel = guarded(floats(2, 7, 6, 1))
    full = guarded(floats(2, 7, 6, filters).astype(np.float16))
    expression = FINISH._replace(results=((5, element),))
    got = convolve(
        target, x, w, size, vectors, bias, expression=expression,
        operands=(per_pixel, full), wide=(False, True),
    )  # fmt: skip
    want = np.tanh(direct(x, w, bias)) * per_pixel + full
    atol = {"float": 1e-5, "half": 4e-3}[element]
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=atol)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_the_tiles_that_read_it(size, special):
    x, w = floats(1, 16, 16, 16), filters_of(16, 16)
    x[0, 6, 9, 3] = special
    got = convolve(host(), x, w, size, 1)[0]
    touched = ~np.isfinite(got).all(axis=-1)
    rows, columns = np.nonzero(touched)
    assert touched[5:8, 8:11].all()
    assert set(rows) <= set(range(4, 8))
    assert set(columns) <= set(range(8, 12))


@given(
    st.sampled_from(SIZES), st.integers(1, 4000), st.integers(16, 1500),
    st.integers(1, 1500), st.sampled_from((16, 32, 48, 64)),
    st.sampled_from((PLANE, Slices(1, 3, 3), Slices(16, 16, 46), Slices(90, 30, 80))),
)  # fmt: skip
def test_blocks_cover_the_convolution_exactly(
    size, count, channels, filters, width, slices
):
    form = FORMS[size]
    cut = blocking(form, count, channels, filters, width, slices)
    panels = -(-filters // width)
    assert (cut.blocks - 1) * cut.block < count <= cut.blocks * cut.block
    assert (cut.groups - 1) * cut.panels < panels <= cut.groups * cut.panels
    assert cut.v_row >= channels
    assert cut.v_plane >= slices.read * cut.block * cut.v_row
    assert cut.s_plane >= slices.made * cut.block * width
