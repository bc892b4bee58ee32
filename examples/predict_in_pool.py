"""Run one model in every core of the machine: a Predictor in a process pool.

usage: python examples/predict_in_pool.py MODEL [PROCESSES]
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import runtime as ort

_predictor: ort.Predictor | None = None


def open_predictor(predictor: ort.Predictor) -> None:
    """Keep the process's own copy; its session opens at the first batch."""
    global _predictor
    _predictor = predictor


def predict(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run one batch in a worker."""
    assert _predictor is not None
    return _predictor(batch)


def predict_all(
    predictor: ort.Predictor, batches: list[dict[str, np.ndarray]], processes: int
) -> list[dict[str, np.ndarray]]:
    """Return the results of all batches, in order."""
    with ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=open_predictor,
        initargs=(predictor,),
    ) as pool:
        return list(pool.map(predict, batches))


def main() -> None:
    """Feed random batches of the model's own shapes."""
    model = sys.argv[1]
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
    predictor = ort.Predictor(model, threads=1)
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(4 * processes):
        feed = {}
        for arg in predictor.session.get_inputs():
            shape = [dim if isinstance(dim, int) else 4 for dim in arg.shape]
            feed[arg.name] = rng.standard_normal(shape).astype(np.float32)
        batches.append(feed)
    for index, result in enumerate(predict_all(predictor, batches, processes)):
        print(index, {name: array.shape for name, array in result.items()})


if __name__ == "__main__":
    main()
