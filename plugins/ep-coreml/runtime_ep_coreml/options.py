"""A session's options as Core ML's: units, precision, compression and sizes of dims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from runtime.settings import Settings

from runtime_ep_coreml.dims import Sizes, read_dims

Units = Literal["ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]

_UNITS: Mapping[str, Units] = {
    "ALL": "ALL",
    "CPUOnly": "CPU_ONLY",
    "CPUAndGPU": "CPU_AND_GPU",
    "CPUAndNeuralEngine": "CPU_AND_NE",
}
_TARGETS = {"macOS14": 17, "macOS15": 18}


@dataclass(frozen=True, slots=True)
class Choice:
    """What one session asked for.

    ``units`` is a name of coremltools' ``ComputeUnit``; ``target`` is the number of the
    ``iOS`` release whose operations may be used, 17 or 18.
    """

    units: Units
    precision: Literal["FP32", "FP16"]
    compression: str
    target: int
    static: bool = False
    bodies: bool = False
    fast_prediction: bool = False
    low_precision_sums: bool = False
    plan: bool = False
    cache: str = ""
    dims: Mapping[str, Sizes] = field(default_factory=dict)

    @property
    def package(self) -> tuple[object, ...]:
        """What the package depends on, whatever loads it."""
        dims = sorted((name, repr(sizes)) for name, sizes in self.dims.items())
        return self.precision, self.compression, self.target, dims


def chosen(settings: Settings) -> Choice:
    """Return what a session's settings ask for."""
    options = settings.options
    return Choice(
        units=_UNITS[options["MLComputeUnits"]],
        precision=options["Precision"],
        compression=options["WeightCompression"],
        target=_TARGETS[options["MinimumDeploymentTarget"]],
        static=options["RequireStaticInputShapes"],
        bodies=options["EnableOnSubgraphs"],
        fast_prediction=options["SpecializationStrategy"] == "FastPrediction",
        low_precision_sums=options["AllowLowPrecisionAccumulationOnGPU"],
        plan=options["ProfileComputePlan"],
        cache=options["ModelCacheDirectory"],
        dims=read_dims(options["DimBounds"]),
    )
