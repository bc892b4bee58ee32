"""Running native programs: memory, threads, failures, cancellation, forks, leftovers."""

import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import runtime as ort
from beside_numpy import checked, opened, programs, same
from models import FLOAT, INT64, model, node
from runtime.abilities import Context
from runtime.capi.onnxruntime_pybind11_state import Fail
from runtime.errors import Cancelled
from runtime_ep_cpu import pool as pools
from runtime_ep_cpu.codegen.library import library
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.native import stage as stages

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
RNG = np.random.default_rng(7)
W1, W2, W3 = (
    (RNG.standard_normal(s) / 16).astype(np.float32)
    for s in ((64, 256), (256, 64), (64, 64))
)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def layers(depth=3, heads=4, tail=()):
    """Return a small transformer of any number of rows: wide enough for all threads."""
    nodes, last = [], "x"
    for i in range(depth):
        names = {k: f"{k}{i}" for k in "qkvpstuabcdefgh"}
        nodes += [
            node("MatMul", [last, "w3"], [names["q"]]),
            node("Reshape", [names["q"], "split"], [names["s"]]),
            node("Transpose", [names["s"]], [names["t"]], perm=[1, 0, 2]),
            node("Transpose", [names["s"]], [names["k"]], perm=[1, 2, 0]),
            node("MatMul", [names["t"], names["k"]], [names["u"]]),
            node("Softmax", [names["u"]], [names["p"]], axis=-1),
            node("MatMul", [names["p"], names["t"]], [names["v"]]),
            node("Transpose", [names["v"]], [names["a"]], perm=[1, 0, 2]),
            node("Reshape", [names["a"], "join"], [names["b"]]),
            node("Add", [names["b"], last], [names["c"]]),
            node("LayerNormalization", [names["c"], "one"], [names["d"]]),
            node("MatMul", [names["d"], "w1"], [names["e"]]),
            node("Gelu", [names["e"]], [names["f"]]),
            node("MatMul", [names["f"], "w2"], [names["g"]]),
            node("Add", [names["g"], names["d"]], [names["h"]]),
        ]
        last = names["h"]
    nodes.append(node("Identity", [last], ["y"]))
    return model(
        [*nodes, *tail],
        {"x": (FLOAT, ["rows", 64])},
        {"y": (FLOAT, ["rows", 64]), **{n.output[0]: (FLOAT, None) for n in tail}},
        {
            "w1": W1, "w2": W2, "w3": W3, "one": np.ones(64, np.float32),
            "split": np.array([-1, heads, 64 // heads]), "join": np.array([-1, 64]),
        },
        opset=20,
    )  # fmt: skip


@pytest.fixture(scope="module")
def session():
    return opened(layers(), threads=2)


@pytest.fixture(scope="module")
def plain():
    return opened(layers(), native="off")


def answer(session, x):
    return session.run(None, {"x": x})[0]


# shapes and plans


def test_nothing_is_compiled_for_new_shapes(session, plain):
    before = library(host()).compiled
    for rows in (1, 2, 3, 7, 16, 33, 50):
        x = floats(rows, 64)
        same(answer(session, x), answer(plain, x), 2e-5)
    assert library(host()).compiled == before
    assert [program.moved for program in programs(session)] == [0]


def test_plans_used_last_are_kept_and_the_others_dropped(monkeypatch, plain):
    monkeypatch.setattr(stages, "REMEMBERED", 4)
    session = opened(layers())
    (stage,) = programs(session)[0].stages
    for rows in (1, 2, 3, 4, 1, 5, 6):
        x = floats(rows, 64)
        same(answer(session, x), answer(plain, x), 2e-5)
    assert [key[0][0] for key in stage._plans] == [4, 1, 5, 6]


def test_a_dropped_plan_may_still_run(monkeypatch, plain):
    monkeypatch.setattr(stages, "REMEMBERED", 1)
    session = opened(layers(), threads=2)
    feeds = [floats(rows, 64) for rows in range(1, 30)]
    want = [answer(plain, x) for x in feeds]
    with ThreadPoolExecutor(6) as many:
        for got, right in zip(
            many.map(lambda x: answer(session, x), feeds * 4), want * 4, strict=True
        ):
            same(got, right, 2e-5)


def test_a_dropped_plan_that_is_used_again_is_kept_again(monkeypatch, plain):
    monkeypatch.setattr(stages, "REMEMBERED", 1)
    session, one, two = opened(layers()), floats(1, 64), floats(2, 64)
    (stage,) = programs(session)[0].stages
    for x in (one, two, one):
        same(answer(session, x), answer(plain, x), 2e-5)
    assert [key[0][0] for key in stage._plans] == [1]


def test_where_contents_decide_no_run_is_prepared():
    reshape = model(
        [node("Reshape", ["x", "shape"], ["y"]), node("Relu", ["y"], ["z"])],
        {"x": (FLOAT, [6]), "shape": (INT64, [2])},
        {"z": (FLOAT, None)},
    )
    session, x = opened(reshape), np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, 2), (2, 3), (1, 6), (3, 2)):
        (got,) = session.run(None, {"x": x, "shape": np.array(shape)})
        np.testing.assert_array_equal(got, x.reshape(shape))


