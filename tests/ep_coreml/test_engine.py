"""How Core ML is used, against a stand-in for it: loading, plans, hints, runs side by side.

What is true of Core ML itself is in test_apple.py; this holds on any system.
"""

import threading
import types
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from runtime_ep_coreml import engine
from runtime_ep_coreml.engine import CoreMl
from runtime_ep_coreml.options import Choice

CHOICE = Choice("CPU_AND_GPU", "FP32", "none", 17)


class MLCPUComputeDevice:
    pass


class MLNeuralEngineComputeDevice:
    pass


class StandIn:
    """As much of coremltools as the engine uses; counts what is asked of it."""

    def __init__(self):
        self.compiled, self.loaded, self.used_by_two = [], [], False
        self.macos, self.written = (15, 1), "compiled"
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class CompiledMLModel:
            def __init__(self, path, units, optimization_hints=None):
                outer.loaded.append((path, units, optimization_hints))
                assert Path(path).is_dir()
                if (Path(path) / "model.mil").read_text() != "compiled":
                    raise RuntimeError("it is of another system")
                if optimization_hints is not None and outer.macos < (15, 0):
                    raise ValueError("hints need macOS 15")
                self._busy = threading.Lock()

            def predict(self, feed):
                if not self._busy.acquire(blocking=False):
                    outer.used_by_two = True
                    raise RuntimeError("used by two")
                try:
                    outer.gate.wait(5)
                    return {"out_0": feed["in_0"]}
                finally:
                    self._busy.release()

        self.ComputeUnit = {"CPU_AND_GPU": "cpu and gpu"}
        self.SpecializationStrategy = types.SimpleNamespace(FastPrediction="fast")
        plan = types.SimpleNamespace(load_from_path=lambda path, units: _Plan())
        self.models = types.SimpleNamespace(
            CompiledMLModel=CompiledMLModel,
            compute_plan=types.SimpleNamespace(MLComputePlan=plan),
            utils=types.SimpleNamespace(compile_model=self._compile),
        )

    def _compile(self, package, destination):
        self.compiled.append(package)
        Path(destination).mkdir()
        (Path(destination) / "model.mil").write_text(self.written)
        return destination


class _Plan:
    """Three operations: two on the Neural Engine, one on the CPU, and one unknown."""

    def __init__(self):
        names = ["conv", "relu", "softmax", "const"]
        operations = [types.SimpleNamespace(operator_name=name) for name in names]
        main = types.SimpleNamespace(block=types.SimpleNamespace(operations=operations))
        program = types.SimpleNamespace(functions={"main": main})
        self.model_structure = types.SimpleNamespace(program=program)

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        device = {
            "conv": MLNeuralEngineComputeDevice(),
            "relu": MLNeuralEngineComputeDevice(),
            "softmax": MLCPUComputeDevice(),
        }.get(operation.operator_name)
        return device and types.SimpleNamespace(preferred_compute_device=device)


@pytest.fixture
def tools(monkeypatch):
    made = StandIn()
    monkeypatch.setattr(engine, "coremltools", lambda: made)
    monkeypatch.setattr(engine, "macos", lambda: made.macos)
    monkeypatch.setattr(engine, "system", lambda: ".".join(map(str, made.macos)))
    engine.warn_of_hints.cache_clear()
    return made


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "model.mlpackage"
    folder.mkdir()
    return folder


def test_a_package_is_compiled_once_and_kept(tools, package, tmp_path):
    kept = tmp_path / "cache" / "ab" / "abc.mlmodelc"
    CoreMl(package, CHOICE, kept)
    CoreMl(package, CHOICE, kept)
    assert len(tools.compiled) == 1
    assert (kept / "model.mil").read_text() == "compiled"
    assert {path for path, _, _ in tools.loaded} == {str(kept)}
    assert list(kept.parent.iterdir()) == [kept]


