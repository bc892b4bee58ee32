"""Plans are made once for each combination of shapes, recorded, replayed and forgotten."""

import contextlib
import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import runtime as ort
from double.host import HostDriver
from models import FLOAT, INT64, dense, dense_reference, model, node
from on_the_double import driver, opened, programs
from runtime.errors import LimitExceeded
from runtime_ep_cuda.driver import Unrecordable
from runtime_ep_cuda.plan import MOST_MISSES, MOST_RECORDINGS
from runtime_ep_cuda.program import MOST_PLANS

RNG = np.random.default_rng(3)


def x(rows=5):
    return RNG.standard_normal((rows, 4)).astype(np.float32)


def test_the_second_run_of_a_shape_is_recorded_and_the_third_is_one_launch(cuda):
    session = opened(dense())
    for _ in range(2):
        given = x()
        got = session.run(None, {"x": given})[0]
        np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    counts = driver().counts
    before = counts["replays"]
    given = x()
    got = session.run(None, {"x": given})[0]
    np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    assert counts["replays"] == before + 1


def test_without_graphs_nothing_is_recorded(cuda):
    session = opened(dense(), enable_cuda_graph=0)
    for _ in range(4):
        session.run(None, {"x": x()})
    assert driver().counts["replays"] == 0


def test_a_new_shape_is_a_new_plan_and_no_new_code(cuda):
    session = opened(dense())
    (program,) = programs(session)
    session.run(None, {"x": x(300)})
    kernels = set(program._functions)
    for rows in (301, 500, 900):
        given = x(rows)
        got = session.run(None, {"x": given})[0]
        np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    assert len(program._plans) == 4
    assert set(program._functions) == kernels


def test_plans_of_shapes_not_seen_for_long_are_forgotten(cuda):
    session = opened(dense())
    (program,) = programs(session)
    for rows in range(1, MOST_PLANS + 4):
        session.run(None, {"x": x(rows)})
    assert len(program._plans) == MOST_PLANS
    given = x(1)
    got = session.run(None, {"x": given})[0]
    np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)


def test_mixed_shapes_take_no_more_memory_with_time(cuda):
    session = opened(dense())
    for rows in (*range(1, MOST_PLANS + 5),) * 2:
        session.run(None, {"x": x(rows)})
    used = driver().space.used
    for rows in (*range(1, MOST_PLANS + 5),) * 3:
        session.run(None, {"x": x(rows)})
    assert driver().space.used == used


def test_callers_whose_memory_moves_about_are_served_from_memory_of_the_plans_own(cuda):
    session = opened(dense())
    kept = []
    for _ in range(MOST_MISSES + 6):
        given = x()
        value = ort.OrtValue.ortvalue_from_numpy(given, "cuda", 0)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value)
        binding.bind_output("y", "cuda")
        session.run_with_iobinding(binding)
        kept += [value, *binding.get_outputs()]
        got = binding.copy_outputs_to_cpu()[0]
        np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    (program,) = programs(session)
    (plan,) = program._plans.values()
    assert plan.home
    assert len(plan.recordings) <= MOST_RECORDINGS + 1


@pytest.mark.parametrize("graphs", [0, 1])
@pytest.mark.parametrize("off", [(4, 0), (0, 4), (8, 12)])
def test_memory_that_vectors_cannot_be_read_from_is_copied_first(cuda, graphs, off):
    session = opened(dense(), enable_cuda_graph=graphs)
    device, launched = driver(), []
    launch = device.launch

    def noted(function, grid, block, shared, arguments, stream):
        launched.extend(arguments)
        launch(function, grid, block, shared, arguments, stream)

    device.launch = noted
    memory = device.allocate(1024)
    source, target = (memory + 512 * n + more for n, more in enumerate(off))
    for _ in range(4):
        given, got = x(), np.zeros(dense_reference(x()).shape, np.float32)
        device.upload(source, given, 0)
        device.synchronize(0)
        binding = session.io_binding()
        binding.bind_input("x", "cuda", 0, np.float32, given.shape, source)
        binding.bind_output("y", "cuda", 0, np.float32, got.shape, target)
        session.run_with_iobinding(binding)
        device.download(got, target, 0)
        np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    assert not {source, target} & set(launched)
    assert bool(device.counts["replays"]) == bool(graphs)


