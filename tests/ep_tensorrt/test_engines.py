"""Engines are kept and found again, and what is kept but of no use is built anew."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from runtime_ep_tensorrt import capability, engines
from runtime_ep_tensorrt.orders import BuildFailed
from runtime_ep_tensorrt.records import Damaged, Files, packed, unpacked, write
from tensorrt_double import plans
from trt_models import RNG, model
from trt_sessions import NAME, opened, programs

W = RNG.standard_normal((16, 16)).astype(np.float32)
TEXT = "(float[n,16] x) => (float[n,16] y) { a = MatMul(x, w) y = Relu(a) }"
SHAPES = {
    "trt_profile_min_shapes": "x:1x16",
    "trt_profile_opt_shapes": "x:4x16",
    "trt_profile_max_shapes": "x:8x16",
}


def source(weight=W):
    made = model(TEXT, w=weight)
    made.graph.name = "my net/1"
    return made


def run(session, rows=3):
    x = RNG.standard_normal((rows, 16)).astype(np.float32)
    (got,) = session.run(None, {"x": x})
    np.testing.assert_allclose(got, np.maximum(x @ W, 0), rtol=1e-4, atol=1e-5)


def kept(folder, **options):
    """Return a session that keeps engines as files in a folder."""
    given = {"trt_engine_cache_enable": 1, "trt_engine_cache_path": str(folder)}
    return opened(source(), **{**given, **SHAPES, **options})


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def facts(session):
    return programs(session)[0].facts


# the compile cache


def test_a_second_session_builds_nothing(trt):
    run(opened(source(), **SHAPES))
    second = opened(source(), **SHAPES)
    run(second)
    assert trt.counts["builds"] == 1
    assert facts(second)["source"] == "loaded from the engine cache"


def test_a_second_session_begins_with_the_range_that_the_first_has_grown(trt):
    first = opened(source())
    for rows in (3, 7, 1):
        run(first, rows)
    assert trt.counts["builds"] == 3
    second = opened(source())
    for rows in (1, 7, 4):
        run(second, rows)
    assert trt.counts["builds"] == 3


def test_engines_for_other_ranges_stay_beside_each_other(trt):
    wide = {**SHAPES, "trt_profile_max_shapes": "x:64x16"}
    for options in (SHAPES, wide, SHAPES, wide, {}, {}):
        run(opened(source(), **options))
    assert trt.counts["builds"] == 3


def test_without_a_cache_every_session_builds(trt):
    for count in (1, 2):
        run(opened(source(), entries={"session.cache": "0"}, **SHAPES))
        assert trt.counts["builds"] == count


@pytest.mark.parametrize(
    "options",
    [
        {"trt_fp16_enable": 1},
        {"trt_builder_optimization_level": 5},
        {"trt_max_workspace_size": 1 << 20},
        {"trt_engine_hw_compatible": 1},
        {"version_compatible": 1},
        {"trt_sparsity_enable": 1},
    ],
    ids=str,
)
def test_another_way_of_building_is_another_engine(trt, options):
    opened(source(), **SHAPES)
    opened(source(), **SHAPES, **options)
    assert trt.counts["builds"] == 2


def test_other_plugins_are_another_engine(trt, tmp_path):
    library = tmp_path / "plugin.so"
    library.touch()
    opened(source(), **SHAPES)
    opened(source(), trt_extra_plugin_lib_paths=str(library), **SHAPES)
    assert trt.counts["builds"] == 2


def test_other_weights_are_another_engine(trt):
    opened(source(), **SHAPES)
    opened(source(-W), **SHAPES)
    assert trt.counts["builds"] == 2


def test_a_damaged_entry_is_built_anew(trt):
    opened(source(), **SHAPES)
    for path in Path(os.environ["RUNTIME_CACHE_DIR"]).rglob("*.bin"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="checksum"):
        run(opened(source(), **SHAPES))
    assert trt.counts["builds"] == 2
    run(opened(source(), **SHAPES))
    assert trt.counts["builds"] == 2


def test_sessions_that_are_opened_at_once_build_one_engine(trt):
    """Each holds a lock on the entry while it builds, as other processes would."""
    begun = threading.Barrier(3)

    def work():
        begun.wait()
        run(opened(source(), **SHAPES))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trt.counts["builds"] == 1


# files


def test_files_are_called_as_onnxruntime_calls_them(trt, tmp_path):
    kept(tmp_path)
    engine, profile = files(tmp_path)
    begin = f"{NAME}_TRTKernel_graph_my_net_1_"
    assert engine.startswith(begin)
    assert engine.endswith("_0_0_sm90.engine")
    assert profile == engine.replace(".engine", ".profile")
    assert plans.read((tmp_path / engine).read_bytes()), "it is as TensorRT takes it"
    told = json.loads((tmp_path / profile).read_text())
    assert told["tensorrt"] == trt.version
    assert told["capability"] == "90"
    assert told["profiles"][0]["shapes"]["x"] == [[1, 16], [4, 16], [8, 16]]
    if os.name == "posix":
        assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"trt_fp16_enable": 1}, "_0_0_fp16_sm90.engine"),
        ({"trt_bf16_enable": 1}, "_0_0_bf16_sm90.engine"),
        ({"trt_engine_hw_compatible": 1}, "_0_0_sm80+.engine"),
        ({"trt_weight_stripped_engine_enable": 1}, "_0_0_sm90.stripped.engine"),
    ],
    ids=str,
)
def test_names_tell_what_an_engine_is(trt, tmp_path, options, end):
    kept(tmp_path, **options)
    assert files(tmp_path)[0].endswith(end)


def test_a_prefix_takes_the_providers_place(trt, tmp_path):
    kept(tmp_path, trt_engine_cache_prefix="mine")
    assert all(name.startswith("mine_") for name in files(tmp_path))


def test_files_are_found_again(trt, tmp_path):
    run(kept(tmp_path))
    second = kept(tmp_path)
    run(second)
    assert trt.counts["builds"] == 1
    assert facts(second)["source"] == "loaded from the engine cache"


def test_other_profiles_force_another_build(trt, tmp_path, caplog):
    kept(tmp_path)
    run(kept(tmp_path, trt_profile_max_shapes="x:16x16"), 16)
    assert trt.counts["builds"] == 2
    assert "its profiles are others" in caplog.text
    assert len(files(tmp_path)) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def junk(path):
    path.write_bytes(b"{}")


def gone(path):
    path.unlink()


def other_version(path):
    if path.suffix == ".profile":
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "tensorrt": "10.0.1"}))


def other_gpu(path):
    if path.suffix == ".profile":
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "capability": "75"}))


@pytest.mark.parametrize("suffix", [".engine", ".profile"])
@pytest.mark.parametrize("spoil", [cut, junk, gone])
def test_spoiled_files_are_built_anew(trt, tmp_path, spoil, suffix):
    kept(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    spoil(path)
    run(kept(tmp_path))
    assert trt.counts["builds"] == 2
    run(kept(tmp_path))
    assert trt.counts["builds"] == 2


@pytest.mark.parametrize(
    ("spoil", "told"),
    [(other_version, "by TensorRT 10.0.1"), (other_gpu, "for compute capability 75")],
)
def test_engines_of_another_version_or_gpu_are_built_anew(
    trt, tmp_path, caplog, spoil, told
):
    kept(tmp_path)
    for path in tmp_path.iterdir():
        spoil(path)
    run(kept(tmp_path))
    assert trt.counts["builds"] == 2
    assert told in caplog.text


def test_an_engine_that_tensorrt_does_not_take_is_built_anew(trt, tmp_path, caplog):
    """The description is right and the checksum too, and yet the plan is another's."""
    kept(tmp_path)
    (path,) = tmp_path.glob("*.engine")
    store = Files(tmp_path, path.stem)
    record = store.get()
    head, inner = plans.read(record.engine)
    foreign = plans.written({**head, "version": "10.3.0"}, inner)
    store.put(
        type(record)(
            record.key, record.version, record.capability, record.ranges, foreign
        )
    )
    run(kept(tmp_path))
    assert trt.counts["builds"] == 2
    assert "the plan is of version 10.3.0" in caplog.text


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(
    trt, tmp_path, caplog
):
    blocked = tmp_path / "file"
    blocked.write_text("here is a file")
    run(kept(blocked))
    assert "is not kept" in caplog.text


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path, monkeypatch, caplog):
    write(tmp_path / "one", b"before")

    def fails(*told):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fails)
    write(tmp_path / "one", b"after")
    assert (tmp_path / "one").read_bytes() == b"before"
    assert files(tmp_path) == ["one"]
    assert "is not kept: the disk is full" in caplog.text


