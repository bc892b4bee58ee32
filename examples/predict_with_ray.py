"""Run one model over a Ray data set: a Predictor is the function of ``map_batches``.

usage: python examples/predict_with_ray.py MODEL
Needs ``ray[data]``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import runtime as ort


class RayPredictor:
    """One actor's session: built on the worker from arguments that pickle."""

    def __init__(self, model: str, threads: int = 1) -> None:
        self._predict = ort.Predictor(model, threads=threads, passthrough=True)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._predict(batch)


def predict_dataset(
    model: str, dataset: Any, actors: int = 1, cpus: float = 0.5
) -> Any:
    """Return the data set with the model's outputs as further columns.

    ``cpus`` below 1 leaves room for Ray's own read tasks, which otherwise never start
    when the actors hold every CPU.
    """
    import ray

    return dataset.map_batches(
        RayPredictor,
        fn_constructor_args=(model,),
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=cpus,
        batch_size=64,
    )


def main() -> None:
    """Predict over a small table with a column ``x`` of four floats."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False)
    x = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    dataset = ray.data.from_numpy(x).rename_columns({"data": "x"})
    for row in predict_dataset(sys.argv[1], dataset).take(3):
        print(row)


if __name__ == "__main__":
    main()
