"""Runs launches over arrays: buffers in, buffers out, and nothing but results written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from double.host import HostDriver
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.tensor import Buffer, Tensor

Array = np.ndarray[Any, Any]


def new(
    dtype: Any,
    shape: Sequence[int],
    order: Sequence[int] | None = None,
    *,
    spare: int = 0,
    offset: int = 0,
) -> Tensor:
    """Return a dense tensor in a buffer of its own, ``offset`` elements into it.

    ``order`` lists axes, outermost first; ``spare`` are elements behind the last.
    """
    dtype = np.dtype(dtype)
    room = int(np.prod(shape, dtype=np.int64)) + offset + spare
    tensor = Tensor.dense(Buffer(room * dtype.itemsize), dtype, shape, order)
    return Tensor(tensor.buffer, dtype, tensor.shape, tensor.strides, offset)


def run(
    driver: HostDriver,
    launches: Sequence[Launch],
    given: Sequence[tuple[Tensor, Array]],
    wanted: Sequence[Tensor],
    both: bool = True,
) -> list[Array]:
    """Upload arrays into tensors, launch, and return what the wanted tensors hold.

    Every buffer gets memory of its own, full of NaN where no array was put. It is done
    twice, the second time with threads and blocks in the opposite order and with other
    rubbish in the memory: a difference tells of a barrier that is missing, or of a read of
    what nobody wrote (``both=False`` for sums whose order is open). Bytes of the wanted
    buffers that belong to no element must stay what they were.
    """
    first = _once(driver, launches, given, wanted, backwards=False)
    if both:
        second = _once(driver, launches, given, wanted, backwards=True)
        for tensor, one, other in zip(wanted, first, second, strict=True):
            same = one.tobytes() == other.tobytes()
            assert same, (
                f"{tensor.shape}: the order of threads changes the result, or memory that "
                "was never written"
            )
    return first


def _once(
    driver: HostDriver,
    launches: Sequence[Launch],
    given: Sequence[tuple[Tensor, Array]],
    wanted: Sequence[Tensor],
    backwards: bool,
) -> list[Array]:
    tensors = [*(t for t, _ in given), *wanted]
    tensors += [tensor for launch in launches for tensor in launch.tensors]
    buffers = list({id(t.buffer): t.buffer for t in tensors}.values())
    images = _images(buffers, given, 0xFE if backwards else 0xFF)
    functions = driver.load((launch.kernel for launch in launches), None)
    stream = driver.stream()
    for buffer in buffers:
        buffer.address = driver.allocate(buffer.size)
        driver.upload(buffer.address, images[id(buffer)], stream)
    try:
        driver.backwards = backwards
        for each in launches:
            values = [a.address if isinstance(a, Tensor) else a for a in each.arguments]
            driver.launch(
                functions[each.kernel.name], each.grid, each.block, each.shared, values,
                stream,
            )  # fmt: skip
        return [_fetched(driver, tensor, images, wanted, stream) for tensor in wanted]
    finally:
        driver.backwards = False
        for buffer in buffers:
            driver.free(buffer.address)
            buffer.address = 0


def _images(
    buffers: Sequence[Buffer], given: Sequence[tuple[Tensor, Array]], rubbish: int
) -> dict[int, Array]:
    images = {id(b): np.full(b.size, rubbish, np.uint8) for b in buffers}
    images |= {id(t.buffer): np.full(t.buffer.size, 0xFF, np.uint8) for t, _ in given}
    for tensor, array in given:
        view = _seen(tensor, images[id(tensor.buffer)])
        view[...] = np.asarray(array, tensor.dtype).reshape(tensor.shape)
    return images


def _seen(tensor: Tensor, image: Array) -> Array:
    """Return a buffer's bytes as the tensor sees them."""
    size = tensor.dtype.itemsize
    steps = tuple(step * size for step in tensor.strides)
    return np.ndarray(tensor.shape, tensor.dtype, image, tensor.offset * size, steps)


def _fetched(
    driver: HostDriver,
    tensor: Tensor,
    images: dict[int, Array],
    wanted: Sequence[Tensor],
    stream: int,
) -> Array:
    found = np.empty(tensor.buffer.size, np.uint8)
    driver.download(found, tensor.buffer.address, stream)
    ours = np.zeros(tensor.buffer.size, bool)
    for other in wanted:
        if other.buffer is tensor.buffer:
            mark = np.zeros(tensor.buffer.size, np.uint8)
            _seen(other, mark).view(f"V{other.dtype.itemsize}")[...] = b"\1" * (
                other.dtype.itemsize
            )
            ours |= mark != 0
    before = images[id(tensor.buffer)]
    assert (found == before)[~ours].all(), f"{tensor.shape}: a gap was written into"
    return np.ascontiguousarray(_seen(tensor, found))
