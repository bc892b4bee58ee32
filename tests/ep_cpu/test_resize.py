"""Resize and Upsample against the standard's reference and onnxruntime."""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, by_reference
from runtime.errors import EngineError

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)
LENGTHS = st.integers(2, 9)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).random(shape).astype(np.float32)


def resize(x, *, roi=None, scales=None, sizes=None, opset=19, **attributes):
    scales = None if scales is None else np.array(scales, np.float32)
    sizes = None if sizes is None else np.array(sizes, np.int64)
    roi = None if roi is None else np.array(roi, np.float32)
    return run_node("Resize", [x, roi, scales, sizes], attributes, opset)[0]


@given(
    st.sampled_from(COORDINATES),
    st.sampled_from(["linear", "cubic"]),
    st.booleans(),
    st.booleans(),
    st.tuples(LENGTHS, LENGTHS),
    st.tuples(LENGTHS, LENGTHS),
)
def test_interpolation_agrees_with_the_reference(
    coordinates, mode, antialias, exclude, shape, sizes
):
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "antialias": int(antialias),
        "exclude_outside": int(exclude),
    }
    x = image(*shape)
    inputs = [x, None, None, np.array(sizes)]
    want = by_reference("Resize", inputs, attributes, 19)[0]
    got = resize(x, sizes=sizes, **attributes)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@given(
    st.sampled_from(("half_pixel", "asymmetric")),
    st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    st.tuples(LENGTHS, LENGTHS),
    st.tuples(LENGTHS, LENGTHS),
)
def test_nearest_agrees_with_onnxruntime(coordinates, rounding, shape, sizes):
    attributes = {
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    x = image(1, 2, *shape)
    inputs = [x, None, None, np.array([1, 2, *sizes])]
    want = by_onnxruntime("Resize", inputs, attributes, 19)[0]
    np.testing.assert_array_equal(resize(x, sizes=[1, 2, *sizes], **attributes), want)


@given(st.sampled_from(["nearest", "linear", "cubic"]), st.booleans())
def test_a_crop_agrees_with_onnxruntime(mode, negative):
    low = -0.3 if negative else 0.2
    roi = np.array([0, 0, low, 0.1, 1, 1, 0.9, 1.4], np.float32)
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 7.0,
    }
    x = image(1, 1, 6, 5)
    inputs = [x, roi, None, np.array([1, 1, 4, 8])]
    want = by_onnxruntime("Resize", inputs, attributes, 19)[0]
    got = resize(x, roi=roi, sizes=[1, 1, 4, 8], **attributes)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale", [0.4, 0.7, 1.5, 2.0, 3.0])
def test_the_oldest_resize_agrees_with_onnxruntime(mode, scale):
    x = image(1, 2, 10, 10)
    inputs = [x, np.array([1, 1, scale, scale], np.float32)]
    want = by_onnxruntime("Resize", inputs, {"mode": mode}, 10)[0]
    got = run_node("Resize", inputs, {"mode": mode}, 10)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_takes_its_scales_from_attributes_then_from_an_input(mode):
    x = image(1, 2, 3, 4)
    scales = np.array([1, 1, 2, 2.5], np.float32)
    newest = run_node("Upsample", [x, scales], {"mode": mode}, 9)[0]
    older = run_node("Upsample", [x], {"mode": mode, "scales": [1, 1, 2, 2.5]}, 7)[0]
    np.testing.assert_array_equal(newest, older)
    assert newest.shape == (1, 2, 6, 10)
    want = by_onnxruntime("Upsample", [x, scales], {"mode": mode}, 9)[0]
    np.testing.assert_allclose(newest, want, rtol=1e-5)


def test_the_first_upsample_scales_height_and_width():
    attributes = {"height_scale": 2.0, "width_scale": 3.0, "mode": "nearest"}
    x = image(1, 2, 3, 4)
    got = run_node("Upsample", [x], attributes, 1)[0]
    np.testing.assert_array_equal(got, x.repeat(2, axis=2).repeat(3, axis=3))