def test_records_come_back_as_they_were(trt, tmp_path):
    kept(tmp_path)
    (path,) = tmp_path.glob("*.engine")
    record = Files(tmp_path, path.stem).get()
    assert unpacked(packed(record)) == record
    for wrong in (b"", b"RTTE1", packed(record)[:-1], b"x" + packed(record)):
        with pytest.raises(Damaged):
            unpacked(wrong)


# how engines are built


def test_options_become_settings_of_the_builder(trt):
    opened(
        source(),
        trt_max_workspace_size=1 << 20,
        trt_builder_optimization_level=5,
        trt_auxiliary_streams=0,
        trt_sparsity_enable=1,
        trt_detailed_build_log=1,
        trt_dla_enable=1,
        trt_dla_core=1,
        trt_engine_hw_compatible=1,
        version_compatible=1,
        trt_tactic_sources="-JIT_CONVOLUTIONS",
        trt_preview_features="ALIASED_PLUGIN_IO_10_03",
        **SHAPES,
    )
    config, api = trt.last, trt.module
    assert config._limits == {api.MemoryPoolType.WORKSPACE: 1 << 20}
    assert config.builder_optimization_level == 5
    assert config.max_aux_streams == 0
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert config.profiling_verbosity.name == "DETAILED"
    assert (config.default_device_type.name, config.DLA_core) == ("DLA", 1)
    assert {flag.name for flag in config._flags} == {
        "TF32", "SPARSE_WEIGHTS", "VERSION_COMPATIBLE", "GPU_FALLBACK",
    }  # fmt: skip
    assert not config._sources >> int(api.TacticSource.JIT_CONVOLUTIONS) & 1
    assert config._sources >> int(api.TacticSource.EDGE_MASK_CONVOLUTIONS) & 1
    assert {each.name for each in config._features} == {"ALIASED_PLUGIN_IO_10_03"}


