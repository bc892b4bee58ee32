"""Fourier transforms, windows and mel filters against NumPy and onnxruntime."""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError

LENGTHS = st.one_of(st.none(), st.integers(1, 12))


def signal(*shape: int, dtype=np.float64) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


def scalar(value, dtype=np.int64):
    return None if value is None else np.array(value, dtype)


def as_complex(pairs: np.ndarray) -> np.ndarray:
    return pairs[..., 0] + 1j * pairs[..., 1]


def dft(x, length=None, axis=None, **attributes):
    inputs = [x, scalar(length), scalar(axis)]
    return run_node("DFT", inputs, attributes, 20)[0]


@given(LENGTHS, st.sampled_from([0, 1, -2, -3]), st.booleans(), st.booleans())
def test_the_transform_is_numpys(length, axis, inverse, real):
    x = signal(5, 6, 1 if real else 2)
    want = (np.fft.ifft if inverse else np.fft.fft)(
        x[..., 0] if real else as_complex(x), length, axis % 3
    )
    got = dft(x, length, axis, inverse=int(inverse))
    np.testing.assert_allclose(as_complex(got), want, atol=1e-12)


@given(LENGTHS, st.sampled_from([0, 1]))
def test_one_sided_transforms_go_back_and_forth(length, axis):
    x = signal(5, 6, 1)
    half = dft(x, length, axis, onesided=1)
    np.testing.assert_allclose(
        as_complex(half), np.fft.rfft(x[..., 0], length, axis), atol=1e-12
    )
    length = length or x.shape[axis]
    back = dft(half, length, axis, onesided=1, inverse=1)
    kept = [slice(None)] * 2
    kept[axis] = slice(min(length, x.shape[axis]))
    np.testing.assert_allclose(back[tuple(kept)], x[tuple(kept)], atol=1e-12)


def test_the_older_transform_has_its_axis_as_an_attribute():
    x = signal(2, 5, 4, 1, dtype=np.float32)
    got = run_node("DFT", [x, scalar(7)], {"axis": 2}, 17)[0]
    np.testing.assert_array_equal(got, dft(x, 7, 2))
    assert got.dtype == np.float32
    first = run_node("DFT", [x], {}, 17)[0]
    np.testing.assert_array_equal(first, dft(x, None, 1))


def test_half_precision_is_transformed_in_float32():
    x = signal(4, 1, dtype=np.float16)
    got = dft(x)
    assert got.dtype == np.float16
    want = np.fft.fft(x[..., 0].astype(np.float64))
    np.testing.assert_allclose(as_complex(got.astype(np.float64)), want, atol=1e-2)


@given(
    st.integers(1, 5), st.integers(1, 8), st.booleans(), st.booleans(), st.booleans()
)
def test_short_transforms_agree_with_onnxruntime(step, size, window, onesided, real):
    x = signal(2, 11, 1 if real else 2, dtype=np.float32)
    shape = signal(size, dtype=np.float32) if window else None
    inputs = [x, scalar(step), shape, None if window else scalar(size)]
    attributes = {"onesided": int(onesided)}
    want = by_onnxruntime("STFT", inputs, attributes, 17)[0]
    got = run_node("STFT", inputs, attributes, 17)[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_frame_is_as_long_as_the_signal_unless_said_otherwise():
    got = run_node("STFT", [signal(1, 8, 1), scalar(2)], {}, 17)[0]
    assert got.shape == (1, 1, 5, 2)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@given(st.integers(2, 30), st.booleans(), st.sampled_from([1, 11]))
def test_windows_agree_with_onnxruntime(op, size, periodic, code):
    attributes = {"periodic": int(periodic), "output_datatype": code}
    want = by_onnxruntime(op, [scalar(size)], attributes, 17)[0]
    got = run_node(op, [scalar(size, np.int32)], attributes, 17)[0]
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows_of_no_and_one_sample_exist(op):
    assert run_node(op, [scalar(0)], {}, 17)[0].shape == (0,)
    one = run_node(op, [scalar(1)], {"periodic": 0}, 17)[0]
    np.testing.assert_allclose(one, [1], rtol=1e-6)


@given(
    st.integers(1, 20), st.integers(4, 64), st.integers(1000, 9000), st.integers(0, 200)
)
def test_mel_filters_agree_with_onnxruntime(bands, length, rate, low):
    inputs = [
        scalar(bands),
        scalar(length),
        scalar(rate),
        scalar(low, np.float32),
        scalar(low + 250, np.float32),
    ]
    want = by_onnxruntime("MelWeightMatrix", inputs, {}, 17)[0]
    got = run_node("MelWeightMatrix", inputs, {}, 17)[0]
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("DFT", [signal(4, 3)], {}, "1 or 2 numbers"),
        ("DFT", [signal(4, 1), None, scalar(-1)], {}, "no signal axis"),
        ("DFT", [signal(4, 1), None, scalar(3)], {}, "no signal axis"),
        ("DFT", [signal(4, 1), scalar(0)], {}, "must be positive"),
        ("DFT", [signal(4, 2)], {"onesided": 1}, "needs a real input"),
        ("STFT", [signal(1, 4, 1), scalar(0)], {}, "frame_step must be positive"),
        ("STFT", [signal(1, 4, 1), scalar(1), None, scalar(5)], {}, "does not fit"),
        ("STFT", [signal(1, 4, 1), scalar(1), signal(3), scalar(2)], {}, "window"),
        ("STFT", [signal(4), scalar(1)], {}, "a signal is"),
        ("HannWindow", [scalar(3)], {"output_datatype": 99}, "no element type"),
        ("HannWindow", [scalar(-3)], {}, "cannot have the shape"),
        ("MelWeightMatrix", [scalar(v) for v in (0, 8, 9, 0, 1)], {}, "no mel filters"),
    ],
)
def test_what_cannot_be_transformed_is_explained(op, inputs, attributes, message):
    with pytest.raises(EngineError, match=message):
        run_node(op, inputs, attributes, 20)
