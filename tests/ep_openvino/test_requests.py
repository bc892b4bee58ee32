"""Nothing is copied, nothing is bound twice, and many threads share one program."""

import threading

import numpy as np
import pytest

pytest.importorskip("openvino")

from runtime.abilities import Context
from runtime_ep_openvino import build, requests
from runtime_ep_openvino.frontend import common_opset, model_of, proto_of
from small import (
    RNG,
    X,
    dense,
    expected,
    model,
    partition,
    program,
    session,
)

NOTHING = (None,)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.fixture
def bound(monkeypatch):
    """Count the inputs that are bound, by wrapping what makes tensors."""
    arrays = []
    wrapped = requests.tensor_over

    def counting(array, dtype):
        arrays.append(array)
        return wrapped(array, dtype)

    monkeypatch.setattr(requests, "tensor_over", counting)
    return arrays


@pytest.fixture
def compiles(monkeypatch):
    """Count the models that OpenVINO compiles."""
    shapes = []
    wrapped = build.Builder._compiled

    def counting(self, given):
        shapes.append(given)
        return wrapped(self, given)

    monkeypatch.setattr(build.Builder, "_compiled", counting)
    return shapes


def test_weights_do_not_enter_the_model_text_but_share_memory():
    large = RNG.standard_normal((256, 256)).astype(np.float32)
    text = "(float[256,256] x) => (float[256,256] y) { y = Add(x, w) }"
    part = partition(model(text, w=large))
    proto = proto_of(part, common_opset(part.nodes))
    assert len(proto.SerializeToString()) < 2_000
    made, shared = model_of(part)
    assert shared == set(part.constants)
    (constant,) = [op for op in made.get_ops() if op.get_type_name() == "Constant"]
    (value,) = part.constants
    assert constant.data.ctypes.data == value.constant().ctypes.data


def test_what_becomes_of_weights_is_told():
    made, part = program(dense())
    (weight,) = part.constants
    assert made.weights == {weight.name: "repacked"}
    large = RNG.standard_normal((256, 256)).astype(np.float32)
    made, part = program(
        model("(float[256,256] x) => (float[256,256] y) { y = Add(x, w) }", w=large)
    )
    assert set(made.weights.values()) == {"kept"}
    assert made.memory()["weights"] == large.nbytes


def test_an_input_stays_bound_while_it_is_the_same_array(bound):
    made, _ = program(dense())
    x = X.copy()
    made.run([x], NOTHING, Context())
    del bound[:]
    for _ in range(3):
        (y,) = made.run([x], NOTHING, Context())
        close(y, expected(x))
    assert not any(array is x for array in bound)
    x[:] = 1
    close(made.run([x], NOTHING, Context())[0], expected(x))
    other = X.copy()
    close(made.run([other], NOTHING, Context())[0], expected(other))
    assert sum(array is other for array in bound) == 1


def test_an_array_that_is_gone_is_never_read_again():
    made, _ = program(dense())
    for index in range(50):
        x = np.full((3, 64), index, np.float32)
        close(made.run([x], NOTHING, Context())[0], expected(x))
        del x


@pytest.mark.parametrize("rows", ["n", "5"])
def test_results_are_written_into_the_callers_buffer(rows):
    made, _ = program(dense(rows))
    for _ in range(3):
        buffer = np.zeros((5, 64), np.float32)
        (y,) = made.run([X], (buffer,), Context())
        assert y is buffer
        close(buffer, expected(X))


def test_a_buffer_that_is_also_an_input_is_filled_after_reading():
    made, _ = program(dense())
    x = X.copy()
    for _ in range(2):
        x[:] = X
        (y,) = made.run([x], (x,), Context())
        assert y is x
        close(x, expected(X))


def test_results_belong_to_the_caller():
    opened = session(dense())
    first = opened.run(None, {"x": X})[0]
    kept = first.copy()
    assert first.flags.writeable
    assert first.flags.owndata
    second = opened.run(None, {"x": 2 * X})[0]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x: np.asfortranarray(x), id="column-major"),
        pytest.param(lambda x: np.repeat(x, 2, 0)[::2], id="strided"),
        pytest.param(lambda x: x[::-1], id="reversed"),
    ],
)
def test_inputs_in_any_layout_are_right_and_never_written(change):
    made, _ = program(dense())
    for seed in range(3):
        x = change(
            np.random.default_rng(seed).standard_normal((6, 64)).astype(np.float32)
        )
        x.flags.writeable = False
        kept = x.copy()
        close(made.run([x], NOTHING, Context())[0], expected(x))
        np.testing.assert_array_equal(x, kept)


def test_lengths_may_change_without_compiling_again(compiles):
    opened = session(dense(), entries={"session.cache": "0"})
    for rows in (1, 7, 3, 64, 7, 1, 0, 2):
        x = RNG.standard_normal((rows, 64)).astype(np.float32)
        close(opened.run(None, {"x": x})[0], expected(x))
    assert compiles == [None]


def test_static_programs_compile_once_for_each_shape(compiles):
    opened = session(
        dense(), entries={"session.cache": "0"}, disable_dynamic_shapes="1"
    )
    for rows in (2, 3, 2, 3):
        x = RNG.standard_normal((rows, 64)).astype(np.float32)
        close(opened.run(None, {"x": x})[0], expected(x))
    assert compiles == [((2, 64),), ((3, 64),)]


def test_shapes_that_depend_on_values_are_right_again_and_again():
    text = "(float[n] x) => (int64[1,m] y) { y = NonZero(x) }"
    made, _ = program(model(text))
    for seed in range(12):
        x = (np.random.default_rng(seed).random(8) > 0.5).astype(np.float32)
        (y,) = made.run([x], NOTHING, Context())
        np.testing.assert_array_equal(y, np.array(np.nonzero(x)))


def test_sixteen_threads_share_one_program_and_lease_a_request_each():
    made, _ = program(dense())
    wrong, meet = [], threading.Barrier(16)

    def work(seed):
        rng = np.random.default_rng(seed)
        meet.wait()
        for _ in range(40):
            x = rng.standard_normal((rng.integers(1, 9), 64)).astype(np.float32)
            (y,) = made.run([x], NOTHING, Context())
            if not np.allclose(y, expected(x), rtol=1e-4, atol=1e-4):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    (compiled,) = made._compiled.values()
    assert not compiled.active
    assert 1 <= len(compiled._idle) <= 16


def test_an_error_leaves_the_request_usable():
    text = "(float[n,64] x, float[k,64] z) => (float[n,64] y) { y = Add(x, z) }"
    made, _ = program(model(text))
    one, other = X[:3], X[:2]
    with pytest.raises(Exception, match="OpenVINO|broadcast|shape|Shape|dim"):
        made.run([one, other], NOTHING, Context())
    np.testing.assert_allclose(made.run([one, one], NOTHING, Context())[0], 2 * one)
