"""Large products by Strassen's form give NumPy's, are chosen by sizes, obey the option."""

from itertools import pairwise

import numpy as np
import pytest
from beside_numpy import checked, kernels, opened
from draws import Draw, declaring
from onnx import numpy_helper
from runtime_ep_cpu.codegen.target import host

pytestmark = pytest.mark.skipif(
    not (host().is_x86 and host().fma), reason="the form is for x86 with FMA"
)
TOLERANCE = 6e-6
"""Differences, as a part of the largest magnitude of a result."""
TARGETS = ["auto", "avx2"]


def layers(*widths, rows=(128,), residual=False):
    """Return linear layers and Relu; if residual, with sums of what goes in and out."""
    d = Draw(11)
    d.feed["x"] = d.array((*rows, widths[0]))
    x = "x"
    for i, (k, n) in enumerate(pairwise(widths)):
        weights = (d.array((k, n)) / np.sqrt(k)).astype("f")
        y = d.add("MatMul", [x, d.constant(f"w{i}", weights)], f"p{i}")
        y = d.add("Add", [y, d.constant(f"b{i}", d.array((n,)))], f"a{i}")
        if residual and k == n:
            y = d.add("Add", [x, y], f"s{i}")
        x = d.add("Relu", [y], f"y{i}")
    return d.model([x]), d.feed


def count(session, family="strassen"):
    return kernels(session).count(family)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [(64,), (131,), (3, 50)])
def test_a_chain_of_layers(rows, target):
    model, feed = layers(300, 512, 512, 390, rows=rows, residual=True)
    session = checked(model, feed, target=target, tolerance=TOLERANCE)
    assert count(session) == 3


def test_products_of_one_matrix_share_the_sums_of_its_rows():
    d = Draw(3)
    d.feed["x"] = d.array((2, 40, 256))
    made = [
        d.add("MatMul", ["x", d.constant(f"w{i}", d.array((256, 400)))], f"y{i}")
        for i in range(3)
    ]
    session = checked(d.model(made), d.feed, tolerance=TOLERANCE)
    assert count(session) == 3
    assert count(session, "strassen_rows") == 1


def test_a_matrix_that_few_rows_are_multiplied_by_as_well_is_weighed():
    d = Draw(4)
    weights = d.constant("w", d.array((256, 400)))
    d.feed["few"], d.feed["many"] = d.array((10, 256)), d.array((128, 256))
    made = [d.add("MatMul", [x, weights], f"{x}_y") for x in ("few", "many")]
    model = declaring(d.model(made), d.feed)
    session = checked(model, d.feed, tolerance=TOLERANCE)
    assert count(session) == 1


@pytest.mark.parametrize("turned", [(0, 1), (1, 0), (1, 1)])
def test_matrices_may_be_turned(turned):
    d = Draw(5)
    a, b = (96, 256), (256, 400)
    d.feed["x"] = d.array(a[::-1] if turned[0] else a)
    weights = d.constant("w", d.array(b[::-1] if turned[1] else b))
    options = {"transA": turned[0], "transB": turned[1]}
    y = d.add("Gemm", ["x", weights], "y", **options)
    session = checked(d.model([y]), d.feed, tolerance=TOLERANCE)
    assert count(session) == 1


def test_a_square_matrix_and_its_transpose_are_not_taken_for_each_other():
    d = Draw(6)
    d.feed["x"] = d.array((256, 256))
    weights = d.constant("w", d.array((256, 400)))
    made = [
        d.add("Gemm", ["x", weights], "y0"),
        d.add("Gemm", ["x", weights], "y1", transA=1),
    ]
    session = checked(d.model(made), d.feed, tolerance=TOLERANCE)
    assert count(session) == 2


@pytest.mark.parametrize(
    ("k", "n", "rows"),
    [(255, 512, 128), (128, 512, 128), (512, 100, 128), (512, 512, 60)],
)
def test_small_products_and_odd_depths_are_summed_plainly(k, n, rows):
    model, feed = layers(k, n, rows=(rows,))
    session = checked(model, feed)
    assert count(session) == 0
    assert count(session, "gemm") == 1


