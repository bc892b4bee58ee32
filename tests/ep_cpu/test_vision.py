"""Boxes, regions, grids and images against onnxruntime and the reference."""

import sys
from io import BytesIO

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, by_reference
from runtime.errors import EngineError

SEEDS = st.integers(0, 999)
UNEVEN = np.array([[1], [30], [3], [8]])
"""Powers of scores by class, so that there are classes of many and of few boxes."""


def numbers(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@given(
    SEEDS,
    st.integers(1, 300),
    st.sampled_from([0, 1]),
    st.sampled_from([0, 1, 5, 1000]),
    st.sampled_from([None, 0.0, 0.5, 0.8]),
)
def test_suppression_agrees_with_onnxruntime(seed, count, center, limit, least):
    random = numbers(seed)
    inputs = [
        (random.random((2, count, 4)) * 3).astype(np.float32),
        (random.random((2, 4, count)) ** UNEVEN).round(1).astype(np.float32),
        np.array([limit]),
        floats(0.4),
        None if least is None else floats(least),
    ]
    attributes = {"center_point_box": center}
    want = by_onnxruntime("NonMaxSuppression", inputs, attributes, 11)[0]
    got = run_node("NonMaxSuppression", inputs, attributes, 11)[0]
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, want)


def test_without_a_limit_no_box_is_selected():
    boxes, scores = np.ones((1, 2, 4), np.float32), np.ones((1, 1, 2), np.float32)
    assert run_node("NonMaxSuppression", [boxes, scores])[0].shape == (0, 3)


def test_no_boxes_give_no_selection():
    boxes = np.ones((1, 0, 4), np.float32)
    scores = np.ones((1, 2, 0), np.float32)
    got = run_node("NonMaxSuppression", [boxes, scores, np.array([3])])[0]
    assert got.shape == (0, 3)


@given(
    SEEDS,
    st.sampled_from(["avg", "max"]),
    st.sampled_from(["half_pixel", "output_half_pixel"]),
    st.integers(0, 3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_region_alignment_agrees_with_onnxruntime(
    seed, mode, coordinates, ratio, pooled
):
    random = numbers(seed)
    x = random.standard_normal((2, 3, 7, 6)).astype(np.float32)
    starts = random.random((4, 2)) * 8 - 2
    ends = starts + random.random((4, 2)) * 8
    regions = np.concatenate([starts, ends], axis=1).astype(np.float32)
    inputs = [x, regions, random.integers(0, 2, 4)]
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "sampling_ratio": ratio,
        "output_height": pooled[0],
        "output_width": pooled[1],
        "spatial_scale": 0.5,
    }
    want = by_onnxruntime("RoiAlign", inputs, attributes, 16)[0]
    got = run_node("RoiAlign", inputs, attributes, 22)[0]
    np.testing.assert_allclose(got, want, atol=1e-5)
    del attributes["coordinate_transformation_mode"]
    old = run_node("RoiAlign", inputs, attributes, 10)[0]
    want = by_onnxruntime("RoiAlign", inputs, attributes, 10)[0]
    np.testing.assert_allclose(old, want, atol=1e-5)


def test_no_regions_give_an_empty_result():
    x = np.ones((1, 3, 4, 4), np.float32)
    inputs = [x, np.ones((0, 4), np.float32), np.ones(0, np.int64)]
    assert run_node("RoiAlign", inputs)[0].shape == (0, 3, 1, 1)


@given(
    SEEDS,
    st.sampled_from(["linear", "nearest", "cubic"]),
    st.sampled_from(["zeros", "border", "reflection"]),
    st.sampled_from([0, 1]),
    st.sampled_from([2, 3]),
)
def test_grids_sample_like_onnxruntime(seed, mode, padding, corners, rank):
    rank = 2 if mode == "cubic" else rank
    random = numbers(seed)
    x = random.random((2, 2, *random.integers(2, 6, rank))).astype(np.float32)
    grid = random.random((2, *random.integers(1, 5, rank), rank)) * 5 - 2.5
    inputs = [x, grid.astype(np.float32)]
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    want = by_onnxruntime("GridSample", inputs, attributes, 20)[0]
    got = run_node("GridSample", inputs, attributes, 20)[0]
    np.testing.assert_allclose(got, want, atol=1e-4)


@given(SEEDS, st.sampled_from(["zeros", "border", "reflection"]), st.integers(1, 4))
def test_any_number_of_axes_can_be_sampled(seed, padding, rank):
    random = numbers(seed)
    x = random.random((1, 2, *[3] * rank))
    grid = random.random((1, *[2] * rank, rank)) * 2.6 - 1.3
    attributes = {"padding_mode": padding}
    want = by_reference("GridSample", [x, grid], attributes, 20)[0]
    got = run_node("GridSample", [x, grid], attributes, 20)[0]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [("bilinear", "linear"), ("bicubic", "cubic")])
def test_the_older_names_of_the_modes(old, new):
    x = numbers(1).random((1, 1, 4, 4)).astype(np.float32)
    grid = (numbers(2).random((1, 3, 3, 2)) * 2 - 1).astype(np.float32)
    first = run_node("GridSample", [x, grid], {"mode": old}, 16)[0]
    second = run_node("GridSample", [x, grid], {"mode": new}, 20)[0]
    np.testing.assert_array_equal(first, second)


