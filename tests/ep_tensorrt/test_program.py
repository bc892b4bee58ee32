"""Engines are built for the shapes that come, run side by side, and recorded."""

import os
import threading

import numpy as np
import pytest
import runtime as ort
import runtime_ep_tensorrt.sessions as sessions
from runtime.errors import ExecutionError
from trt_models import RNG, model
from trt_sessions import CUDA, NAME, alone, driver, opened, placed, programs

W = RNG.standard_normal((4, 4)).astype(np.float32)
OPEN = "(float[n,4] x) => (float[n,4] y) { a = MatMul(x, w) y = Relu(a) }"
FIXED = OPEN.replace("n,4", "5,4")
SHAPES = {
    "trt_profile_min_shapes": "x:1x4",
    "trt_profile_opt_shapes": "x:4x4",
    "trt_profile_max_shapes": "x:8x4",
}


@pytest.fixture
def bound():
    """Return what runs with inputs and outputs that stay where they are, for each size."""
    places = {}

    def run(session, rows):
        if rows not in places:
            places[rows] = (
                ort.OrtValue.ortvalue_from_numpy(x(rows), "cuda", 0),
                ort.OrtValue.ortvalue_from_numpy(np.zeros((rows, 4), "f"), "cuda", 0),
            )
        source, room = places[rows]
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", source)
        binding.bind_ortvalue_output("y", room)
        session.run_with_iobinding(binding)
        want = np.maximum(source.numpy() @ W, 0)
        np.testing.assert_allclose(room.numpy(), want, rtol=1e-5, atol=1e-6)

    return run


def x(rows=5):
    return RNG.standard_normal((rows, 4)).astype(np.float32)


def right(session, given, want=None):
    """Run, and hold what comes out to what the CPU provider gives."""
    want = np.maximum(given @ W, 0) if want is None else want
    (got,) = session.run(None, {"x": given})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_model_of_fixed_shapes_is_built_when_it_is_opened(trt):
    session = opened(model(FIXED, w=W))
    assert trt.counts["builds"] == 1
    (program,) = programs(session)
    assert program.facts["source"] == "built"
    assert program.facts["precision"] == "float32"
    assert program.facts["engine"] == f"TensorRT {trt.version}"
    for _ in range(3):
        right(session, x())
    assert trt.counts["builds"] == trt.counts["contexts"] == 1


def test_open_shapes_are_built_for_when_they_come(trt):
    session = opened(model(OPEN, w=W))
    assert trt.counts["builds"] == 0
    right(session, x(5))
    assert trt.counts["builds"] == 1
    right(session, x(5))
    assert trt.counts["builds"] == 1


def test_the_range_grows_to_hold_all_that_came(trt):
    session = opened(model(OPEN, w=W))
    for rows, builds in ((5, 1), (2, 2), (9, 3), (7, 3), (2, 3), (9, 3), (10, 4)):
        right(session, x(rows))
        assert trt.counts["builds"] == builds, rows
    (program,) = programs(session)
    (span,) = program._ranges[0].shapes.values()
    assert (span.least, span.most) == ((2, 4), (10, 4))


def test_told_ranges_are_built_for_at_once_and_never_again(trt):
    session = opened(model(OPEN, w=W), **SHAPES)
    assert trt.counts["builds"] == 1
    for rows in (1, 8, 3):
        right(session, x(rows))
    assert trt.counts["builds"] == 1


def test_shapes_outside_of_told_ranges_go_to_the_next_provider(trt):
    session = opened(model(OPEN, w=W), **SHAPES)
    with pytest.warns(ort.FallbackWarning, match="lies outside of the profiles"):
        right(session, x(9))
    assert trt.counts["builds"] == 1


def test_several_told_ranges_are_several_profiles(trt):
    shapes = {
        "trt_profile_min_shapes": "x:1x4,x:100x4",
        "trt_profile_opt_shapes": "x:2x4,x:100x4",
        "trt_profile_max_shapes": "x:4x4,x:200x4",
    }
    session = opened(model(OPEN, w=W), **shapes)
    (program,) = programs(session)
    assert program.facts["profiles"] == "2"
    for rows in (3, 150, 1, 200):
        right(session, x(rows))
    assert trt.counts["builds"] == 1