def test_without_a_cache_it_lies_beside_the_package(tools, package):
    CoreMl(package, CHOICE, None)
    ((path, units, hints),) = tools.loaded
    assert path == str(package.with_suffix(".mlmodelc"))
    assert (units, hints) == ("cpu and gpu", None)


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(
    tools, package, tmp_path
):
    (tmp_path / "cache").write_text("a file")
    made = CoreMl(package, CHOICE, tmp_path / "cache" / "abc.mlmodelc")
    assert made.predict({"in_0": 1}) == {"out_0": 1}


def test_hints_are_those_that_were_asked_for(tools, package):
    CoreMl(
        package, replace(CHOICE, fast_prediction=True, low_precision_sums=True), None
    )
    assert tools.loaded[0][2] == {
        "specializationStrategy": "fast",
        "allowLowPrecisionAccumulationOnGPU": True,
    }


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"fast_prediction": True}, "specializationStrategy"),
        ({"low_precision_sums": True}, "allowLowPrecisionAccumulationOnGPU"),
    ],
    ids=str,
)
def test_before_macos_15_a_model_runs_without_hints_and_it_is_told_once(
    tools, package, given, name
):
    tools.macos = (14, 7)
    asked = replace(CHOICE, **given)
    with pytest.warns(UserWarning, match=rf"{name} needs macOS 15.0.*this is 14.7"):
        made = CoreMl(package, asked, None)
    assert tools.loaded[0][2] is None
    assert made.predict({"in_0": 1}) == {"out_0": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CoreMl(package.with_name("other.mlpackage"), asked, None)


def test_a_kept_model_that_does_not_load_is_compiled_anew(tools, package, tmp_path):
    kept = tmp_path / "cache" / "abc.mlmodelc"
    kept.mkdir(parents=True)
    (kept / "model.mil").write_text("of another system")
    made = CoreMl(package, CHOICE, kept)
    assert made.predict({"in_0": 1}) == {"out_0": 1}
    assert (kept / "model.mil").read_text() == "compiled"
    assert [path for path, _, _ in tools.loaded] == [str(kept)] * 2
    CoreMl(package, CHOICE, kept)
    assert len(tools.compiled) == 1


def test_what_was_compiled_just_now_is_not_compiled_once_more(
    tools, package, monkeypatch, tmp_path
):
    monkeypatch.setattr(tools, "written", "nothing that loads")
    with pytest.raises(RuntimeError, match="of another system"):
        CoreMl(package, CHOICE, tmp_path / "abc.mlmodelc")
    assert len(tools.compiled) == len(tools.loaded) == 1


def test_a_plan_that_cannot_be_had_costs_the_plan_alone(tools, package, monkeypatch):
    def failing(path, units):
        raise RuntimeError("MLComputePlan needs macOS 14.4\nand more")

    plans = tools.models.compute_plan.MLComputePlan
    monkeypatch.setattr(plans, "load_from_path", failing)
    made = CoreMl(package, replace(CHOICE, plan=True), None)
    assert made.facts["plan"] == "not available: MLComputePlan needs macOS 14.4"
    assert made.predict({"in_0": 1}) == {"out_0": 1}


def test_the_plan_counts_operations_by_device(tools, package):
    assert "plan" not in CoreMl(package, CHOICE, None).facts
    made = CoreMl(package, replace(CHOICE, plan=True), package.with_suffix(".mlmodelc"))
    assert made.facts["plan"] == "NeuralEngine 2, CPU 1"


def test_runs_side_by_side_have_a_model_each(tools, package):
    made = CoreMl(package, CHOICE, None)
    tools.gate.clear()
    results = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(made.predict({"in_0": n})))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    while len(tools.loaded) < 3:
        pass
    tools.gate.set()
    for thread in threads:
        thread.join()
    assert sorted(result["out_0"] for result in results) == [0, 1, 2]
    assert not tools.used_by_two
    made.predict({"in_0": 1})
    assert len(tools.loaded) == 3, "models that are idle are used again"
    made.trim()
    assert len(made._idle) == 1
    made.close()
    assert not made._idle
