"""What a session runs: layers, one after another, on values in the device's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from runtime.abilities import Context
from runtime.errors import Cancelled
from runtime.match import Match
from runtime.plugin import Partition

from runtime_ep_acme.memory import Buffer, Transfer


class Layers:
    """Computes Relu(x @ w + b) for each layer of a partition.

    It keeps nothing of a run, so several threads may run it at once: ``concurrent``.
    ``weights`` tells that each initializer was copied, and the host's may go; ``facts``
    are shown by ``session.explain()``.
    """

    concurrent = True

    def __init__(
        self, partition: Partition, layers: Sequence[Match], accumulate: str
    ) -> None:
        self._inputs, self._outputs = partition.inputs, partition.outputs
        self._steps = [
            (match["x"], match["w"], match["b"], match.root.outputs[0])
            for match in layers
        ]
        self._wide = np.dtype(accumulate)
        self._transfer = Transfer(partition.device)
        self._weights = {
            value: self._transfer(value.constant()) for value in partition.constants
        }
        self.weights = {value.name: "repacked" for value in partition.constants}
        self.facts = {"accumulate": accumulate}

    def run(
        self,
        inputs: Sequence[Buffer],
        outputs: Sequence[Buffer | None],
        context: Context,
    ) -> list[Buffer]:
        """Run every layer; then fill the buffers that the caller gave for results."""
        values = {**self._weights, **dict(zip(self._inputs, inputs, strict=True))}
        for x, w, b, y in self._steps:
            if context.stopped():
                raise Cancelled(f"stopped before {y.name!r} was computed, as asked")
            values[y] = self._layer(values[x], values[w], values[b])
        results = [values[value] for value in self._outputs]
        return [
            made if given is None else self._transfer.copy(made, given)
            for made, given in zip(results, outputs, strict=True)
        ]

    def _layer(self, x: Buffer, w: Buffer, b: Buffer) -> Buffer:
        """Do what the device's own kernel would do; the result is in new memory."""
        product = np.matmul(x.data, w.data, dtype=self._wide)
        sums = np.asarray(product + b.data, np.float32)
        return Buffer(np.maximum(sums, np.float32(0)), x.device)

    def memory(self) -> Mapping[str, int]:
        """Return the bytes held on the device between runs."""
        return {"weights": sum(buffer.nbytes for buffer in self._weights.values())}