def test_what_eleven_has_dropped_is_left_out_with_a_warning(trt):
    options = {
        "trt_tactic_sources": "-CUDNN",
        "trt_preview_features": "PROFILE_SHARING_0806",
    }
    if trt.major == 10:
        opened(source(), **SHAPES, **options)
        assert not trt.last._sources >> int(trt.module.TacticSource.CUDNN) & 1
    else:
        with pytest.warns(UserWarning, match="has no (CUDNN|PROFILE)") as found:
            opened(source(), **SHAPES, **options)
        told = [str(each.message) for each in found]
        assert sum("TensorRT 11.4.0.106 has no" in text for text in told) == 2
        run(opened(source(), **SHAPES))


def test_halves_are_in_the_model_and_no_flag_of_the_builder(trt):
    session = opened(source(), trt_fp16_enable=1, **SHAPES)
    assert {flag.name for flag in trt.last._flags} == {"TF32"}
    assert facts(session)["precision"] == "fp16"
    assert facts(session)["islands"] == "0 of 2 nodes"
    x = RNG.standard_normal((3, 16)).astype(np.float32)
    (got,) = session.run(None, {"x": x})
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.maximum(x @ W, 0), rtol=2e-3, atol=2e-2)
    assert not np.allclose(got, np.maximum(x @ W, 0), rtol=1e-6, atol=1e-7)


def test_engines_without_weights_get_them_from_the_model(trt, tmp_path):
    run(kept(tmp_path, trt_weight_stripped_engine_enable=1))
    (path,) = tmp_path.glob("*.engine")
    assert W.tobytes() not in path.read_bytes()
    run(kept(tmp_path, trt_weight_stripped_engine_enable=1))
    assert trt.counts["builds"] == 1


def test_weights_may_be_handed_over_apart_from_the_model(trt):
    run(opened(source(), trt_load_user_initializer=1, **SHAPES))
    assert trt.counts["builds"] == 1


LARGE = "(float[n,20] x) => (float[n,20] y) {" + "".join(
    f" {made} = MatMul({read}, w{index})"
    for index, (read, made) in enumerate(("xa", "ab", "bc", "cy"))
) + " }"  # fmt: skip


