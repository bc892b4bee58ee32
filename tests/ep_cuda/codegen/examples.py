"""Example launches of kernel families: run on the host double, compiled by NVRTC.

A family's test module has a function ``examples()``; its tests are then

::

    EXAMPLES = list(examples())

    @pytest.fixture(scope="module")
    def device():
        yield from prepared(EXAMPLES)

    @pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
    def test_kernels_equal_numpy(example, device):
        check(example, device)

`collected` returns the examples of all modules, for the session that compiles them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np
import pytest
from double.compiling import why_not
from double.host import HostDriver, HostFunction
from double.launching import new, run
from runtime_ep_cuda.codegen.kernel import Kernel, Launch
from runtime_ep_cuda.tensor import Buffer, Tensor

Array = np.ndarray[Any, Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
Given = tuple[Tensor, Array]


@dataclass
class Example:
    """Launches with inputs, and what they should give.

    ``make`` gets the tensors of ``inputs``, ``results`` and ``scratch``, in this order.
    ``reference`` gets the inputs' arrays, floats as float64, and returns one array or
    several. A result may be off by ``ulps`` units of its last place or by ``absolute``.
    ``both`` tells that the order of threads must not change a bit.
    """

    name: str
    inputs: Sequence[Given]
    results: Sequence[Tensor]
    make: Callable[..., list[Launch]]
    reference: Callable[..., Any]
    ulps: float = 1.0
    absolute: float = 0.0
    scratch: Sequence[Tensor] = ()
    both: bool = True

    @cached_property
    def launches(self) -> list[Launch]:
        """The launches, made once."""
        tensors = [tensor for tensor, _ in self.inputs]
        return self.make(*tensors, *self.results, *self.scratch)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels that are launched."""
        return [launch.kernel for launch in self.launches]


def given(
    array: Any, dtype: Any = None, *, strides: Any = None, **layout: Any
) -> Given:
    """Return an input: an array rounded to a type, and where it lies.

    Either dense, with ``order``, ``offset`` and ``spare`` as `double.launching.new` has
    them, or with ``strides`` and perhaps ``offset``.
    """
    array = np.asarray(array)
    with np.errstate(all="ignore"):
        array = array.astype(array.dtype if dtype is None else np.dtype(dtype))
    return wanted(array.dtype, array.shape, strides=strides, **layout), array


def wanted(dtype: Any, shape: Any, *, strides: Any = None, **layout: Any) -> Tensor:
    """Return a result's tensor, laid out as by `given`."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if strides is None:
        return new(dtype, shape, **layout)
    dtype = np.dtype(dtype)
    reach = [step * (dim - 1) for step, dim in zip(strides, shape, strict=True)]
    offset = layout.get("offset", 0) - sum(step for step in reach if step < 0)
    room = offset + sum(step for step in reach if step > 0) + 1
    return Tensor(
        Buffer(room * dtype.itemsize), dtype, tuple(shape), tuple(strides), offset
    )


def normal(shape: Any, seed: int = 0, scale: float = 1.0) -> Array:
    """Return random numbers."""
    return np.random.default_rng(seed).normal(size=shape) * scale


def name_of(example: Example) -> str:
    """Return an example's name, for pytest's ids."""
    return example.name


def wide(example: Example) -> Example:
    """Return an example whose kernels have indices of 64 bits, as if it were large."""
    narrow = example.make

    def make(*tensors: Tensor) -> list[Launch]:
        with mock.patch("runtime_ep_cuda.codegen.indices.MOST_NARROW", 0):
            launches = narrow(*tensors)
        assert all("_wide_" in launch.kernel.name for launch in launches)
        return launches

    return replace(example, name=f"wide_{example.name}", make=make)


class _Prepared(HostDriver):
    """A host double whose kernels were compiled beforehand, all at once."""

    functions: Mapping[str, HostFunction] = {}

    def load(self, kernels: Iterable[Kernel], cache: Any) -> Mapping[str, HostFunction]:
        """Return what was compiled."""
        return {kernel.name: self.functions[kernel.name] for kernel in kernels}


def prepared(examples: Sequence[Example]) -> Iterator[HostDriver]:
    """Yield a host double that has the kernels of all examples."""
    if why_not():
        pytest.skip(why_not())
    device = _Prepared()
    every = [kernel for example in examples for kernel in example.kernels]
    device.functions = HostDriver.load(device, every, None)
    yield device
    device.close()


def check(example: Example, device: HostDriver) -> None:
    """Run an example and compare its results with the reference."""
    found = run(
        device, example.launches, example.inputs, example.results, both=example.both
    )
    arrays = [_precise(array) for _, array in example.inputs]
    with np.errstate(all="ignore"):
        expected = example.reference(*arrays)
    if not isinstance(expected, tuple):
        expected = (expected,)
    for got, want, result in zip(found, expected, example.results, strict=True):
        got = got.reshape(result.shape)
        assert_close(got, np.asarray(want), example.ulps, example.absolute)


def _precise(array: Array) -> Array:
    return array.astype(np.float64) if is_float(array.dtype) else array


def is_float(dtype: Any) -> bool:
    """Whether a type's elements are floats, bfloat16 among them."""
    return np.dtype(dtype).kind == "f" or np.dtype(dtype) == BFLOAT16


def assert_close(got: Array, want: Array, ulps: float, absolute: float = 0.0) -> None:
    """Assert that floats agree within units of the last place, others exactly."""
    assert got.shape == want.shape
    if not is_float(got.dtype):
        np.testing.assert_array_equal(got, want)
        return
    with np.errstate(all="ignore"):
        want = want.astype(got.dtype).astype(np.float64)
    found = got.astype(np.float64)
    with np.errstate(all="ignore"):
        same = (found == want) | (np.isnan(found) & np.isnan(want))
        near = np.abs(found - want) <= ulps * unit(want, got.dtype) + absolute
    bad = ~(same | near)
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        off = np.abs(found - want) / unit(want, got.dtype)
        raise AssertionError(
            f"{bad.sum()} of {bad.size} differ, first at {place}: {found[place]!r} and "
            f"not {want[place]!r}, at most {np.nanmax(off[bad])} units off"
        )


def unit(value: Array, dtype: Any) -> Array:
    """Return the distance of a value to the next one of a float type."""
    about = ml_dtypes.finfo(dtype)
    exponent = np.frexp(np.where(np.isfinite(value), value, 0))[1] - 1
    least = int(about.minexp)
    return np.ldexp(1.0, np.maximum(exponent, least) - int(about.nmant))


def collected() -> list[Example]:
    """Return the examples of all families, by the modules beside this one."""
    found: list[Example] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if "def examples(" in path.read_text():
            found += list(_module(path).examples())
    return found


def _module(path: Path) -> Any:
    name = f"cuda_examples_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
