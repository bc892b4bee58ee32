"""A run like one before takes a short way that nobody can tell but by the clock."""

import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy
from models import FLOAT, dense, dense_reference, model, node
from runtime.capi.onnxruntime_pybind11_state import Fail

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


class Labelled(np.ndarray):
    """An array of another class."""


def opened(data=None, *, options=None, providers=None):
    return ort.InferenceSession(data or dense(), options, providers)


def repeated(data=None, feed=None, **arguments):
    """Return a session that has run already."""
    session = opened(data, **arguments)
    session.run(None, feed or {"x": X})
    return session


def is_prepared(session, *arrays):
    return session._runnable.repeat(list(arrays)) is not None


def test_the_second_run_of_its_kind_is_prepared():
    session = opened()
    assert not is_prepared(session, X)
    session.run(None, {"x": X})
    assert is_prepared(session, 2 * X)
    assert not is_prepared(session, X[:2].copy())
    session.run(["y"], {"x": X[:2].copy()})
    assert is_prepared(session, X[:2].copy())


def unaligned():
    return (
        np.frombuffer(b"-" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(5, 4)
    )


@pytest.mark.parametrize(
    "feed",
    [
        X,
        X.tolist(),
        X.astype(">f4"),
        np.asfortranarray(X),
        np.repeat(X, 2, 0)[::2],
        X[::-1][::-1],
        X.view(Labelled),
        np.frombuffer(X.tobytes(), np.float32).reshape(5, 4),
        unaligned(),
        ort.OrtValue.ortvalue_from_numpy(X),
    ],
    ids=[
        "plain", "list", "big-endian", "fortran", "strided", "reversed", "subclass",
        "read-only", "unaligned", "OrtValue",
    ],
)  # fmt: skip
def test_equal_values_in_any_layout_give_the_same_answer(feed):
    session = repeated()
    for _ in range(2):
        (got,) = session.run(["y"], {"x": feed})
        assert type(got) is np.ndarray
        np.testing.assert_allclose(got, dense_reference(X), rtol=1e-5)


WRONG = {
    "missing": (None, {}, None),
    "unknown input": (None, {"x": X, "z": X}, None),
    "another name": (None, {"z": X}, None),
    "another type": (None, {"x": X.astype(np.float64)}, None),
    "another rank": (None, {"x": X[0]}, None),
    "another size": (None, {"x": X[:, :3].copy()}, None),
    "an object": (None, {"x": object()}, None),
    "None": (None, {"x": None}, None),
    "no mapping": (None, [X], None),
    "unknown output": (["z"], {"x": X}, None),
    "an output's name alone": ("y", {"x": X}, None),
    "no names": (5, {"x": X}, None),
    "no run options": (None, {"x": X}, 5),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_the_same_error_as_ever(arguments):
    session = repeated()
    session.run(["y"], {"x": X})
    with pytest.raises(Exception) as late:
        session.run(*arguments)
    with pytest.raises(type(late.value)) as first:
        opened().run(*arguments)
    assert str(late.value) == str(first.value)


def test_any_mapping_is_a_feed():
    class Feed(dict):
        """A dict of another class."""

    session = repeated()
    (got,) = session.run(None, Feed(x=X))
    np.testing.assert_allclose(got, dense_reference(X), rtol=1e-5)


def test_results_belong_to_the_caller():
    session = repeated()
    results = [session.run(None, {"x": X})[0] for _ in range(3)]
    want = results[0].copy()
    for one, other in pairwise(results):
        assert not np.shares_memory(one, other)
        assert other.base is None
        assert other.flags.carray
        one[...] = np.nan
        np.testing.assert_array_equal(other, want)


def test_inputs_changed_in_place_are_seen():
    session, x = repeated(), X.copy()
    session.run(None, {"x": x})
    x *= 2
    (got,) = session.run(None, {"x": x})
    np.testing.assert_allclose(got, dense_reference(2 * X), rtol=1e-5)


def test_no_input_is_held():
    session, x = repeated(), X.copy()
    before = sys.getrefcount(x)
    for _ in range(3):
        session.run(None, {"x": x})
    assert sys.getrefcount(x) == before


@pytest.mark.parametrize("shape", [(), (0,), (0, 4)])
def test_arrays_without_elements_or_axes(shape):
    data = model(
        [node("Relu", ["x"], ["y"])],
        {"x": (FLOAT, list(shape))},
        {"y": (FLOAT, list(shape))},
    ).SerializeToString()
    session, x = opened(data), np.full(shape, 2, np.float32)
    for _ in range(3):
        (got,) = session.run(None, {"x": x})
        assert type(got) is np.ndarray
        assert got.shape == shape
        np.testing.assert_array_equal(got, x)


def fork():
    """Return a model of two inputs and two outputs, the later result named first."""
    return model(
        [node("Add", ["a", "b"], ["early"]), node("Exp", ["early"], ["late"])],
        {"a": (FLOAT, ["n"]), "b": (FLOAT, ["n"])},
        {"late": (FLOAT, ["n"]), "early": (FLOAT, ["n"])},
    ).SerializeToString()


def test_outputs_come_as_they_are_asked_for():
    feed = {"b": np.ones(3, np.float32), "a": np.arange(3, dtype=np.float32)}
    session = repeated(fork(), feed)
    assert is_prepared(session, feed["a"], feed["b"])
    early = feed["a"] + 1
    named = {"early": early, "late": np.exp(early)}
    for names in (None, [], ["early"], ("late", "early"), ["early", "late", "early"]):
        for _ in range(2):
            results = session.run(names, feed)
            for name, got in zip(names or ("late", "early"), results, strict=True):
                np.testing.assert_allclose(got, named[name], rtol=1e-6)


def test_dims_of_one_name_may_still_differ():
    """A model may be fed sizes that its file denies; then it runs as it is written."""
    one, three = np.ones(1, np.float32), np.arange(3, dtype=np.float32)
    session = repeated(fork(), {"a": three, "b": three})
    for a, b in ((three, one), (three, three), (one, three)):
        np.testing.assert_array_equal(
            session.run(["early"], {"a": a, "b": b})[0], a + b
        )


def test_a_default_may_be_fed_or_left_in_any_order_of_runs():
    data = model(
        [node("Mul", ["x", "s"], ["y"])],
        {"x": (FLOAT, [2]), "s": (FLOAT, [1])},
        {"y": (FLOAT, [2])},
        {"s": np.array([3], np.float32)},
    ).SerializeToString()
    x, five = np.array([1, 2], np.float32), np.array([5], np.float32)
    session = opened(data)
    for _ in range(3):
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], [3, 6])
        np.testing.assert_array_equal(session.run(None, {"x": x, "s": five})[0], 5 * x)