@given(
    st.integers(100, 700), st.integers(100, 700), st.sampled_from(["linear", "cubic"])
)
def test_long_axes_give_the_same_as_a_matrix(length, size, mode):
    x = image(3, length)
    attributes = {"mode": mode, "antialias": 1}
    got = resize(x, sizes=[3, size], **attributes)
    eye = resize(np.eye(length), sizes=[length, size], **attributes)
    np.testing.assert_allclose(got, x.astype(np.float64) @ eye, atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_an_infinite_pixel_reaches_only_its_neighbours(mode):
    x = image(1, 20)
    x[0, 10] = np.inf
    got = resize(x, sizes=[1, 40], mode=mode)
    assert np.isfinite(got[0, :15]).all()
    assert np.isfinite(got[0, 26:]).all()


@pytest.mark.parametrize(
    ("policy", "shape"), [("not_larger", (5, 10)), ("not_smaller", (10, 20))]
)
def test_the_aspect_ratio_can_be_kept(policy, shape):
    got = resize(
        image(4, 8), sizes=[10, 10], keep_aspect_ratio_policy=policy, mode="linear"
    )
    assert got.shape == shape


def test_axes_choose_what_is_resized():
    x = image(2, 3, 4)
    got = resize(x, scales=[2.0, 0.5], axes=[-1, 0], mode="linear")
    want = resize(x, scales=[0.5, 1.0, 2.0], mode="linear")
    np.testing.assert_array_equal(got, want)
    assert got.shape == (1, 3, 8)


def test_a_factor_that_is_no_binary_fraction_finds_every_whole_pixel():
    assert resize(image(10), scales=[0.7]).shape == (7,)
    assert resize(image(5), scales=[0.6]).shape == (3,)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
def test_integers_are_cut_towards_zero(dtype):
    x = np.array([0, 10, -3 if np.dtype(dtype).kind == "i" else 3], dtype)
    got = resize(x, sizes=[6], mode="linear")
    want = np.trunc(resize(x.astype(np.float64), sizes=[6], mode="linear"))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, want)


def test_integers_saturate():
    x = np.array([0, 0, 255, 255, 0], np.uint8)
    got = resize(x, sizes=[10], mode="cubic")
    assert got.max() == 255
    assert got.min() == 0


def test_strings_and_half_precision_can_be_resized():
    words = np.array(["a", "b"], object)
    assert resize(words, scales=[2.0]).tolist() == ["a", "a", "b", "b"]
    half = np.array([1, 2], np.float16)
    got = resize(half, scales=[2.0], mode="linear")
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, np.array([1, 1.25, 1.75, 2], np.float16))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_empty_results_have_their_shape(mode):
    x = np.zeros((0, 3, 4), np.float32)
    assert resize(x, sizes=[0, 6, 2], mode=mode).shape == (0, 6, 2)
    assert resize(image(3), scales=[0.2], mode=mode).shape == (0,)


def test_inputs_are_not_written():
    x = image(4, 4)
    before = x.copy()
    resize(x, sizes=[8, 3], mode="linear")
    resize(
        x,
        roi=[-1, -1, 2, 2],
        sizes=[4, 4],
        coordinate_transformation_mode="tf_crop_and_resize",
    )
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either scales or sizes"),
        ({"scales": [1.0], "sizes": [3]}, "either scales or sizes"),
        ({"scales": [1.0, 2.0]}, "2 scales were given for 1 axes"),
        ({"scales": [-1.0]}, "must be positive"),
        ({"sizes": [3, 3]}, "2 sizes were given for 1 axes"),
        ({"sizes": [3], "axes": [1]}, "outside a rank"),
        ({"sizes": [3], "mode": "lanczos"}, "unknown Resize mode"),
        ({"sizes": [3], "nearest_mode": "down"}, "unknown nearest_mode"),
        ({"sizes": [-3]}, "cannot have the shape"),
        (
            {"sizes": [3], "coordinate_transformation_mode": "tf_crop_and_resize"},
            "needs the input roi",
        ),
        ({"sizes": [3], "coordinate_transformation_mode": "x"}, "unknown coordinate"),
    ],
)
def test_what_cannot_be_resized_is_explained(arguments, message):
    with pytest.raises(EngineError, match=message):
        resize(image(4), **arguments)


def test_a_result_larger_than_memory_is_refused():
    with pytest.raises(EngineError, match="needs"):
        resize(image(4), scales=[1e15])