def test_told_ranges_of_sizes_are_of_their_values(trt):
    text = (
        "(float[n,4] x, int64[2] s) => (float[k,m] y) { a = MatMul(x, w)"
        " y = Reshape(a, s) }"
    )
    shapes = {
        "trt_profile_min_shapes": "x:1x4,s:1x1",
        "trt_profile_opt_shapes": "x:6x4,s:6x4",
        "trt_profile_max_shapes": "x:8x4,s:32x32",
    }
    session = opened(model(text, w=W), **shapes)
    for rows, shape in ((6, [6, 4]), (6, [4, 6]), (1, [1, 4]), (8, [32, 1])):
        given = x(rows)
        (got,) = session.run(None, {"x": given, "s": np.array(shape)})
        np.testing.assert_allclose(got, (given @ W).reshape(shape), rtol=1e-5)
    assert trt.counts["builds"] == 1


def test_told_ranges_of_sizes_that_are_not_fixed_tell_how_many_there_are(trt):
    text = (
        "(float[n,4] x, int64[r] s) => (float[k,m] y) { a = MatMul(x, w)"
        " y = Reshape(a, s) }"
    )
    shapes = {key: f"{told},s:{told[2:]}" for key, told in SHAPES.items()}
    session = opened(model(text, w=W), **shapes)
    given = x(6)
    (got,) = session.run(None, {"x": given, "s": np.array([6, 4])})
    np.testing.assert_allclose(got, given @ W, rtol=1e-5)
    assert trt.counts["builds"] == 1


@pytest.mark.parametrize("wrong", ["X:{}x4", "x:{}x5", "x:{}"])
def test_told_ranges_that_fit_no_input_are_told_and_left_out(trt, wrong):
    shapes = {
        f"trt_profile_{word}_shapes": wrong.format(rows)
        for word, rows in (("min", 1), ("opt", 4), ("max", 8))
    }
    with pytest.warns(UserWarning, match="tell nothing that fits of x"):
        session = opened(model(OPEN, w=W), **shapes)
    right(session, x(9))
    assert programs(session)


def test_bounds_of_a_session_are_ranges_too(trt):
    from runtime.settings import Settings
    from runtime.valuetypes import Bounds
    from runtime_ep_tensorrt.profiles import bounded

    partition = placed(opened(model(OPEN, w=W)))[0].partition
    settings = Settings(bounds={"n": Bounds(2, 4, 16)})
    found = bounded(partition.inputs, settings.bounds)
    assert found["x"].least == (2, 4)
    assert found["x"].usual == (4, 4)
    assert found["x"].most == (16, 4)
    assert bounded(partition.inputs, {}) is None