# threads


@pytest.mark.parametrize("rows", [1, 5, 64, 200])
def test_results_are_the_same_bits_for_any_number_of_threads(rows):
    x = floats(rows, 64)
    results = [answer(opened(layers(), threads=n), x) for n in (1, 2, 3, 8)]
    for result in results[1:]:
        np.testing.assert_array_equal(result.view(np.int32), results[0].view(np.int32))


def test_sixteen_threads_at_once_get_the_right_answers(session, plain):
    feeds = [floats(rows, 64) for rows in (1, 17, 90, 128)]
    want = [answer(session, x) for x in feeds]
    for x, one in zip(feeds, want, strict=True):
        same(one, answer(plain, x), 2e-5)

    def work(seed):
        for step in range(12):
            i = (seed + step) % len(feeds)
            np.testing.assert_array_equal(answer(session, feeds[i]), want[i])

    with ThreadPoolExecutor(16) as many:
        list(many.map(work, range(16)))


def test_sessions_at_once_share_the_workers_or_run_alone(session):
    other = opened(layers(2), threads=2)
    x = floats(150, 64)
    want = [answer(s, x) for s in (session, other)]

    def work(which):
        for _ in range(15):
            got = answer((session, other)[which], x)
            np.testing.assert_array_equal(got, want[which])

    with ThreadPoolExecutor(4) as many:
        list(many.map(work, (0, 1, 0, 1)))


# inputs and outputs


def test_inputs_need_not_be_contiguous_nor_aligned(session, plain):
    x = floats(20, 64)
    want = answer(session, x)
    same(want, answer(plain, x), 2e-5)
    memory = np.zeros(x.nbytes + 1, np.uint8)
    off = memory[1:].view(np.float32).reshape(x.shape)
    off[...] = x
    assert not off.flags.aligned
    for given in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x[::-1][::-1], off):
        np.testing.assert_array_equal(answer(session, given), want)


def test_a_result_is_never_memory_that_a_later_run_writes(session):
    one, other = floats(9, 64), floats(9, 64)
    first = answer(session, one)
    kept = first.copy()
    answer(session, other)
    np.testing.assert_array_equal(first, kept)


def executable(session):
    (program,) = programs(session)
    return program


@pytest.mark.parametrize(
    "memory",
    [
        lambda: np.empty((9, 64), np.float32),
        lambda: np.empty((64, 9), np.float32).T,
        lambda: np.empty((9, 128), np.float32)[:, ::2],
    ],
    ids=["whole", "turned", "gaps"],
)
def test_bound_memory_is_filled_whatever_its_strides(session, memory):
    x, y = floats(9, 64), memory()
    (got,) = executable(session).run([x], [y], Context())
    assert got is y
    np.testing.assert_array_equal(y, answer(session, x))


def test_whole_bound_memory_is_written_in_place_without_a_copy(session, monkeypatch):
    import runtime_ep_cpu.native.program as module

    seen = []
    real = module.filled
    monkeypatch.setattr(
        module, "filled", lambda v, b: seen.append(v[0] is b[0]) or real(v, b)
    )
    x, y = floats(9, 64), np.empty((9, 64), np.float32)
    executable(session).run([x], [y], Context())
    assert seen == [True]


def test_bound_memory_may_overlap_an_input(session):
    x = floats(9, 64)
    want = answer(session, x)
    executable(session).run([x], [x], Context())
    np.testing.assert_array_equal(x, want)


def test_bound_memory_of_another_shape_is_refused_and_left_alone(session):
    y = np.full((8, 64), 7, np.float32)
    with pytest.raises(ValueError, match="memory bound"):
        executable(session).run([floats(9, 64)], [y], Context())
    assert (y == 7).all()


def split_program():
    """Return a model of three parts: native, the host's, native."""
    return model(
        [
            node("Sigmoid", ["x"], ["y"]),
            node("Det", ["y"], ["d"]),
            node("Add", ["d", "z"], ["s"]),
        ],
        {"x": (FLOAT, [2, 3, 3]), "z": (FLOAT, [2])},
        {"y": (FLOAT, None), "s": (FLOAT, None)},
    )