def test_where_no_memory_is_left_for_copies_runs_go_on_as_they_did(cuda, monkeypatch):
    session = opened(dense())
    (program,) = programs(session)
    allocate = program._pool.allocate

    def full(size, note="values"):
        if note.startswith("copies"):
            raise LimitExceeded("gpu_mem_limit is reached")
        return allocate(size, note)

    monkeypatch.setattr(program._pool, "allocate", full)
    kept = []
    for _ in range(2 * MOST_MISSES + 3):
        given = x()
        value = ort.OrtValue.ortvalue_from_numpy(given, "cuda", 0)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value)
        binding.bind_output("y", "cuda")
        session.run_with_iobinding(binding)
        kept += [value, *binding.get_outputs()]
        got = binding.copy_outputs_to_cpu()[0]
        np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    (plan,) = program._plans.values()
    assert not plan.home
    assert len(plan.seen) <= MOST_MISSES + 1


def test_what_cannot_be_recorded_is_run_as_it_was_before(cuda, monkeypatch):
    session = opened(dense())
    device, tried = driver(), []

    @contextlib.contextmanager
    def recording(stream):
        tried.append(stream)
        yield []
        raise Unrecordable("operation not permitted when stream is capturing")

    monkeypatch.setattr(device, "recording", recording)
    for _ in range(MOST_MISSES + 4):
        given = x()
        got = session.run(None, {"x": given})[0]
        np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)
    assert len(tried) == 1
    assert device.counts["replays"] == 0


def test_what_decides_a_shape_is_part_of_what_a_plan_is_made_for(cuda):
    reshaped = model(
        [node("Reshape", ["x", "s"], ["r"]), node("Softmax", ["r"], ["y"])],
        {"x": (FLOAT, [2, 6]), "s": (INT64, [2])},
        {"y": (FLOAT, None)},
    )
    session = opened(reshaped)
    (program,) = programs(session)
    given = RNG.standard_normal((2, 6)).astype(np.float32)
    for shape in ((3, 4), (4, 3), (-1, 2), (3, 4)):
        got = session.run(None, {"x": given, "s": np.array(shape)})[0]
        wide = np.exp(given.reshape(shape).astype(np.float64))
        np.testing.assert_allclose(got, wide / wide.sum(-1, keepdims=True), rtol=1e-5)
    assert len(program._plans) == 3