def test_inputs_and_outputs_may_stay_on_the_device(trt):
    session = opened(model(FIXED, w=W))
    given = x()
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(given, "cuda", 0))
    room = ort.OrtValue.ortvalue_from_shape_and_type([5, 4], np.float32, "cuda", 0)
    binding.bind_ortvalue_output("y", room)
    before = driver().counts["downloads"]
    session.run_with_iobinding(binding)
    assert driver().counts["downloads"] == before
    np.testing.assert_allclose(
        room.numpy(), np.maximum(given @ W, 0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["known", "asked for"])
def test_memory_bound_in_another_shape_is_an_error_and_left_alone(trt, kind):
    text = OPEN
    if kind == "asked for":
        text = "(float[n,4] x) => (int64[2,k] y) { y = NonZero(x) }"
    session = opened(model(text, w=W), trt_op_types_to_exclude="")
    binding = session.io_binding()
    given = ort.OrtValue.ortvalue_from_numpy(x(5), "cuda", 0)
    binding.bind_ortvalue_input("x", given)
    dtype = np.float32 if kind == "known" else np.int64
    before = np.full((2, 4), 7, dtype)
    room = ort.OrtValue.ortvalue_from_numpy(before, "cuda", 0)
    binding.bind_ortvalue_output("y", room)
    with pytest.raises(Exception, match="the memory bound to it"):
        session.run_with_iobinding(binding)
    np.testing.assert_array_equal(room.numpy(), before)
    assert programs(session), "it is no fault of TensorRT's"


def test_outputs_asked_for_come_out_in_memory_that_is_bound(trt):
    session = opened(
        model("(float[2,4] x) => (int64[2,k] y) { y = NonZero(x) }"),
        trt_op_types_to_exclude="",
    )
    binding = session.io_binding()
    given = ort.OrtValue.ortvalue_from_numpy(np.ones((2, 4), np.float32), "cuda", 0)
    room = ort.OrtValue.ortvalue_from_shape_and_type([2, 8], np.int64, "cuda", 0)
    binding.bind_ortvalue_input("x", given)
    binding.bind_ortvalue_output("y", room)
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(room.numpy(), np.nonzero(np.ones((2, 4))))


def test_memory_that_ends_while_an_output_asks_for_it_is_told(trt, monkeypatch):
    from runtime.errors import LimitExceeded

    session = opened(
        model("(float[2,4] x) => (int64[2,k] y) { y = NonZero(x) }"),
        trt_op_types_to_exclude="",
    )
    (program,) = programs(session)
    given = {"x": np.ones((2, 4), np.float32)}
    session.run(None, given)
    pool, hold = program._pool, program._pool.hold

    def held(size, note="values"):
        if size == 128:
            raise LimitExceeded("the device has no more")
        return hold(size, note)

    monkeypatch.setattr(pool, "hold", held)
    with pytest.warns(ort.FallbackWarning, match="the device has no more"):
        session.run(None, given)
    assert not trt.raised


def test_outputs_of_no_elements_may_be_asked_for_or_not(trt):
    text = "(float[5,4] x) => (int64[2,k] y) { y = NonZero(x) }"
    session = opened(model(text), trt_op_types_to_exclude="")
    for asks in (True, False):
        trt.asks_for_nothing = asks
        (got,) = session.run(None, {"x": np.zeros((5, 4), np.float32)})
        assert got.shape == (2, 0)


def test_outputs_of_unknown_shapes_are_asked_for_while_it_runs(trt):
    text = (
        "(float[5,4] x) => (int64[2,k] y, float[5,4] z){ z = Relu(x) y = NonZero(z) }"
    )
    session = opened(model(text), trt_op_types_to_exclude="")
    assert len(programs(session)) == 1
    for _ in range(2):
        given = x()
        y, z = session.run(None, {"x": given})
        np.testing.assert_array_equal(z, np.maximum(given, 0))
        np.testing.assert_array_equal(y, np.array(np.nonzero(z)))


def test_sizes_that_are_fed_are_read_on_the_host_and_ranged(trt):
    text = (
        "(float[n,4] x, int64[2] s) => (float[k,m] y) { a = MatMul(x, w)"
        " y = Reshape(a, s) }"
    )
    session = opened(model(text, w=W))
    assert placed(session)[0].partition.host_inputs
    given = x(6)
    for shape in ([6, 4], [4, 6], [6, 4], [3, 8]):
        (got,) = session.run(None, {"x": given, "s": np.array(shape)})
        np.testing.assert_allclose(got, (given @ W).reshape(shape), rtol=1e-5)
    assert trt.counts["builds"] == 3


def test_sizes_that_are_results_come_from_the_host(trt):
    text = (
        "(float[n,4] x) => (int64[2] s, float[n,4] y) { s = Shape(x)"
        " a = MatMul(x, w) y = Reshape(a, s) }"
    )
    session = opened(model(text, w=W))
    s, y = session.run(None, {"x": x(6)})
    np.testing.assert_array_equal(s, [6, 4])
    assert y.shape == (6, 4)


def test_runs_side_by_side_have_a_context_each(trt):
    session = opened(model(OPEN, w=W), **SHAPES)
    begun, wrong = threading.Barrier(4), []

    def work():
        begun.wait()
        for rows in (1, 8, 4, 2, 6):
            given = x(rows)
            (got,) = session.run(None, {"x": given})
            if not np.allclose(got, np.maximum(given @ W, 0), rtol=1e-5, atol=1e-6):
                wrong.append(rows)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert 1 <= trt.counts["contexts"] <= 4
    assert trt.counts["builds"] == 1
    assert trt.counts["runs"] == 20


def test_a_context_of_an_engine_that_was_outgrown_is_used_no_more(trt):
    session = opened(model(OPEN, w=W))
    right(session, x(2))
    (program,) = programs(session)
    with program._leased({"x": x(2)}):
        right(session, x(9))
    assert {slot.engine for slot in program._idle} == {program._engine}
    right(session, x(9))
    right(session, x(2))


def test_growth_while_others_run_disturbs_nobody(trt):
    session = opened(model(OPEN, w=W))
    begun, wrong = threading.Barrier(3), []

    def work(first):
        begun.wait()
        for rows in range(first, 30, 3):
            given = x(rows)
            (got,) = session.run(None, {"x": given})
            if not np.allclose(got, np.maximum(given @ W, 0), rtol=1e-5, atol=1e-6):
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=(i,)) for i in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_shared_memory_lets_engines_run_one_after_another(trt):
    session = opened(model(OPEN, w=W), trt_context_memory_sharing_enable=1, **SHAPES)
    for rows in (1, 8):
        right(session, x(rows))
    (program,) = programs(session)
    assert program.memory() == {"arena": 0}, "it belongs to the session"