def test_bound_memory_that_a_later_part_reads_is_written_last():
    memory = floats(2, 3, 3)
    x, z = floats(2, 3, 3), memory.reshape(-1)[:2]
    session = opened(split_program())
    want = session.run(None, {"x": x, "z": z.copy()})
    got = executable(session).run([x, z], [memory, None], Context())
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)
    assert got[0] is memory


def test_memory_bound_twice_over_each_other_is_filled_in_order():
    proto = model(
        [node("Sigmoid", ["x"], ["y"]), node("Neg", ["x"], ["z"])],
        {"x": (FLOAT, [4])},
        {"y": (FLOAT, None), "z": (FLOAT, None)},
    )
    session = opened(proto)
    x, memory = floats(4), np.empty(6, np.float32)
    executable(session).run([x], [memory[:4], memory[2:]], Context())
    np.testing.assert_array_equal(memory[2:], -x)


def test_outputs_may_be_views_of_each_other_and_of_inputs():
    proto = model(
        [
            node("Sigmoid", ["x"], ["a"]),
            node("Reshape", ["a", "flat"], ["b"]),
            node("Transpose", ["a"], ["c"], perm=[1, 0]),
            node("Split", ["a"], ["d", "e"], axis=1, num_outputs=2),
            node("Identity", ["a"], ["f"]),
            node("Reshape", ["x", "flat"], ["g"]),
            node("Expand", ["x", "more"], ["h"]),
            node("Slice", ["x", "start", "end"], ["i"]),
        ],
        {"x": (FLOAT, ["n", 4])},
        dict.fromkeys("abcdefghi", (FLOAT, None)),
        {
            "flat": np.array([-1]), "more": np.array([2, 1, 1]),
            "start": np.array([1]), "end": np.array([3]),
        },
        opset=20,
    )  # fmt: skip
    session = checked(proto, {"x": floats(3, 4)}, {"x": floats(5, 4)})
    x = floats(3, 4)
    results = session.run(None, {"x": x})
    for index, one in enumerate(results):
        assert not np.may_share_memory(one, x)
        for other in results[:index]:
            assert not np.may_share_memory(one, other)


# failures


def lookup():
    return model(
        [
            node("Gather", ["table", "i"], ["g"], name="embed"),
            node("LayerNormalization", ["g", "one"], ["y"]),
        ],
        {"i": (INT64, ["n"])},
        {"y": (FLOAT, ["n", 8])},
        {"table": floats(10, 8), "one": np.ones(8, np.float32)},
    )


def test_an_index_out_of_range_is_numpys_error_and_the_session_goes_on():
    session, other = opened(lookup()), opened(lookup(), native="off")
    good = {"i": np.array([0, 9, -10])}
    want = session.run(None, good)[0]
    for bad in (10, -11, 1 << 40):
        feed = {"i": np.array([1, bad, 2])}
        with pytest.raises(Fail) as native:
            session.run(None, feed)
        with pytest.raises(Fail) as plain:
            other.run(None, feed)
        assert str(native.value) == str(plain.value)
        assert "embed" in str(native.value)
        np.testing.assert_array_equal(session.run(None, good)[0], want)


def test_an_index_out_of_range_is_found_by_several_threads_too():
    session = opened(lookup(), threads=3)
    indices = np.zeros(200_000, np.int64)
    session.run(None, {"i": indices})
    indices[123_456] = 10
    with pytest.raises(Fail):
        session.run(None, {"i": indices})


def test_a_run_asked_to_stop_before_it_began_does_not_run(session):
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        executable(session).run([floats(9, 64)], [None], Context(cancelled=stopped))


def test_a_run_is_stopped_in_the_middle_and_the_session_goes_on(session, plain):
    program, x = executable(session), floats(6000, 64)
    began = time.perf_counter()
    want = answer(session, x)
    whole = time.perf_counter() - began
    outcomes = []

    def work():
        try:
            program.run([x], [None], Context())
            outcomes.append("done")
        except Cancelled:
            outcomes.append("stopped")

    for _ in range(5):
        thread = threading.Thread(target=work)
        began = time.perf_counter()
        thread.start()
        while thread.is_alive():
            time.sleep(min(0.02, whole / 10))
            program.cancel()
        thread.join()
    assert "stopped" in outcomes
    np.testing.assert_array_equal(answer(session, x), want)
    small = floats(5, 64)
    same(answer(session, small), answer(plain, small), 2e-5)


def test_a_prepared_run_that_is_stopped_along_with_another_gives_up(session):
    program, x = executable(session), floats(6000, 64)
    want = answer(session, x)
    run, ends = program.prepared([x]), []

    def work():
        ends.append(run([x]))

    for _ in range(5):
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            program.cancel()
        thread.join()
    assert None in ends
    np.testing.assert_array_equal(run([x])[0], want)


