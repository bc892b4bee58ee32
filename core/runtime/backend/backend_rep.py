"""A model made ready, in the form ONNX's backend interface gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.backend.base import BackendRep

import runtime

_SETTABLE = frozenset(
    {
        "log_severity_level",
        "log_verbosity_level",
        "logid",
        "only_execute_path_to_fetches",
    }
)


class RuntimeBackendRep(BackendRep):  # type: ignore[misc]
    """A session that is run with a list of inputs."""

    def __init__(self, session: runtime.InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **options: Any) -> list[Any]:
        """Run once with a list, one value for each input, or a value for the only one.

        Keywords are run options. Raises ``RuntimeError`` for one that may not be set here
        and for a single value where there are several inputs.
        """
        from runtime.backend.backend import apply

        made = runtime.RunOptions()
        apply(made, options, _SETTABLE)
        names = [arg.name for arg in self._session.get_inputs()]
        if not isinstance(inputs, (list, tuple)):
            if len(names) != 1:
                raise RuntimeError(f"Model expect {len(names)} inputs")
            inputs = [inputs]
        arrays = [np.asarray(v) if isinstance(v, np.generic) else v for v in inputs]
        return self._session.run(None, dict(zip(names, arrays, strict=False)), made)
