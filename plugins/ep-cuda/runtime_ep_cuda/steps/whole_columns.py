"""One number for each column or channel of sums: what they are worth, what is added."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from runtime_ep_cuda.dtypes import FLOAT, INT32, Dtype
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import shape_of
from runtime_ep_cuda.steps.whole_sources import Array, Weights
from runtime_ep_cuda.tensor import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of weights along an axis of theirs, ``laid`` as they lie under the result.

    ``scale`` is that of the other factor, ``zero`` its zero point; ``bias`` is in real
    numbers, one or one a column.
    """

    planner: Planner
    weights: Weights
    axis: int
    laid: tuple[int, ...]
    scale: float = 1.0
    zero: int = 0
    bias: Array | None = None

    def _made(
        self, word: str, make: Callable[[], Array], unit: float, dtype: Dtype
    ) -> Tensor:
        bias = None if self.bias is None else self.bias.tobytes()
        key: Hashable = (
            word, self.weights.key, self.axis, self.laid, self.scale, self.zero, bias,
            unit,
        )  # fmt: skip
        return self.planner.weight(
            self.weights.value,
            key,
            lambda _: make().reshape(self.laid),
            dtype,
        )

    def _worth(self) -> Array:
        count = (shape_of(self.weights.value) or (1,))[self.axis]
        scale = self.weights.scale.reshape(-1) * self.scale
        return np.broadcast_to(scale, (count,))

    def _totals(self) -> Array:
        """Return the sum of each column's weights."""
        array = self.weights.centred(self.axis)
        others = tuple(a for a in range(array.ndim) if a != self.axis)
        return np.asarray(array.sum(others, dtype=np.int64))

    def factor(self, unit: float) -> Tensor:
        """Return what a sum is worth in units."""
        return self._made("worth", lambda: self._worth() / unit, unit, FLOAT)

    def offset(self, unit: float) -> Tensor | None:
        """Return the bias, less what the zero point has added to the sums, in units."""
        if self.bias is None and not self.zero:
            return None

        def make() -> Array:
            made = np.zeros(self._worth().shape)
            if self.zero:
                made -= self._worth() * self.zero * self._totals()
            if self.bias is not None:
                made += self.bias
            return np.asarray(made / unit)

        return self._made("offset", make, unit, FLOAT)

    def totals(self) -> Tensor:
        """Return the sum of each column's weights as int32."""
        return self._made("totals", self._totals, 1.0, INT32)
