"""Attention kernels against the NumPy kernel computed in float64."""

import math

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import Frame, block, guarded, run_frame
from runtime_ep_cpu.codegen import attention, machine
from runtime_ep_cpu.codegen.library import Spec, library, written
from runtime_ep_cpu.codegen.target import host, named, runnable
from runtime_ep_cpu.ops._attention import Masking, Scoring, attend

TARGETS = runnable()
ELEMENTS = {
    np.dtype(np.float32): "float",
    np.dtype(np.float16): "half",
    np.dtype(ml_dtypes.bfloat16): "bfloat",
    np.dtype(np.bool_): "i1",
}
ANY = 1 << 40
FAMILIES = list(attention.PLANS)


def strides(array):
    return [step // array.itemsize for step in array.strides]


def tensors(batch, heads, groups, rows, keys, width, value_width, dtype=np.float32):
    """Return q, k, v laid out (batch, rows, heads, width), seen as (batch, heads, …)."""
    random = np.random.default_rng(0)
    shapes = (heads, rows, width), (groups, keys, width), (groups, keys, value_width)
    return [
        guarded(random.normal(size=(batch, n, h, w)).astype(dtype)).transpose(
            0, 2, 1, 3
        )
        for h, n, w in shapes
    ]


def frame(family, q, k, v, out, mask=None, target=None, threads=1, **options):
    """Return a plan of one attention; ``mask`` broadcasts to the scores."""
    target = target or host()
    lengths, band = options.get("lengths"), options.get("band")
    softcap = options.get("softcap", 0.0)
    scale = options.get("scale", q.shape[3] ** -0.5)
    batch, heads, rows, width = q.shape
    groups, keys = k.shape[1:3]
    kernels = library(target)
    tiles = attention.tile_specs(target)
    elements = tuple(ELEMENTS[x.dtype] for x in (q, k, v, out))
    spec = Spec.of(
        family,
        elements=elements,
        mask=None if mask is None else ELEMENTS[mask.dtype],
        banded=band is not None,
        softcap=softcap > 0,
    )
    kernels.load([spec, *tiles])
    table = block([kernels.address(tile) for tile in tiles])
    divide, memory = attention.PLANS[family]
    by = divide(target, batch, heads, groups, rows, keys)
    values = [part for x in (q, k, v, out) for part in (x, *strides(x)[:3])]
    seen = None if mask is None else np.broadcast_to(mask, (batch, heads, rows, keys))
    values += [0] * 5 if seen is None else [mask, *strides(seen)]
    values += [0 if lengths is None else lengths, heads, heads // groups]
    values += [rows, keys, width, v.shape[3], float(scale), float(softcap)]
    values += [*(band or (0, ANY, ANY)), by.rows, by.blocks, by.keys, table]
    scratch = memory(target, by, width, v.shape[3])
    plan = Frame(kernels.address(spec), block(values), by.chunks, scratch, threads)
    plan.keep = (q, k, v, out, mask, lengths, table)
    return plan


def oracle(q, k, v, mask=None, **options):
    """Return the NumPy kernel's result in float64; a band as its offset and sides."""
    offset, behind, beyond = options.get("band") or (0, ANY, ANY)
    lengths = options.get("lengths")
    scoring = Scoring(
        options.get("scale", q.shape[3] ** -0.5), options.get("softcap", 0.0)
    )
    place = np.array([offset]) if lengths is None else lengths + offset
    left = -1 if behind == ANY else behind
    right = -1 if beyond == ANY else beyond
    if mask is not None:
        mask = np.broadcast_to(mask, (*q.shape[:3], k.shape[2]))
        mask = mask if mask.dtype == np.bool_ else mask.astype(np.float64)
    masking = Masking(place, False, left, right, lengths, mask)
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    y = np.zeros((*q.shape[:3], v.shape[3]))
    attend(q, k, v, scoring, masking, y)
    return y


def check(family, q, k, v, mask=None, target=None, tolerance=3e-6, **options):
    batch, heads, rows, _ = q.shape
    width = v.shape[3]
    memory = guarded(np.zeros((batch, rows, heads, width), q.dtype))
    out = memory.transpose(0, 2, 1, 3)
    run_frame(frame(family, q, k, v, out, mask, target, **options), target)
    want = oracle(q, k, v, mask, **options)
    got = out.astype(np.float64)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    scale = max(1.0, np.nanmax(np.abs(want), initial=0))
    difference = np.abs(got - want)
    assert np.nanmax(difference, initial=0) <= tolerance * scale
    return out


SIZES = [
    (1, 2, 2, 128, 128, 64, 64),
    (2, 4, 2, 37, 53, 24, 40),
    (1, 3, 1, 1, 1, 1, 1),
    (1, 2, 2, 300, 700, 80, 96),
    (1, 2, 2, 24, 16, 256, 200),
    (1, 1, 1, 5, 600, 3, 5),
    (3, 1, 1, 1, 515, 65, 17),
    (1, 8, 2, 1, 300, 64, 64),
    (1, 14, 2, 3, 70, 16, 16),
    (1, 41, 1, 1, 50, 8, 20),
    (2, 6, 2, 40, 90, 16, 8),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_any_sizes_and_grouped_heads_are_served(family, sizes, target):
    check(family, *tensors(*sizes), target=named(target))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_floats_are_computed_in_float32(family, target, dtype):
    q, k, v = tensors(1, 4, 2, 9, 45, 40, 24, dtype)
    unit = 2.0**-11 if dtype == np.float16 else 2.0**-8
    check(family, q, k, v, target=named(target), tolerance=unit)
    mask = np.random.default_rng(1).normal(size=(9, 45)).astype(dtype)
    check(family, q, k, v, mask, target=named(target), tolerance=unit)


def masks():
    random = np.random.default_rng(2)
    bias = random.normal(size=(2, 1, 1, 75)).astype(np.float32)
    bias[1, ..., 40:] = np.finfo(np.float32).min
    yield "a bias per key", bias
    yield "a bias per score", random.normal(size=(2, 4, 30, 75)).astype(np.float32)
    yield "a bias per row", random.normal(size=(30, 1)).astype(np.float32)
    infinite = bias.copy()
    infinite[0, ..., 3:50] = -np.inf
    infinite[1] = -np.inf
    yield "minus infinity, also everywhere", infinite
    yield "truth", random.random((2, 1, 30, 75)) < 0.4
    yield "truth of every second column", (random.random((30, 150)) < 0.4)[:, ::2]
    yield "a turned bias", random.normal(size=(75, 30)).astype(np.float32).T
    nothing = random.random((30, 75)) < 0.5
    nothing[::3] = False
    yield "rows without any key", nothing


MASKS = dict(masks())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_may_be_added_or_choose_with_any_strides(family, name, target):
    q, k, v = tensors(2, 4, 2, 30, 75, 20, 36)
    check(family, q, k, v, MASKS[name], target=named(target))


BANDS = {
    "causal": (0, ANY, 0),
    "causal after a past": (370, ANY, 0),
    "causal before its start": (-20, ANY, 0),
    "window behind": (0, 16, 0),
    "window on both sides": (100, 7, 9),
    "window beyond the keys": (900, 8, 0),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_band_bounds_the_distance_of_keys(family, band, target):
    q, k, v = tensors(1, 2, 1, 130, 500, 16, 16)
    check(family, q, k, v, target=named(target), band=BANDS[band])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_cut_the_keys_and_place_the_queries(family, target):
    q, k, v = tensors(4, 2, 2, 6, 300, 16, 24)
    lengths = np.array([300, 0, 6, 131], np.int64)
    check(family, q, k, v, target=named(target), lengths=lengths)
    band = (-6, ANY, 0)
    check(family, q, k, v, target=named(target), lengths=lengths, band=band)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cap_bounds_the_scores_before_the_mask(family, target):
    q, k, v = tensors(1, 2, 2, 20, 40, 32, 32)
    q *= 20
    mask = np.where(np.arange(40) < 30, np.float32(0), np.float32(-np.inf))
    check(family, q, k, v, mask, target=named(target), softcap=15.0, scale=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_nan_and_infinity_spoil_only_their_rows(family):
    q, k, v = tensors(1, 1, 1, 30, 40, 16, 16)
    q[0, 0, 3, 2] = np.nan
    q[0, 0, 7, 1] = np.inf
    with np.errstate(all="ignore"):
        out = check(family, q, k, v)
    assert np.isnan(out[0, 0, 3]).all()
    assert np.isfinite(out[0, 0, 8:]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_results_are_bitwise_the_same_for_any_number_of_threads(family):
    q, k, v = tensors(2, 4, 2, 150, 300, 32, 32)
    results = []
    for threads in (1, 2, 3):
        out = np.zeros(q.shape, np.float32)
        run_frame(frame(family, q, k, v, out, threads=threads, band=(150, ANY, 0)))
        results.append(out)
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.skipif(host().name != "avx512", reason="AVX-512 registers")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loop_of_exponentials_does_not_spill(family):
    spec = Spec.of(family, elements=("float",) * 4)
    text = machine.assembly(written([spec], host()), host())
    loops = [part for part in text.split("\n.LBB") if "vscalefps" in part]
    assert loops
    for loop in loops:
        body = loop[: loop.index("vscalefps")]
        assert not [
            line for line in body.splitlines() if "zmm" in line and "(%rsp)" in line
        ]


def test_blocks_cover_every_query_and_key_and_keep_within_bounds():
    target = host()
    for rows in (1, 5, 23, 24, 100, 193, 257, 1500):
        for keys in (1, 15, 16, 256, 257, 300, 1500):
            by = attention.PLANS["attention"][0](target, 1, 2, 2, rows, keys)
            assert by.rows * by.blocks >= rows > by.rows * (by.blocks - 1)
            assert by.keys % target.lanes == 0
            assert by.keys <= 256
            assert by.keys * math.ceil(keys / by.keys) < keys + by.keys
            assert by.chunks == 2 * by.blocks