def test_shared_memory_is_as_large_as_the_engine_that_needs_most(trt):
    session = opened(model(OPEN, w=W), trt_context_memory_sharing_enable=1)
    right(session, x(1))
    trt.working = 1 << 20
    right(session, x(8))
    (program,) = programs(session)
    assert program._habits.shared._held.size == 1 << 20


def test_a_run_waits_until_shared_memory_is_free(trt):
    session = opened(model(OPEN, w=W), trt_context_memory_sharing_enable=1, **SHAPES)
    (program,) = programs(session)
    thread = threading.Thread(target=session.run, args=(None, {"x": x()}))
    with program._habits.shared.lock:
        thread.start()
        thread.join(0.3)
        assert trt.counts["runs"] == 0
    thread.join()
    assert trt.counts["runs"] == 1


def test_engines_in_shared_memory_wait_for_each_other(trt):
    """Whatever the streams of their callers, who go on before the work is done."""
    from runtime.abilities import Context
    from runtime.plugin import Device

    session = opened(model(OPEN, w=W), trt_context_memory_sharing_enable=1, **SHAPES)
    (program,) = programs(session)
    streams = [driver().stream() for _ in range(2)]
    given = ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0)
    runs = [Context(streams={Device("cuda", 0): stream}) for stream in streams]
    program.run([given._value], [None], runs[0])
    with program._leased({"x": x()}):
        program.run([given._value], [None], runs[1])
    assert trt.counts["contexts"] == trt.counts["runs"] == 2
    old = program._habits.shared._held.address
    program._habits.shared.address(1 << 20)
    assert program._pool.allocate(4096) == old, "what was given back is given out"
    driver().fill(old, 0, 4096, streams[0])


def test_memory_that_is_given_back_is_in_use_by_nobody(trt):
    """Not by a context that was trimmed, nor by a copy of an input on its way."""
    from runtime.abilities import Context
    from runtime.plugin import Device

    session = opened(model(FIXED, w=W))
    (program,) = programs(session)
    stream, other = driver().stream(), driver().stream()
    value = ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0)._value
    context = Context(streams={Device("cuda", 0): stream})
    held = []
    for given in (value, x()):
        kept = program.run([given], [None], context)
        if given is value:
            program.trim()
        for size in (4096, 80, 80, 80):
            held.append(program._pool.hold(size))
            driver().fill(held[-1].address, 0, size, other)
        del kept


