"""Models of one node, on the double and by the CPU provider's NumPy kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from models import model, node
from on_the_double import alone, error, opened, programs, share
from onnx import helper

Array = np.ndarray[Any, Any]


class Single:
    """One node over arrays; ``None`` is an input that is not given.

    Inputs in ``constant`` are initializers. Results are the first ``outputs``; those that
    are not ``wanted`` have no name. ``open`` says that no shape of the inputs is known.
    ``want`` are the results, where the CPU provider has no kernel.
    """

    def __init__(
        self,
        op: str,
        inputs: Sequence[Array | None],
        outputs: int = 1,
        *,
        domain: str = "com.microsoft",
        constant: Sequence[int] = (),
        opset: int = 21,
        wanted: Sequence[int] | None = None,
        open: bool = False,
        want: Sequence[Array] | None = None,
        **attributes: Any,
    ) -> None:
        names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
        arrays = {n: x for n, x in zip(names, inputs, strict=True) if x is not None}
        fixed = {f"x{i}": arrays[f"x{i}"] for i in constant}
        self.feed = {name: x for name, x in arrays.items() if name not in fixed}
        shown = range(outputs) if wanted is None else wanted
        results = [f"y{i}" if i in shown else "" for i in range(outputs)]
        made = node(op, names, results, domain=domain, **attributes)
        given = {
            name: (_kind(x), [None] * x.ndim if open else list(x.shape))
            for name, x in self.feed.items()
        }
        domains = {domain: 1} if domain else {}
        options = {"opset": opset, "domains": domains}
        bare = model(
            [made], given, {r: (1, None) for r in results if r}, fixed, **options
        )
        for value in bare.graph.output:
            value.ClearField("type")
        self.want = alone(bare).run(None, self.feed) if want is None else list(want)
        told = {
            name: (_kind(y), [None] * y.ndim)
            for name, y in zip([r for r in results if r], self.want, strict=True)
        }
        self.model = model([made], given, told, fixed, **options)

    def check(self, most: float = 2e-6) -> Any:
        """Compare, and have all of it on the device; return the session."""
        session = opened(self.model)
        assert share(session) == 1.0
        got = session.run(None, self.feed)
        for ours, theirs in zip(got, self.want, strict=True):
            assert ours.dtype == theirs.dtype
            assert error(ours, theirs) <= most
        return session

    def refusal(self) -> str:
        """Return why the node is not on the device."""
        session = opened(self.model)
        assert not programs(session)
        return str(session.explain())


def _kind(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def floats(random: Any, *shape: int, dtype: Any = np.float32) -> Array:
    """Return random numbers."""
    made: Array = random.standard_normal(shape).astype(dtype)
    return made
