"""onnxruntime's options of its Core ML provider: read, checked and mapped."""

import dataclasses

import pytest
from runtime.errors import OptionError
from runtime.providers import typed_options
from runtime.settings import Settings
from runtime_ep_coreml.dims import Sizes, read_dims
from runtime_ep_coreml.info import OPTIONS, info
from runtime_ep_coreml.options import Choice, chosen

ONNXRUNTIMES = {
    "ModelFormat", "MLComputeUnits", "RequireStaticInputShapes", "EnableOnSubgraphs",
    "SpecializationStrategy", "ProfileComputePlan", "ModelCacheDirectory",
    "AllowLowPrecisionAccumulationOnGPU",
}  # fmt: skip


OLDER = "NeuralNetwork"


def choice(**given) -> Choice:
    return chosen(Settings(options=typed_options(info, given)))


def test_every_option_of_onnxruntime_is_there():
    assert set(OPTIONS) >= ONNXRUNTIMES


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({}, "units", "ALL"),
        ({"MLComputeUnits": "CPUOnly"}, "units", "CPU_ONLY"),
        ({"MLComputeUnits": "CPUAndGPU"}, "units", "CPU_AND_GPU"),
        ({"MLComputeUnits": "CPUAndNeuralEngine"}, "units", "CPU_AND_NE"),
        ({"MLComputeUnits": "CPU_ONLY"}, "units", "CPU_ONLY"),
        ({"MLComputeUnits": "CPU_AND_GPU"}, "units", "CPU_AND_GPU"),
        ({"ModelFormat": "MLProgram"}, "precision", "FP32"),
        ({"RequireStaticInputShapes": "1"}, "static", True),
        ({"EnableOnSubgraphs": "1"}, "bodies", True),
        ({"SpecializationStrategy": "FastPrediction"}, "fast_prediction", True),
        ({"ProfileComputePlan": "1"}, "plan", True),
        ({"AllowLowPrecisionAccumulationOnGPU": "1"}, "low_precision_sums", True),
        ({"ModelCacheDirectory": "/tmp/x"}, "cache", "/tmp/x"),
        ({"Precision": "fp16"}, "precision", "FP16"),
        ({"WeightCompression": "palettize4"}, "compression", "palettize4"),
        ({}, "target", 17),
        ({"MinimumDeploymentTarget": "macOS15"}, "target", 18),
        ({"DimBounds": "n=1..8"}, "dims", {"n": Sizes(1, 8)}),
    ],
)
def test_an_option_becomes_a_choice(given, field, value):
    assert getattr(choice(**given), field) == value


def test_nothing_is_asked_for_by_default():
    assert choice() == Choice("ALL", "FP32", "none", 17)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"MLComputeUnits": "GPU"}, "expected one of ALL, CPUOnly"),
        ({"MLComputeUnit": "ALL"}, "did you mean 'MLComputeUnits'"),
        ({"ModelFormat": "ONNX"}, "expected one of MLProgram"),
        ({"RequireStaticInputShapes": "maybe"}, "expected true or false"),
        ({"DimBounds": "n=4..2"}, "expected 1 <= low <= high"),
        ({"DimBounds": "n=0..2"}, "expected 1 <= low <= high"),
        ({"DimBounds": "n=1.."}, "is no bound; write name=low..high"),
        ({"DimBounds": "n"}, "is no bound"),
        ({"WeightCompression": "int4"}, "expected one of none, int8"),
        ({"Precision": "BF16"}, "expected one of FP32, FP16"),
    ],
    ids=str,
)
def test_a_mistake_is_an_error_that_says_what_to_write(given, told):
    with pytest.raises(OptionError, match=told):
        choice(**given)


def test_the_older_format_is_accepted_and_says_what_is_made():
    with pytest.warns(UserWarning, match="an ML Program is") as told:
        settings = Settings(options=typed_options(info, {"ModelFormat": OLDER}))
        assert {repr(chosen(settings)) for _ in range(3)} == {repr(choice())}
    assert len(told) == 1, "once for a session, however many partitions it has"
    assert not issubclass(told[0].category, DeprecationWarning), "Python hides these"


def test_dims_are_ranges_or_counted():
    assert read_dims("batch=1..8, seq=32|16|16,w=7") == {
        "batch": Sizes(1, 8),
        "seq": Sizes(16, 32, (16, 32)),
        "w": Sizes(7, 7, (7,)),
    }
    assert read_dims("batch=1..8;seq=4") == read_dims("batch=1..8, seq=4")
    assert read_dims("") == {}
    assert Sizes(1, 8).admits(8)
    assert not Sizes(1, 8).admits(9)
    assert not Sizes(16, 32, (16, 32)).admits(20)


def test_a_package_depends_on_what_is_in_it_and_on_nothing_else():
    default = choice()
    for given in (
        {"Precision": "FP16"},
        {"WeightCompression": "int8"},
        {"MinimumDeploymentTarget": "macOS15"},
        {"DimBounds": "n=1..4"},
    ):
        assert choice(**given).package != default.package
    assert dataclasses.replace(default, plan=True).package == default.package
