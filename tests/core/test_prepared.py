"""Prepared runs: which are remembered, and when the general way is left to answer."""

import numpy as np
import pytest
from runtime.explain import forget_warnings
from runtime.prepared import REMEMBERED, Prepared

X, Y = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)


class Adds:
    """Prepares runs that return the sum and the difference of two arrays."""

    def __init__(self, answer=lambda a, b: [np.array(a + b), np.array(a - b)]):
        self.asked = []
        self.answer = answer

    def prepared(self, inputs):
        self.asked.append([array.shape for array in inputs])
        return lambda given: self.answer(*given)


def prepared(executable, fed=(True, True), takes=(0, 1), makes=(0, 1)):
    return Prepared(executable, "TestExecutionProvider", fed, takes, makes)


def test_nothing_is_run_that_was_not_run_before():
    executable = Adds()
    runs = prepared(executable)
    assert runs.run([X, Y]) is None
    assert not executable.asked


def test_what_was_run_is_prepared_once_and_then_run():
    executable = Adds()
    runs = prepared(executable)
    runs.learn([X, Y])
    runs.learn([2 * X, Y])
    total, difference = runs.run([X, Y])
    np.testing.assert_array_equal(total, X + Y)
    np.testing.assert_array_equal(difference, X - Y)
    assert executable.asked == [[(2, 3), (3,)]]


def test_values_go_where_they_belong():
    runs = prepared(Adds(), takes=(1, 0), makes=(1, 0))
    runs.learn([X, Y])
    difference, total = runs.run([X, Y])
    np.testing.assert_array_equal(difference, Y - X)
    np.testing.assert_array_equal(total, X + Y)


class Labelled(np.ndarray):
    """An array of another class."""


@pytest.mark.parametrize(
    "other",
    [
        X.astype(np.float64),
        X.astype(">f4"),
        X.astype(np.int32),
        X[:1],
        X[0],
        X.T.copy().T,
        np.repeat(X, 2, 0)[::2],
        X.view(Labelled),
        X.tolist(),
        None,
    ],
    ids=[
        "wider", "big-endian", "integers", "smaller", "of other rank", "Fortran order",
        "with gaps", "subclass", "list", "nothing",
    ],
)  # fmt: skip
def test_other_values_take_the_general_way(other):
    runs = prepared(Adds())
    runs.learn([X, Y])
    assert runs.run([other, Y]) is None


@pytest.mark.parametrize("shape", [(), (0,), (0, 4)])
def test_arrays_without_elements_or_axes_are_prepared_too(shape):
    runs, x = prepared(Adds()), np.ones(shape, np.float32)
    runs.learn([x, x])
    np.testing.assert_array_equal(runs.run([x, x])[0], x + x)


def test_only_the_latest_kinds_are_remembered():
    runs = prepared(Adds())
    kinds = [np.ones((n, 3), np.float32) for n in range(REMEMBERED + 1)]
    for x in kinds:
        runs.learn([x, Y])
    assert runs.run([kinds[0], Y]) is None
    for x in kinds[1:]:
        np.testing.assert_array_equal(runs.run([x, Y])[0], x + Y)


def test_a_run_given_what_has_a_default_is_not_prepared():
    executable = Adds(lambda a: [a.copy()])
    runs = prepared(executable, fed=(True, False), takes=(0,), makes=(0,))
    runs.learn([X, Y])
    assert runs.run([X]) is None
    runs.learn([X, None])
    np.testing.assert_array_equal(runs.run([X])[0], X)
    assert executable.asked == [[(2, 3)]]


def test_a_prepared_run_that_gives_up_or_fails_leaves_it_to_the_general_way():
    def fail(*arrays):
        raise OSError("on fire")

    for answer in (lambda *arrays: None, fail):
        runs = prepared(Adds(answer))
        runs.learn([X, Y])
        assert runs.run([X, Y]) is None


def test_an_executable_that_has_nothing_to_offer_is_asked_once():
    executable = Adds()
    executable.prepared = executable.asked.append
    runs = prepared(executable)
    for _ in range(3):
        runs.learn([X, Y])
        assert runs.run([X, Y]) is None
    assert len(executable.asked) == 1


def test_an_executable_that_raises_is_blamed_and_not_asked_again():
    class Broken:
        def prepared(self, inputs):
            raise OSError("on fire")

    forget_warnings()
    runs = prepared(Broken())
    with pytest.warns(RuntimeWarning, match="prepared: OSError: on fire"):
        runs.learn([X, Y])
    runs.learn([X, Y])
    assert runs.run([X, Y]) is None


def test_results_that_somebody_holds_are_not_given_away():
    held = np.zeros((2, 3), np.float32)
    for answer in (lambda a, b: [held, a - b], lambda a, b: [a + b, (a - b)[:]]):
        runs = prepared(Adds(answer))
        runs.learn([X, Y])
        assert runs.run([X, Y]) is None
        runs.learn([X, Y])
        assert runs.run([X, Y]) is None


class Vouching(Adds):
    """Prepares runs that look at what they are given themselves."""

    def __init__(self):
        super().__init__()
        self.given = []

    def prepared(self, inputs):
        kinds = [(array.dtype, array.shape) for array in inputs]

        def run(given):
            self.given.append(given)
            if [(array.dtype, array.shape) for array in given] != kinds:
                return None
            return self.answer(*given)

        run.vouches = True
        return run


def test_a_run_that_vouches_is_tried_first_where_its_kind_came_twice():
    executable = Vouching()
    runs = prepared(executable)
    runs.learn([X, Y])
    runs.learn([X[:1], Y])
    for one in (X, X, X, X[:1], X[:1], X[:1], X):
        np.testing.assert_array_equal(runs.run([one, Y])[0], one + Y)
    # Tried in vain: X at the fourth run, and its first row at the seventh.
    assert len(executable.given) == 7 + 2


def test_what_vouches_may_give_up_or_fail_as_well():
    runs = prepared(executable := Vouching())
    runs.learn([X, Y])
    for _ in range(3):
        runs.run([X, Y])
    for answer in (lambda *arrays: None, lambda *arrays: 1 / 0):
        executable.answer = answer
        assert runs.run([X, Y]) is None


def test_places_that_differ_are_seen_to_before_anything_vouches():
    runs = prepared(Vouching(), takes=(1, 0), makes=(1, 0))
    runs.learn([X, Y])
    for _ in range(3):
        difference, total = runs.run([X, Y])
        np.testing.assert_array_equal(difference, Y - X)
        np.testing.assert_array_equal(total, X + Y)