def test_a_recorded_run_is_replayed_where_addresses_come_again(trt):
    session = opened(model(FIXED, w=W), trt_cuda_graph_enable=1)
    given = x()
    source = ort.OrtValue.ortvalue_from_numpy(given, "cuda", 0)
    room = ort.OrtValue.ortvalue_from_shape_and_type([5, 4], np.float32, "cuda", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", source)
    binding.bind_ortvalue_output("y", room)
    for count in (0, 1, 2, 3):
        session.run_with_iobinding(binding)
        assert driver().counts["replays"] == count
        np.testing.assert_allclose(
            room.numpy(), np.maximum(given @ W, 0), rtol=1e-5, atol=1e-6
        )


def test_a_recorded_run_is_replayed_for_its_own_addresses_only(trt):
    session = opened(model(FIXED, w=W), trt_cuda_graph_enable=1)
    given = [x() for _ in range(3)]
    sources = [ort.OrtValue.ortvalue_from_numpy(each, "cuda", 0) for each in given]
    rooms = [
        ort.OrtValue.ortvalue_from_shape_and_type([5, 4], np.float32, "cuda", 0)
        for _ in given
    ]
    for _ in range(3):
        for each, source, room in zip(given, sources, rooms, strict=True):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", source)
            binding.bind_ortvalue_output("y", room)
            session.run_with_iobinding(binding)
            want = np.maximum(each @ W, 0)
            np.testing.assert_allclose(room.numpy(), want, rtol=1e-5, atol=1e-6)
    assert driver().counts["replays"] == 6


def test_each_recorded_run_has_a_context_of_its_own(trt, bound):
    """TensorRT forbids to change a context, be it back and forth, that was captured."""
    session = opened(model(OPEN, w=W), trt_cuda_graph_enable=1, **SHAPES)
    for _ in range(4):
        for rows in (2, 5):
            bound(session, rows)
    assert driver().counts["replays"] == 6
    assert trt.counts["contexts"] == 3


def test_a_recorded_run_is_not_replayed_when_shared_memory_has_moved(trt, bound):
    """The session's memory grows when another engine needs more of it."""
    options = {"trt_cuda_graph_enable": 1, "trt_context_memory_sharing_enable": 1}
    session = opened(model(OPEN, w=W), **options)
    for _ in range(3):
        bound(session, 3)
    (program,) = programs(session)
    shared = program._habits.shared
    shared.address(1 << 20)
    memory = shared._held
    replays = driver().counts["replays"]
    bound(session, 3)
    assert driver().counts["replays"] == replays
    for _ in range(2):
        bound(session, 3)
    assert driver().counts["replays"] == replays + 2
    assert shared._held is memory


def test_values_that_only_the_host_has_are_recorded_once_they_are_sent(trt):
    from runtime.abilities import Context

    session = opened(model(FIXED, w=W), trt_cuda_graph_enable=1)
    (program,) = programs(session)
    for _ in range(4):
        given = x()
        (result,) = program.run([given], [None], Context())
        got = np.empty(result.shape, result.dtype)
        driver().download(got, result.pointer, driver().stream())
        want = np.maximum(given @ W, 0)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_without_being_asked_nothing_is_recorded(trt):
    session = opened(model(FIXED, w=W))
    for _ in range(4):
        right(session, x())
    assert driver().counts["replays"] == 0


def test_trimming_gives_contexts_back_and_the_next_run_makes_one(trt):
    session = opened(model(FIXED, w=W))
    right(session, x())
    (program,) = programs(session)
    assert program.memory()["arena"] == 4096
    program.trim()
    assert program.memory()["arena"] == 0
    right(session, x())
    assert trt.counts["contexts"] == 2


def test_many_runs_of_mixed_shapes_take_no_more_memory(trt):
    session = opened(model(OPEN, w=W), trt_cuda_graph_enable=1, **SHAPES)
    for rows in (*range(1, 9),) * 2:
        right(session, x(rows))
    used = driver().space.used
    for rows in (*range(1, 9),) * 4:
        right(session, x(rows))
    assert driver().space.used == used


def test_a_build_that_fails_hands_the_partition_on(trt):
    trt.fails = "no tactic fits into the workspace"
    with pytest.warns(ort.FallbackWarning, match="no tactic fits"):
        session = opened(model(FIXED, w=W), CUDA)
    assert not programs(session)
    right(session, x())
    assert "no tactic fits" in str(session.explain())


def test_a_build_that_fails_later_hands_the_run_on(trt):
    session = opened(model(OPEN, w=W), CUDA)
    trt.fails = "no tactic fits into the workspace"
    with pytest.warns(ort.FallbackWarning, match="no tactic fits"):
        right(session, x())
    right(session, x(7))


def test_strict_makes_a_failed_build_an_error(trt):
    trt.fails = "no tactic fits into the workspace"
    settings = ort.SessionOptions()
    settings.add_session_config_entry("session.cost_rule", "0")
    with pytest.raises(Exception, match="no tactic fits"):
        ort.InferenceSession(
            model(FIXED, w=W).SerializeToString(),
            settings,
            providers=[NAME],
            strict=True,
        )


def test_a_run_is_an_event_of_the_profile(trt):
    from runtime.abilities import Context
    from runtime.trace import Trace

    session = opened(model(FIXED, w=W))
    (program,) = programs(session)
    trace = Trace()
    given = ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0)
    program.run(
        [given.value if hasattr(given, "value") else given._value],
        [None],
        Context(trace=trace),
    )
    assert any("engine" in str(event) for event in trace.events)


def test_a_stopped_run_begins_nothing(trt):
    from runtime.abilities import CancelFlag, Context
    from runtime.errors import Cancelled

    (program,) = programs(opened(model(FIXED, w=W)))
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        program.run([None], [None], Context(cancelled=flag))
    assert trt.counts["runs"] == 0


