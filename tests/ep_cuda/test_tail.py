"""Operators that the CPU provider's kernels do on the device's arrays."""

import numpy as np
import onnx
import pytest
from on_the_double import alone, driver, opened, programs, share
from runtime.abilities import Context
from runtime.errors import LimitExceeded
from runtime_ep_cuda import devices
from runtime_ep_cuda.transfer import Upload

pytestmark = pytest.mark.filterwarnings("error::runtime.FallbackWarning")
RNG = np.random.default_rng(9)


def model(signature, body, **initializers):
    """Return a model of one graph, in ONNX's text."""
    made = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {signature} {{ {body} }}'
    )
    for name, array in initializers.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return made


def right(source, session, **given):
    (got,), (want,) = session.run(None, given), alone(source).run(None, given)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


GRID = model(
    "(float[n,2,3] t, int64[4] size) => (float[a,b,c,d] y)", "y = AffineGrid(t, size)"
)
HARDMAX = model("(float[a,b] x) => (float[c,d] y)", "y = Hardmax(x)")


def theta(count):
    return RNG.standard_normal((count, 2, 3)).astype(np.float32)


def test_grids_are_of_the_size_that_a_run_tells(cuda):
    session = opened(GRID)
    assert share(session) == 1
    for count, rows in ((2, 5), (2, 6), (3, 5), (2, 5)):
        size = np.array([count, 3, rows, 4])
        right(GRID, session, t=theta(count), size=size)


def test_grids_of_a_size_in_the_model_need_no_declared_shape(cuda):
    source = model(
        "(float[n,2,3] t) => (float[a,b,c,d] y)",
        "y = AffineGrid(t, size)",
        size=np.array([2, 3, 5, 4]),
    )
    right(source, opened(source), t=theta(2))


def matrices(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_what_an_array_namespace_works_in_is_the_sessions_memory(cuda):
    session = opened(HARDMAX)
    (program,) = programs(session)
    lent, using = [], driver().using

    def noted(stream, memory=None):
        lent.append(memory.hold(5000, "noted"))
        return using(stream, memory)

    driver().using = noted
    right(HARDMAX, session, x=matrices(3, 4))
    assert program._pool.held()["temporaries"] >= 5000
    lent.clear()
    right(HARDMAX, session, x=matrices(3, 4))
    lent.clear()
    session.trim()
    assert "temporaries" not in program._pool.held()


def test_what_an_array_namespace_works_in_is_given_back_after_a_run(cuda):
    session = opened(HARDMAX)
    (program,) = programs(session)
    right(HARDMAX, session, x=matrices(3, 4))
    assert "temporaries" not in program._pool.held()


def test_what_an_array_namespace_works_in_counts_for_the_limit(cuda, monkeypatch):
    session = opened(HARDMAX, gpu_mem_limit=4 << 20)
    given = matrices(3, 4)
    right(HARDMAX, session, x=given)
    (program,) = programs(session)
    monkeypatch.setattr(driver(), "scratch", 8 << 20)
    upload = Upload(devices.device(0))
    with pytest.raises(LimitExceeded, match=r"gpu_mem_limit is .*for temporaries"):
        program.run([upload(given)], [None], Context())
