"""Images in memory: channels innermost, with gaps between pixels."""

import numpy as np
from driver import guarded


def laid_out(array, pitch=None, front=False):
    """Return an image [batch, channels, *sizes] as memory, and its strides by axis."""
    turned = np.moveaxis(array, 1, -1)
    pitch = pitch or turned.shape[-1]
    whole = np.full((*turned.shape[:-1], pitch), 77, array.dtype)
    whole[..., : turned.shape[-1]] = turned
    used = whole.size - pitch + turned.shape[-1]
    memory = guarded(whole.reshape(-1)[:used], front)
    steps = [pitch]
    for size in reversed(turned.shape[1:-1]):
        steps.insert(0, steps[0] * size)
    return memory, steps


def read_back(memory, steps, shape):
    """Return the image [batch, channels, *sizes] that lies in memory."""
    batch, channels, *sizes = shape
    item = memory.itemsize
    strides = (steps[0], 1, *steps[1:])
    return np.lib.stride_tricks.as_strided(
        memory, (batch, channels, *sizes), [s * item for s in strides]
    )