def test_what_an_engine_was_never_built_for_cannot_be_written(trt):
    (program,) = programs(opened(model(OPEN, w=W)))
    with pytest.raises(ExecutionError, match="no engine is built before"):
        program.export()


def test_the_answers_are_those_of_the_cpu_provider(trt):
    source = model(OPEN, w=W)
    given = {"x": x(3)}
    (got,) = opened(source).run(None, given)
    (want,) = alone(source).run(None, given)
    np.testing.assert_array_equal(got, want)


def test_a_callers_stream_is_what_runs_are_put_into(trt):
    stream = driver().stream()
    session = opened(model(OPEN, w=W), user_compute_stream=str(stream), **SHAPES)
    begun = [0]
    for rows in (1, 8, 3):
        right(session, x(rows))
        begun.append(driver().order.clocks[stream].get(stream, 0))
    assert begun == sorted(set(begun)), "more in it with every run"


class Caller:
    """Somebody who runs the only program of a session in streams of its own."""

    def __init__(self, session):
        (self.program,) = programs(session)
        self.device = driver()
        self.stream = self.device.stream()

    def run(self, value, stream=None):
        from runtime.abilities import Context
        from runtime.plugin import Device

        streams = {Device("cuda", 0): stream or self.stream}
        return self.program.run([value], [None], Context(streams=streams))[0]


def on_device():
    return ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0)._value


def test_what_runs_in_a_callers_stream_use_is_not_given_out_meanwhile(trt):
    caller = Caller(opened(model(FIXED, w=W)))
    value = on_device()
    made = caller.run(value)
    used = {value.pointer, made.pointer}
    del value, made
    held = [caller.program._pool.hold(80) for _ in range(6)]
    assert not used & {each.address for each in held}


@pytest.mark.parametrize("shared", [0, 1])
def test_a_callers_stream_may_be_gone_before_the_next_run(trt, shared):
    session = opened(model(FIXED, w=W), trt_context_memory_sharing_enable=shared)
    caller = Caller(session)
    value = on_device()
    for _ in range(3):
        stream = caller.device.stream()
        caller.run(value, stream)
        caller.device.gone(stream)
    caller.program.trim()
    right(session, x())


def test_a_stream_that_its_owner_captures_is_refused(trt):
    caller, value = Caller(opened(model(FIXED, w=W))), on_device()
    with (
        pytest.raises(ExecutionError, match="outside of the capture"),
        caller.device.recording(caller.stream),
    ):
        caller.run(value)
    caller.run(value)


def test_runs_as_usual_make_no_events(trt):
    session = opened(model(FIXED, w=W))
    right(session, x())
    before = driver().counts["events"]
    right(session, x())
    assert driver().counts["events"] == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_process_that_forks_off_while_a_session_is_opened_can_open_its_own():
    with sessions._state.lock:
        child = os.fork()
        if not child:
            os._exit(not sessions._state.lock.acquire(timeout=30))
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_runs_on_a_callers_stream_are_waited_for_by_the_next(trt):
    """What a run has begun in a stream of the caller's is in the context until it ends."""
    from runtime.abilities import Context
    from runtime.plugin import Device

    session = opened(model(FIXED, w=W))
    (program,) = programs(session)
    given = [ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0) for _ in range(4)]
    streams = [driver().stream() for _ in range(2)]
    results = []
    for number, value in enumerate(given):
        context = Context(streams={Device("cuda", 0): streams[number % 2]})
        results.append(program.run([value._value], [None], context)[0])
    for stream in streams:
        driver().synchronize(stream)
    for value, result in zip(given, results, strict=True):
        got = np.empty(result.shape, result.dtype)
        driver().download(got, result.pointer, streams[0])
        want = np.maximum(value.numpy() @ W, 0)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert trt.counts["contexts"] == 1


def test_a_run_that_fails_leaves_nothing_begun_behind(trt, monkeypatch):
    session = opened(model(OPEN, w=W), **SHAPES)
    right(session, x())
    (program,) = programs(session)
    kind = type(program._idle[0].run._context)
    monkeypatch.setattr(kind, "execute_async_v3", lambda self, stream_handle: False)
    with pytest.warns(ort.FallbackWarning, match="did not run the engine"):
        right(session, x())
    assert not program._idle


def test_streams_are_taken_in_turn(trt):
    for _ in range(3):
        session = opened(model(OPEN, w=W), **SHAPES)
        right(session, x())
        before = driver()._streams
        session.close()
    assert driver()._streams == before
