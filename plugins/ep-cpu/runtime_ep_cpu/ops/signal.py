"""Fourier transforms, window functions and the mel filter bank."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import element_type
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of

table = KernelTable()


@table("DFT", since=17)
def dft_17(x, dft_length=None, /, *, axis=1, inverse=0, onesided=0):
    """DFT-17: the axis is an attribute and counts from the batch on."""
    return _transformed(x, dft_length, axis, bool(inverse), bool(onesided))


@table("DFT", since=20)
def dft(x, dft_length=None, axis=None, /, *, inverse=0, onesided=0):
    """DFT-20: the axis is an input, by default the last signal axis.

    The last dim of ``x`` holds 1 (real) or 2 (real, imaginary) numbers. One-sided
    transforms go from real to half a spectrum, and with ``inverse`` back.
    """
    along = -2 if axis is None else int(axis.reshape(-1)[0])
    return _transformed(x, dft_length, along, bool(inverse), bool(onesided))


@np.errstate(all="ignore")
def _transformed(x: Any, length: Any, axis: int, inverse: bool, onesided: bool) -> Any:
    xp = namespace_of(x)
    if x.ndim < 2 or x.shape[-1] not in (1, 2):
        raise ValueError(
            f"the last dim must hold 1 or 2 numbers, found the shape {list(x.shape)}"
        )
    if not -x.ndim <= axis <= x.ndim - 2 or axis == -1:
        raise ValueError(f"axis {axis} is no signal axis of a rank of {x.ndim}")
    axis %= x.ndim
    size = x.shape[axis]
    if length is not None:
        count = int(length.reshape(-1)[0])
    else:
        count = 2 * (size - 1) if inverse and onesided else size
    if count < 1:
        raise ValueError(f"dft_length must be positive, found {count}")
    check_size((*x.shape[:axis], count, *x.shape[axis + 1 : -1], 2), x.dtype)
    if x.shape[-1] == 1:
        signal = x[..., 0]
    else:
        signal = xp.ascontiguousarray(x).view(_complex_of(x.dtype))[..., 0]
    if onesided and inverse:
        return xp.fft.irfft(signal, count, axis)[..., None].astype(x.dtype, copy=False)
    if onesided:
        if x.shape[-1] == 2:
            raise ValueError("a one-sided transform needs a real input")
        return _split(xp.fft.rfft(signal, count, axis), x.dtype)
    transform = xp.fft.ifft if inverse else xp.fft.fft
    return _split(transform(signal, count, axis), x.dtype)


def _complex_of(dtype: Any) -> Any:
    return np.dtype(np.complex64 if dtype == np.float32 else np.complex128)


def _split(spectrum: Any, dtype: Any) -> Any:
    """Lay complex numbers out as a last dim of two."""
    xp = namespace_of(spectrum)
    whole = xp.ascontiguousarray(spectrum.astype(_complex_of(dtype), copy=False))
    return whole[..., None].view(dtype)


@table("STFT", since=17)
@np.errstate(all="ignore")
def stft(signal, frame_step, window=None, frame_length=None, /, *, onesided=1):
    """STFT-17: [batch, length, 1 or 2] to [batch, frames, bins, 2].

    One-sided, a complex signal gives the first half of its spectrum, as elsewhere.
    """
    xp = namespace_of(signal)
    if signal.ndim == 2:
        signal = signal[..., None]
    if signal.ndim != 3 or signal.shape[2] not in (1, 2):
        raise ValueError(
            f"a signal is [batch, length, 1 or 2], found {list(signal.shape)}"
        )
    step, size = int(frame_step.reshape(-1)[0]), signal.shape[1]
    if frame_length is not None:
        size = int(frame_length.reshape(-1)[0])
    elif window is not None:
        size = window.size
    _check_frames(signal, step, size, window)
    frames = (signal.shape[1] - size) // step + 1
    check_size((signal.shape[0], frames, size, 2), signal.dtype)
    starts = xp.arange(frames)[:, None] * step + xp.arange(size)
    framed = signal[:, starts]
    if window is not None:
        framed = framed * window.astype(signal.dtype, copy=False)[:, None]
    half = bool(onesided) and signal.shape[2] == 1
    spectrum = _transformed(framed, None, 2, False, half)
    return spectrum[:, :, : size // 2 + 1] if onesided else spectrum


def _check_frames(signal: Any, step: int, size: int, window: Any) -> None:
    if step < 1:
        raise ValueError(f"frame_step must be positive, found {step}")
    if not 1 <= size <= signal.shape[1]:
        raise ValueError(
            f"a frame of {size} does not fit a signal of {signal.shape[1]} samples"
        )
    if window is not None and window.shape != (size,):
        raise ValueError(
            f"a window of shape {list(window.shape)} does not fit frames of {size}"
        )


@table("HannWindow", since=17)
def hann_window(size, /, *, output_datatype=1, periodic=1):
    """HannWindow-17: sin² over one period."""
    return _cosines(size, (0.5, 0.5), output_datatype, periodic)


@table("HammingWindow", since=17)
def hamming_window(size, /, *, output_datatype=1, periodic=1):
    """HammingWindow-17: the standard's weight is 25/46, not 0.54."""
    return _cosines(size, (25 / 46, 21 / 46), output_datatype, periodic)


@table("BlackmanWindow", since=17)
def blackman_window(size, /, *, output_datatype=1, periodic=1):
    """BlackmanWindow-17: three cosine terms."""
    return _cosines(size, (0.42, 0.5, 0.08), output_datatype, periodic)


def _cosines(size: Any, weights: tuple[float, ...], code: int, periodic: int) -> Any:
    """Sum cosines of alternating sign; a symmetric window of one sample is 1."""
    count = int(size.reshape(-1)[0])
    check_size((count,), np.float64)
    angle = np.arange(count) * (2 * np.pi / max(count if periodic else count - 1, 1))
    if count == 1 and not periodic:
        angle += np.pi
    terms = (w * (-1) ** k * np.cos(k * angle) for k, w in enumerate(weights))
    return np.asarray(sum(terms)).astype(element_type(code, "output_datatype"))


@table("MelWeightMatrix", since=17, traits=("typed",))
def mel_weight_matrix(
    num_mel_bins,
    dft_length,
    sample_rate,
    lower_edge_hertz,
    upper_edge_hertz,
    /,
    *,
    output_datatype=1,
):
    """MelWeightMatrix-17: triangles [spectrum bins, mel bins] of height 1."""
    values = (num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz)
    mels, length, rate, lowest, highest = (
        float(value.reshape(-1)[0]) for value in values
    )
    bands, bins = int(mels), int(length) // 2 + 1
    if bands < 1 or length < 1 or rate <= 0 or not 0 <= lowest <= highest:
        raise ValueError(
            f"no mel filters for {bands} bands, a DFT of {int(length)}, {rate:g} "
            f"samples a second and edges {lowest:g} to {highest:g} Hz"
        )
    check_size((bins, bands), np.float64)
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (lowest, highest))
    steps = low + np.arange(bands + 2) * ((high - low) / (bands + 2))
    hertz = 700 * (10 ** (steps / 2595) - 1)
    edges = np.floor((length + 1) * hertz / rate)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    place = np.arange(bins)[:, None]
    rising = (place - left) / np.maximum(centre - left, 1)
    falling = (right - place) / np.maximum(right - centre, 1)
    matrix = np.where((place >= left) & (place < centre), rising, 0.0)
    matrix = np.where((place > centre) & (place < right), falling, matrix)
    matrix[place == centre] = 1
    return matrix.astype(element_type(output_datatype, "output_datatype"))