def test_a_pixel_outside_is_zero_even_beside_infinity():
    x = np.full((1, 1, 2, 2), np.inf, np.float32)
    grid = np.full((1, 1, 1, 2), 5, np.float32)
    assert run_node("GridSample", [x, grid])[0].item() == 0


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_grid_without_meaning_reads_nothing_out_of_bounds(padding, value):
    x = np.ones((1, 1, 3, 3), np.float32)
    grid = np.full((1, 1, 1, 2), value, np.float32)
    attributes = {"padding_mode": padding, "mode": "nearest"}
    assert run_node("GridSample", [x, grid], attributes)[0].item() in (0, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, object])
def test_the_nearest_pixel_has_the_type_of_the_image(dtype):
    x = np.arange(4).reshape(1, 1, 2, 2).astype(str if dtype is object else dtype)
    x = x.astype(dtype)
    grid = floats(-1, -1, 1, 1, 3, 3).reshape(1, 1, 3, 2)
    attributes = {"mode": "nearest", "align_corners": 1}
    got = run_node("GridSample", [x, grid], attributes)[0]
    assert got.dtype == dtype
    assert got.ravel()[:2].tolist() == x.ravel()[[0, 3]].tolist()


def test_a_half_precision_grid_leaves_the_image_in_float32():
    x = np.ones((1, 1, 2, 2), np.float32)
    got = run_node("GridSample", [x, np.zeros((1, 1, 1, 2), np.float16)])[0]
    assert got.dtype == np.float32


def test_integers_are_interpolated_as_floats():
    x = np.array([0, 255], np.uint8).reshape(1, 1, 1, 2)
    grid = floats(0.25, 0).reshape(1, 1, 1, 2)
    assert run_node("GridSample", [x, grid], {"align_corners": 1})[0].item() == 159


@given(SEEDS, st.sampled_from([2, 3]), st.sampled_from([0, 1]), st.integers(2, 4))
def test_affine_grids_agree_with_onnxruntime(seed, rank, corners, length):
    theta = numbers(seed).random((2, rank, rank + 1)).astype(np.float32)
    size = np.array([2, 3, *range(length, length + rank)])
    attributes = {"align_corners": corners}
    want = by_onnxruntime("AffineGrid", [theta, size], attributes, 20)[0]
    got = run_node("AffineGrid", [theta, size], attributes, 20)[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_an_axis_of_one_pixel_is_sampled_at_its_centre():
    theta = np.eye(2, 3, dtype=np.float32)[None]
    size = np.array([1, 1, 1, 2])
    got = run_node("AffineGrid", [theta, size], {"align_corners": 1})[0]
    assert got.tolist() == [[[[-1, 0], [1, 0]]]]


def test_decoding_an_image_without_pillow_names_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(EngineError, match="pip install pillow"):
        run_node("ImageDecoder", [np.zeros(3, np.uint8)])


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    kind=st.sampled_from(["PNG", "BMP", "TIFF", "PPM"]),
)
def test_images_are_decoded(seed, height, width, kind):
    """Gray is ITU-R 601's luma, in 16-bit fixed point as Pillow computes it."""
    image = pytest.importorskip("PIL.Image")
    pixels = numbers(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = BytesIO()
    image.fromarray(pixels).save(file, kind)
    encoded = np.frombuffer(file.getvalue(), np.uint8)
    luma = (pixels @ np.array([19595, 38470, 7471]) + 32768) >> 16
    wanted = {"RGB": pixels, "BGR": pixels[:, :, ::-1], "Grayscale": luma[:, :, None]}
    for name, want in wanted.items():
        (got,) = run_node("ImageDecoder", [encoded], {"pixel_format": name})
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(run_node("ImageDecoder", [encoded])[0], pixels)


BOXES = np.ones((1, 2, 4), np.float32)
SCORES = np.ones((1, 1, 2), np.float32)
IMAGE = np.ones((1, 1, 2, 2), np.float32)
GRID = np.ones((1, 1, 1, 2), np.float32)
REGIONS = np.ones((1, 4), np.float32)
FIRST = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("NonMaxSuppression", [BOXES[0], SCORES], {}, "boxes must be"),
        ("NonMaxSuppression", [BOXES, SCORES[:, :, :1]], {}, "scores must be"),
        ("NonMaxSuppression", [BOXES, SCORES, FIRST, floats(2)], {}, "iou_threshold"),
        ("NonMaxSuppression", [BOXES, SCORES], {"center_point_box": 2}, "0 or 1"),
        ("RoiAlign", [IMAGE[0], REGIONS, FIRST], {}, "4-D input"),
        ("RoiAlign", [IMAGE, REGIONS[0], FIRST], {}, "rois must be"),
        ("RoiAlign", [IMAGE, REGIONS, FIRST - 1], {}, "outside the batch"),
        ("RoiAlign", [IMAGE, REGIONS, FIRST], {"mode": "min"}, "unknown RoiAlign mode"),
        ("GridSample", [IMAGE, GRID[0]], {}, "needs the same rank"),
        ("GridSample", [IMAGE, GRID.repeat(2, axis=0)], {}, "2 grids"),
        ("GridSample", [IMAGE, GRID], {"mode": "best"}, "unknown GridSample mode"),
        ("GridSample", [IMAGE, GRID], {"padding_mode": "none"}, "unknown padding_mode"),
        ("AffineGrid", [np.ones((1, 2, 3)), np.array([1, 1, 2])], {}, "does not fit"),
    ],
)
def test_what_does_not_fit_is_explained(op, inputs, attributes, message):
    with pytest.raises(EngineError, match=message):
        run_node(op, inputs, attributes)
