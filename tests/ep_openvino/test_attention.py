"""Attention spelt out: right with every mask, and nothing left of the single operator."""

import numpy as np
import pytest

pytest.importorskip("openvino")

from runtime_ep_openvino.frontend import model_of
from small import SUBJECT, model, program

RNG = np.random.default_rng(5)


def attention(mask, dims="b,4,s,8", keys="b,4,t,8", attributes="scale = 0.3"):
    return model(
        f"(float[{dims}] q, float[{keys}] k, float[{keys}] v, {mask} m) => "
        f"(float[{dims}] y) {{ y = Attention<{attributes}>(q, k, v, m) }}"
    )


def values(batch=2, queries=3, keys=5):
    def made(length):
        return RNG.standard_normal((batch, 4, length, 8)).astype(np.float32)

    return {"q": made(queries), "k": made(keys), "v": made(keys)}


def hidden(*shape, share=0.4):
    """Return a mask that hides some keys, and from the first query every key."""
    mask = np.where(RNG.random(shape) < share, -np.inf, 0).astype(np.float32)
    mask[..., 0, :] = -np.inf
    return mask


@pytest.mark.parametrize(
    ("declared", "mask"),
    [
        ("float[b,1,1,t]", RNG.standard_normal((2, 1, 1, 5))),
        ("float[b,1,1,t]", hidden(2, 1, 1, 5)),
        ("float[s,t]", hidden(3, 5)),
        ("float[b,4,s,t]", hidden(2, 4, 3, 5)),
        ("float[1,4,s,t]", RNG.standard_normal((1, 4, 3, 5)) * 50),
        ("bool[s,t]", hidden(3, 5) == 0),
        ("bool[b,1,s,t]", hidden(2, 1, 3, 5) == 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_mask_gives_what_the_cpu_gives(declared, mask):
    dtype = bool if declared.startswith("bool") else np.float32
    source = attention(declared)
    opened = SUBJECT.open(source, cache=False)
    assert {node.op_type for node in opened.owned} == {"Attention"}
    for _ in range(2):
        feed = {**values(), "m": mask.astype(dtype)}
        (got,), (want,) = opened(feed), SUBJECT.alone(source)(feed)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert not opened.faults


def test_a_query_that_sees_no_key_gives_zeros():
    feed = {**values(), "m": hidden(2, 1, 3, 5)}
    (y,) = SUBJECT.open(attention("float[b,1,s,t]"))(feed)
    np.testing.assert_array_equal(y[:, :, 0], 0)
    assert np.isfinite(y).all()


def test_plain_operators_take_the_single_ones_place():
    _, part = program(attention("float[b,1,1,t]"))
    built, _ = model_of(part)
    kinds = {op.get_type_name() for op in built.get_ops()}
    assert "Softmax" in kinds
    assert not kinds & {"ScaledDotProductAttention", "IsNaN"}