def test_shape_arithmetic_between_layers_cuts_nothing(cuda):
    flattened = model(
        [
            node("Relu", ["x"], ["a"]),
            node("Shape", ["a"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Reshape", ["a", "t"], ["r"]),
            node("Softmax", ["r"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 2, 3])},
        {"y": (FLOAT, None)},
        {"zero": np.array([0]), "rest": np.array([-1])},
    )
    session = opened(flattened, simplified=False)
    assert len(programs(session)) == 1
    for rows in (2, 5):
        given = RNG.standard_normal((rows, 2, 3)).astype(np.float32)
        got = session.run(None, {"x": given})[0]
        wide = np.exp(np.maximum(given, 0).reshape(rows, 6).astype(np.float64))
        np.testing.assert_allclose(got, wide / wide.sum(-1, keepdims=True), rtol=1e-5)


def test_threads_may_run_one_session_at_once(cuda):
    session = opened(dense())
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(5):
            given = rng.standard_normal((int(rng.integers(1, 6)), 4)).astype(np.float32)
            got = session.run(None, {"x": given})[0]
            if not np.allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sessions_that_are_gone_leave_nothing_on_the_device(cuda):
    held = []
    for _ in range(5):
        session = opened(dense())
        session.run(None, {"x": x()})
        del session
        gc.collect()
        held.append(driver().space.used)
    assert held == held[:1] * 5  # what copies need stays, and is the device's


def test_a_limit_that_weights_exceed_is_a_clear_reason_and_the_cpu_answers(cuda):
    wide = model(
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": (FLOAT, [1, 512])},
        {"y": (FLOAT, [1, 1024])},
        {"w": RNG.standard_normal((512, 1024)).astype(np.float32)},
    )
    with pytest.warns(ort.FallbackWarning, match=r"gpu_mem_limit is 1\.0 MiB"):
        session = opened(wide, gpu_mem_limit=1 << 20)
    given = RNG.standard_normal((1, 512)).astype(np.float32)
    assert session.run(None, {"x": given})[0].shape == (1, 1024)


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, 1 << 30),
        ({"gpu_mem_limit": 64 << 20}, 64 << 20),
        ({"gpu_mem_limit": 64 << 20, "cudnn_conv_use_max_workspace": 0}, 32 << 20),
    ],
)
def test_no_library_is_asked_for_more_scratch_memory_than_there_may_be(
    cuda, monkeypatch, tmp_path, given, most
):
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path))
    limits = set()
    candidates = HostDriver.candidates

    def noted(self, operation, limit, *rest):
        limits.add(limit)
        return candidates(self, operation, limit, *rest)

    monkeypatch.setattr(HostDriver, "candidates", noted)
    opened(dense(), **given).run(None, {"x": x()})
    assert limits == {most}


@pytest.mark.parametrize("wanted", [False, True])
def test_sessions_that_must_be_deterministic_tell_the_libraries(
    cuda, monkeypatch, tmp_path, wanted
):
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path))
    asked = set()
    candidates = HostDriver.candidates

    def noted(self, operation, limit, most, deterministic):
        asked.add(deterministic)
        return candidates(self, operation, limit, most, deterministic)

    monkeypatch.setattr(HostDriver, "candidates", noted)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    options.use_deterministic_compute = wanted
    session = ort.InferenceSession(
        dense(), options, providers=["CUDAExecutionProvider"]
    )
    session.run(None, {"x": x()})
    assert asked == {wanted}


def test_profiles_name_what_each_launch_was_for(cuda, tmp_path):
    import json

    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = ort.InferenceSession(
        dense(), options, providers=["CUDAExecutionProvider"]
    )
    session.run(None, {"x": x()})
    events = json.loads(Path(session.end_profiling()).read_text())
    own = [
        e for e in events if e.get("args", {}).get("provider", "").startswith("CUDA")
    ]
    assert {event["args"]["op_name"] for event in own} == {"MatMul", "Softmax"}


def test_a_longer_past_plans_only_what_sees_it(cuda):
    from benchmarks.zoo import ZOO

    entry = ZOO["gpt2"]
    session = opened(entry.build("tiny"))
    (program,) = programs(session)
    planned = []

    def counted(step):
        def plan(planner, group):
            planned.append(group)
            step(planner, group)

        return plan

    program._walk = [(group, counted(step)) for group, step in program._walk]
    session.run(None, entry.feeds("tiny", batch=1, sequence=1, past=7))
    assert len(planned) == len(program._walk)
    planned.clear()
    session.run(None, entry.feeds("tiny", batch=1, sequence=1, past=8))
    seeing = {node.op_type for group in planned for node in group.nodes}
    assert {"Concat", "Attention"} <= seeing
    assert not {"Gemm", "LayerNormalization", "Gelu"} & seeing
    assert len(planned) < len(program._walk) / 3


def test_bound_memory_of_another_shape_is_left_alone_and_told(cuda):
    session = opened(dense())
    small = ort.OrtValue.ortvalue_from_numpy(np.full((2, 3), 7, np.float32), "cuda", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0))
    binding.bind_ortvalue_output("y", small)
    with pytest.raises(RuntimeError, match=r"\[5, 3\].*\[2, 3\]"):
        session.run_with_iobinding(binding)
    np.testing.assert_array_equal(small.numpy(), np.full((2, 3), 7, np.float32))