@pytest.mark.parametrize(("most", "asked"), [(3_500, 2), (1_000, 0)])
def test_models_of_more_bytes_than_protobuf_writes_are_asked_about_and_built(
    trt, monkeypatch, most, asked
):
    """Four weights of 1,600 bytes: two fit into one question, or none."""
    weights = [RNG.standard_normal((20, 20)).astype(np.float32) for _ in range(4)]
    made = model(LARGE, **{f"w{i}": weight for i, weight in enumerate(weights)})
    monkeypatch.setattr(capability, "LARGEST", most)
    monkeypatch.setattr(engines, "LARGEST", most)
    monkeypatch.setattr(trt, "largest", 4_500)
    session = opened(made)
    x = RNG.standard_normal((3, 20)).astype(np.float32)
    (got,) = session.run(None, {"x": x})
    want = x @ weights[0] @ weights[1] @ weights[2] @ weights[3]
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)
    assert (trt.counts["asked"], trt.counts["builds"]) == (asked, 1)
    assert len(programs(session)) == 1
    changed = model(LARGE, **{f"w{i}": -weight for i, weight in enumerate(weights)})
    opened(changed).run(None, {"x": x})
    assert trt.counts["builds"] == 2, "weights apart from the model are in the key"


@pytest.mark.slow
def test_weights_of_more_than_two_gigabytes_are_told_apart():
    made = onnx.ModelProto()
    for index in range(3):
        tensor = made.graph.initializer.add(name=f"w{index}", data_type=1)
        tensor.dims.append(200_000_000)
        tensor.raw_data = bytes(800_000_000)
    weights, rest = engines._apart(made, wanted=False)
    assert [array.nbytes for array in weights.values()] == [800_000_000] * 3
    assert len(rest) < 1_000


def test_an_engine_without_weights_is_filled_with_those_kept_apart(trt):
    options = {"trt_weight_stripped_engine_enable": 1, "trt_load_user_initializer": 1}
    weight = RNG.standard_normal((20, 20)).astype(np.float32)
    made = model("(float[3,20] x) => (float[3,20] y) { y = MatMul(x, w) }", w=weight)
    x = RNG.standard_normal((3, 20)).astype(np.float32)
    (got,) = opened(made, **options).run(None, {"x": x})
    np.testing.assert_allclose(got, x @ weight, rtol=1e-4, atol=1e-5)
    assert trt.counts["builds"] == 1


def test_a_timing_cache_saves_timing_in_later_builds(trt, tmp_path):
    options = {"trt_timing_cache_enable": 1, "trt_timing_cache_path": str(tmp_path)}
    opened(source(), **SHAPES, **options)
    assert files(tmp_path) == [f"{NAME}_cache_sm90.timing"]
    timed = trt.counts["timed"]
    assert timed
    opened(source(-W), **SHAPES, **options)
    assert trt.counts["builds"] == 2
    assert trt.counts["timed"] == timed


@pytest.mark.parametrize("forced", [False, True])
def test_a_timing_cache_of_another_gpu_is_begun_anew_unless_forced(
    trt, tmp_path, forced
):
    path = tmp_path / f"{NAME}_cache_sm90.timing"
    path.write_text("9.9.9 sm90\nMatMul:2:False\nRelu:1:False")
    options = {
        "trt_timing_cache_enable": 1,
        "trt_timing_cache_path": str(tmp_path),
        "trt_force_timing_cache": forced,
    }
    if forced:
        opened(source(), **SHAPES, **options)
    else:
        with pytest.warns(UserWarning, match="it is begun anew"):
            opened(source(), **SHAPES, **options)
    assert bool(trt.counts["timed"]) is not forced
    assert path.read_text().startswith(f"{trt.version} sm90")


def test_a_timing_cache_that_is_damaged_is_begun_anew(trt, tmp_path):
    path = tmp_path / f"{NAME}_cache_sm90.timing"
    path.write_bytes(b"\x00\xff junk" * 9)
    options = {"trt_timing_cache_enable": 1, "trt_timing_cache_path": str(tmp_path)}
    with pytest.warns(UserWarning, match="the timing cache is damaged"):
        run(opened(source(), **SHAPES, **options))
    assert path.read_text().startswith(f"{trt.version} sm90")