def test_plain_runs_are_none_the_worse_when_others_are_terminated(session):
    x, stopped = floats(2000, 64), []
    want = answer(session, x)

    def terminate():
        for _ in range(10):
            options = ort.RunOptions()
            timer = threading.Timer(0.005, setattr, (options, "terminate", True))
            timer.start()
            try:
                session.run(None, {"x": x}, options)
            except Fail:
                stopped.append(options)
            timer.join()

    thread = threading.Thread(target=terminate)
    thread.start()
    while thread.is_alive():
        np.testing.assert_array_equal(answer(session, x), want)
    assert stopped


def test_terminating_by_run_options_stops_a_run(session):
    x, options = floats(6000, 64), ort.RunOptions()
    options.terminate = True
    with pytest.raises(Fail):
        session.run(None, {"x": x}, options)
    options.terminate = False
    session.run(None, {"x": x}, options)


# lifetime


def test_trimming_gives_memory_back_and_the_next_run_takes_it_again(plain):
    session = opened(layers(), threads=2)
    x = floats(30, 64)
    answer(session, x)
    program = executable(session)
    assert program.memory()["arena"] > 0
    session.trim()
    assert program.memory()["arena"] == 0
    same(answer(session, x), answer(plain, x), 2e-5)


def test_sessions_are_collected_while_others_run(session):
    x = floats(100, 64)
    want = answer(session, x)
    quit = threading.Event()
    wrong = []

    def run():
        while not quit.is_set():
            if not np.array_equal(answer(session, x), want):
                wrong.append(True)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    gone = []
    for _ in range(12):
        other = opened(layers(1), threads=2)
        answer(other, x)
        gone.append(weakref.ref(programs(other)[0]))
        del other
        gc.collect()
    quit.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not [ref for ref in gone if ref() is not None]


def test_a_plan_may_be_collected_while_the_pool_is_taken(session):
    x = floats(80, 64)
    other = opened(layers(1), threads=2)
    answer(other, x)
    pool = pools.shared(2, host())
    frames = [f for p in programs(other) for s in p.stages for f in s._plans.values()]
    assert frames
    with pool._lease:
        del other, frames
        gc.collect()
    want = answer(session, x)
    np.testing.assert_array_equal(answer(session, x), want)
    assert not pool._retired


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parent_and_child_both_run_after_a_fork(session):
    x = floats(120, 64)
    want = answer(session, x)
    for _ in range(3):
        child = os.fork()
        if not child:
            right = all(np.array_equal(answer(session, x), want) for _ in range(5))
            os._exit(0 if right else 1)
        for _ in range(5):
            np.testing.assert_array_equal(answer(session, x), want)
        assert os.waitpid(child, 0)[1] == 0


def test_only_the_plans_used_last_keep_working_memory(monkeypatch, plain):
    monkeypatch.setattr(stages, "ROOMY", 3)
    session = opened(layers(), threads=2)
    feeds = [floats(rows, 64) for rows in range(1, 12)]
    for x in feeds:
        answer(session, x)
    (stage,) = programs(session)[0].stages
    kept = [plan.memory > 0 for plan in stage._plans.values()]
    assert kept == [False] * 8 + [True] * 3
    for x in feeds[:4]:
        same(answer(session, x), answer(plain, x), 2e-5)
    assert sum(plan.memory > 0 for plan in stage._plans.values()) == 3


def test_numpys_kernels_use_the_sessions_number_of_threads(monkeypatch):
    import runtime_ep_cpu.native.program as module

    asked = []
    monkeypatch.setattr(module, "use_threads", asked.append)
    session = opened(split_program(), threads=1)
    x, z = floats(2, 3, 3), floats(2)
    session.run(None, {"x": x, "z": z})
    assert asked == [1]


def test_a_result_larger_than_memory_is_refused_before_memory_is_touched():
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Expand", ["x", "sizes"], ["wide"]),
            helper.make_node("Relu", ["wide"], ["y"]),
        ],
        "g",
        [
            info("x", TensorProto.FLOAT, [1]),
            info("sizes", TensorProto.INT64, [2]),
        ],
        [info("y", TensorProto.FLOAT, [None, None])],
    )
    imports = [helper.make_opsetid("", 21)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=10)
    session = ort.InferenceSession(made.SerializeToString())
    feed = {"x": np.ones(1, np.float32), "sizes": np.full(2, 1 << 30)}
    with pytest.raises(RuntimeError, match="needs 4611686018427387904 bytes"):
        session.run(None, feed)
    feed["sizes"] = np.full(2, 2)
    assert session.run(None, feed)[0].tolist() == [[1, 1], [1, 1]]