def test_the_option_switches_it_off():
    model, feed = layers(512, 512)
    session = checked(model, feed, strassen="off")
    assert count(session) == 0


def test_a_matrix_that_is_an_input_is_not():
    d = Draw(8)
    d.feed["x"], d.feed["w"] = d.array((96, 256)), d.array((256, 400))
    y = d.add("MatMul", ["x", "w"], "y")
    model = declaring(d.model([y]), d.feed)
    session = checked(model, d.feed)
    assert count(session) == 0


def uneven(what, size):
    """Return a layer whose matrix has one row or column of another size."""
    model, feed = layers(512, 512)
    (weights,) = [x for x in model.graph.initializer if len(x.dims) == 2]
    matrix = numpy_helper.to_array(weights).copy()
    matrix[(5, slice(None)) if what == "row" else (slice(None), 5)] *= size
    weights.CopyFrom(numpy_helper.from_array(matrix, weights.name))
    return model, feed


@pytest.mark.parametrize("what", ["row", "column"])
@pytest.mark.parametrize("size", [0, 1e-2, 1e2, np.inf, np.nan])
def test_matrices_whose_rows_or_columns_differ_in_size_are_not(what, size):
    model, feed = uneven(what, np.float32(size))
    session = opened(model)
    session.run(None, feed)
    assert count(session) == 0


@pytest.mark.parametrize("size", [1 / 3, 3])
def test_matrices_whose_rows_differ_a_little_are(size):
    session = checked(*uneven("row", np.float32(size)), tolerance=TOLERANCE)
    assert count(session) == 1


def test_features_of_other_sizes_than_their_weights_keep_their_digits():
    model, feed = uneven("row", np.float32(1e-3))
    feed["x"][:, 5] *= 1e3
    checked(model, feed)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(threads):
    model, feed = layers(512, 768, 512, rows=(131,))
    alone, together = (
        opened(model, threads=count).run(None, feed)[0] for count in (1, threads)
    )
    np.testing.assert_array_equal(alone.view(np.int32), together.view(np.int32))


def test_a_row_that_is_not_finite_spoils_no_other():
    model, feed = layers(256, 512, rows=(100,))
    feed["x"][17, 3] = np.inf
    feed["x"][70, 5] = np.nan
    checked(model, feed, tolerance=TOLERANCE)


def recurrent(operator, hidden, faulty=None):
    """Return a layer of two directions over eighty rows of 256 inputs.

    The weights of one gate's last unit may be ``faulty``.
    """
    d = Draw(12)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[operator]
    weights = d.array((2, gates * hidden, 256)) / np.float32(16)
    if faulty is not None:
        weights[1, hidden - 1] *= np.float32(faulty)
    d.feed["x"] = d.array((40, 2, 256))
    states = d.array((2, gates * hidden, hidden)) / np.float32(np.sqrt(hidden))
    inputs = ["x", d.constant("w", weights), d.constant("r", states)]
    d.add(operator, inputs, "y", "last", hidden_size=hidden, direction="bidirectional")
    return d.model(["y", "last"]), d.feed


@pytest.mark.parametrize(
    ("operator", "hidden"), [("LSTM", 120), ("LSTM", 128), ("GRU", 130), ("RNN", 400)]
)
def test_recurrent_layers_multiply_their_inputs_so(operator, hidden):
    session = checked(*recurrent(operator, hidden), tolerance=TOLERANCE)
    assert count(session) == 2
    assert count(session, "strassen_rows") == 1


@pytest.mark.parametrize("faulty", [0, 1e2, np.nan])
def test_recurrent_layers_of_uneven_weights_do_not(faulty):
    model, feed = recurrent("LSTM", 120, faulty)
    session = opened(model)
    session.run(None, feed)
    assert count(session) == 0


def test_recurrent_layers_obey_the_option():
    session = checked(*recurrent("LSTM", 120), strassen="off")
    assert count(session) == 0
