"""Normalizations of many dims are right, and run by the kernel that there is for three."""

import numpy as np
import pytest

pytest.importorskip("openvino")

from small import RNG, SUBJECT, model, program

SCALE, SHIFT = RNG.standard_normal((2, 6)).astype(np.float32)


def norm(dims, rank, axis=-1):
    outer = ",".join("abcde"[:rank])
    text = (
        f"(float[{dims}] x) => (float[{outer}] y) "
        f"{{ y = LayerNormalization<axis = {axis}, epsilon = 0.001>(x, s, b) }}"
    )
    return model(text, s=SCALE, b=SHIFT)


def wanted(x):
    wide = x.astype(np.float64)
    middle = wide - wide.mean(-1, keepdims=True)
    root = np.sqrt((middle**2).mean(-1, keepdims=True) + 1e-3)
    return middle / root * SCALE + SHIFT


def kernels(source):
    """Return the kinds of kernels that OpenVINO runs a model with."""
    made, _ = program(source)
    (compiled,) = made._compiled.values()
    return {
        op.get_rt_info()["layerType"]
        for op in compiled.model.get_runtime_model().get_ops()
    }


@pytest.mark.parametrize(
    ("dims", "shapes"),
    [
        ("n,c,6", [(2, 3, 6)]),
        ("n,h,w,6", [(2, 3, 4, 6), (1, 5, 2, 6), (0, 3, 4, 6), (2, 3, 4, 6)]),
        ("2,3,4,6", [(2, 3, 4, 6)]),
        ("n,3,2,w,6", [(2, 3, 2, 4, 6), (3, 3, 2, 1, 6)]),
    ],
)
@pytest.mark.parametrize("axis", ["last", "-1"])
def test_a_normalization_of_the_last_axis_is_right(dims, shapes, axis):
    rank = dims.count(",") + 1
    source = norm(dims, rank, -1 if axis == "-1" else rank - 1)
    opened = SUBJECT.open(source, cache=False)
    assert opened.owned
    for shape in shapes:
        x = RNG.standard_normal(shape).astype(np.float32) + 3
        np.testing.assert_allclose(opened({"x": x})[0], wanted(x), rtol=1e-4, atol=1e-5)
    assert not opened.faults


@pytest.mark.parametrize("dims", ["n,c,6", "n,h,w,6", "n,3,2,w,6"])
def test_it_is_one_kernel_whatever_the_rank(dims):
    found = kernels(norm(dims, dims.count(",") + 1))
    assert "MVN" in found
    assert not found & {"ReduceMean", "RMS", "Subtract"}