def test_many_threads_of_many_shapes_get_their_own_answers():
    session = repeated()
    feeds = [np.full((n, 4), n, np.float32) for n in range(1, 13)]
    want = [dense_reference(x) for x in feeds]
    wrong = []

    def work(seed):
        for step in range(100):
            at = (seed * step) % len(feeds)
            got = session.run(None, {"x": feeds[at]})[0]
            if not np.allclose(got, want[at], rtol=1e-4, atol=1e-6):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_run_options_count():
    session, options = repeated(), ort.RunOptions()
    np.testing.assert_allclose(
        session.run(None, {"x": X}, options)[0], dense_reference(X), rtol=1e-5
    )
    options.terminate = True
    with pytest.raises(Fail, match="stopped"):
        session.run(None, {"x": X}, options)


def test_every_run_is_in_the_profile(tmp_path):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = opened(options=options)
    counts = []
    for _ in range(3):
        session.run(None, {"x": X})
        counts.append(len(session._runnable.trace.events))
    first, second, third = counts
    assert first < second < third
    assert third - second == second - first


def test_a_closed_session_runs_no_more():
    session = repeated()
    session.close()
    with pytest.raises(Fail, match="closed"):
        session.run(None, {"x": X})


def test_other_providers_take_over(registered):
    other = Choosy("OtherExecutionProvider", lambda node: True)
    registered(other)
    session = repeated()
    session.set_providers(["OtherExecutionProvider"])
    assert other.compiled
    for _ in range(2):
        (got,) = session.run(None, {"x": X})
        np.testing.assert_allclose(got, dense_reference(X), rtol=1e-5)
    assert not is_prepared(session, X)


def test_bound_runs_and_plain_ones_do_not_mix():
    session, y = repeated(), np.zeros((5, 3), np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(y))
    for scale in (1, 2):
        (plain,) = session.run(None, {"x": scale * X})
        session.run_with_iobinding(binding)
        (bound,) = binding.copy_outputs_to_cpu()
        np.testing.assert_allclose(bound, dense_reference(X), rtol=1e-5)
        np.testing.assert_allclose(plain, dense_reference(scale * X), rtol=1e-5)