@pytest.mark.parametrize("call", ["begin", "step", "end"])
def test_what_interrupts_a_build_is_raised_when_tensorrt_has_returned(
    trt, monkeypatch, call
):
    """Nothing may be raised through a library that knows no exceptions of Python's."""
    from runtime_ep_tensorrt.progress import Bar

    def interrupted(self, *told):
        raise KeyboardInterrupt("by the user")

    monkeypatch.setattr(Bar, call, interrupted)
    with pytest.raises(KeyboardInterrupt, match="by the user"):
        opened(source(), **SHAPES)
    assert not trt.raised
    monkeypatch.undo()
    run(opened(source(), **SHAPES))


def test_a_log_that_fails_stops_nothing(trt):
    import logging

    class Failing(logging.Handler):
        def emit(self, record):
            if record.getMessage() == "a builder":  # what TensorRT's double says
                raise OSError("the log is full")

    logger, handler = logging.getLogger("runtime.tensorrt"), Failing()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        run(opened(source(), **SHAPES))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert trt.counts["builds"] == 1


def test_a_terminal_that_is_gone_stops_no_build():
    from runtime_ep_tensorrt.progress import Bar

    class Gone:
        def isatty(self):
            return True

        def write(self, text):
            raise BrokenPipeError

    bar = Bar("net", Gone())
    bar.begin("Building", "", 1)
    assert bar.step("Building", 0)
    bar.end("Building")


def test_subgraphs_are_written_as_tensorrt_gets_them(trt, tmp_path):
    folder = str(tmp_path)
    opened(source(), trt_dump_subgraphs=1, trt_engine_cache_path=folder, **SHAPES)
    (path,) = tmp_path.glob("*.onnx")
    made = onnx.load(path)
    assert [node.op_type for node in made.graph.node] == ["MatMul", "Relu"]
    onnx.checker.check_model(made, full_check=True)


def test_plugins_are_loaded_or_missed(trt, tmp_path):
    library = tmp_path / "plugin.so"
    library.touch()
    run(opened(source(), trt_extra_plugin_lib_paths=str(library), **SHAPES))
    with pytest.warns(Warning, match="none.so cannot be loaded"):
        opened(source(), trt_extra_plugin_lib_paths="/none.so", **SHAPES)


def test_a_version_compatible_engine_is_taken_by_a_later_minor_version(
    trt, tmp_path, monkeypatch
):
    data = programs(opened(source(), version_compatible=1, **SHAPES))[0].export()
    from runtime_ep_tensorrt import adapter

    major = trt.version.partition(".")[0]
    monkeypatch.setattr(trt, "version", f"{major}.99.0")
    engine = adapter.opened().load(unpacked(data).engine, is_trusted=True)
    assert engine.bindings["x"].is_input
    with pytest.raises(BuildFailed, match="engine_host_code_allowed"):
        adapter.opened().load(unpacked(data).engine)


def test_quantised_models_run_in_8_bits_and_others_say_that_they_do_not(trt):
    with pytest.warns(UserWarning, match="the model is not quantised"):
        opened(source(), trt_int8_enable=1, **SHAPES)
    text = (
        "(float[2,16] x) => (float[2,16] y) { q = QuantizeLinear(x, s, z)"
        " d = DequantizeLinear(q, s, z) a = MatMul(d, w) y = Relu(a) }"
    )
    quantised = model(text, w=W, s=np.array(0.05, np.float32), z=np.array(0, np.int8))
    session = opened(quantised, trt_int8_enable=1)
    assert len(programs(session)) == 1
    x = RNG.standard_normal((2, 16)).astype(np.float32)
    (got,) = session.run(None, {"x": x})
    rounded = np.clip(np.round(x / 0.05), -128, 127) * np.float32(0.05)
    np.testing.assert_allclose(got, np.maximum(rounded @ W, 0), rtol=1e-3, atol=1e-4)


def test_a_build_tells_how_it_goes_on():
    import io

    from runtime_ep_tensorrt.progress import Bar

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shows in ((Terminal(), True), (io.StringIO(), False)):
        bar = Bar("net", stream)
        bar.begin("Building", "", 2)
        bar.begin("Tactics", "Building", 3)
        assert bar.step("Tactics", 0)
        bar.end("Tactics")
        assert bar.step("Building", 0)
        bar.end("Building")
        told = stream.getvalue()
        assert ("50% Building" in told) is shows
        assert ("Building, Tactics" in told) is shows
        assert told.endswith("\r\x1b[K") is shows
