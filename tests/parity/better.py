"""What is better than in onnxruntime: each with a probe that fails there and passes here.

The items are those of the reference's list of defects. A probe answers the same question
of both runtimes; ``wanted`` is what a user would have wanted, and what is true here.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from models import FLOAT, model, node
from of_modules import alone
from outcomes import Probe
from samples import (
    BRANCHES,
    FIXED,
    MODEL,
    X,
    compiler,
    options,
    session,
    value,
    written,
)


class Improvement(NamedTuple):
    """One thing that is better: the name it belongs to, what, and how it shows."""

    name: str
    what: str
    probe: Probe
    wanted: Any


def _warned(ort: Any, providers: Any) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _fresh(ort)
        ort.InferenceSession(MODEL, options(ort), providers=providers)
    return [w for w in caught if issubclass(w.category, RuntimeWarning)]


def _fresh(ort: Any) -> None:
    """Let warnings that come once per process come again."""
    if ort.__name__ == "runtime":
        from runtime.explain import forget_warnings

        forget_warnings()


def _kind(use: Any) -> str:
    """Return the kind of error something ends with; ``""`` for none."""
    try:
        use()
    except ValueError:
        return "ValueError"
    except Exception as error:
        return type(error).__name__
    return ""


def _text(use: Any) -> str:
    try:
        use()
    except Exception as error:
        return str(error)
    return ""


def _printed(use: Any) -> str:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.suppress(Exception),
    ):
        use()
    return out.getvalue()


def _session_of(ort: Any, *arguments: Any, **keywords: Any) -> Any:
    return lambda: ort.InferenceSession(MODEL, options(ort), *arguments, **keywords)


def _identity(code: int) -> bytes:
    return model(
        [node("Identity", ["x"], ["y"])],
        {"x": (code, [2, 3])},
        {"y": (code, [2, 3])},
        opset=19,
    ).SerializeToString()


def _through(ort: Any, dtype: Any, code: int) -> Any:
    array = np.ones((2, 3), dtype)
    (made,) = session(ort, _identity(code)).run(None, {"x": array})
    return str(made.dtype), made.astype(np.float32).tolist()


class _Tensor:
    """A tensor of another library: it speaks DLPack and is no array."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def _rebound(ort: Any) -> Any:
    made = session(ort)
    binding = made.io_binding()
    binding.bind_output("y")
    shapes = []
    for rows in (2, 5):
        binding.bind_cpu_input("x", np.ones((rows, 3), np.float32))
        made.run_with_iobinding(binding)
        shapes.append(binding.copy_outputs_to_cpu()[0].shape)
    return shapes


def _unwritten(ort: Any) -> Any:
    """Return which bad updates of a value are refused."""
    return [
        bool(_kind(lambda bad=bad: value(ort).update_inplace(bad)))
        for bad in (X.astype(np.int32), X.reshape(3, 2))
    ]


def _survives(ort: Any) -> Any:
    made = session(ort)
    with contextlib.suppress(Exception):
        made.set_providers(["NobodyExecutionProvider"])
    with contextlib.suppress(Exception):
        made.set_providers([("CPUExecutionProvider", {})], [{}])
    return made.run(None, {"x": X})[0].shape


def _swapped(ort: Any) -> Any:
    """Return what a session does after its providers could not be replaced."""
    path = written("swapped.onnx", FIXED)
    made = ort.InferenceSession(path, options(ort))
    Path(path).unlink()
    with contextlib.suppress(Exception):
        made.set_providers(["CPUExecutionProvider"])
    return made.run(None, {"x": X})[0].shape


def _narrow(ort: Any) -> Any:
    made = ort.RunOptions()
    made.only_execute_path_to_fetches = True
    feed = {"x": np.ones(4, np.float32), "shape": np.array([3])}
    return session(ort, BRANCHES).run(["a"], feed, made)[0].shape


def _uneven(ort: Any) -> Any:
    """Return which warnings name both sizes of a dim."""
    summed = model(
        [node("Add", ["a", "b"], ["y"])],
        {"a": (FLOAT, ["n", 1]), "b": (FLOAT, ["n"])},
        {"y": (FLOAT, ["n", "n"])},
    ).SerializeToString()
    feed = {"a": np.ones((2, 1), np.float32), "b": np.ones(3, np.float32)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _fresh(ort)
        session(ort, summed).run(None, feed)
    return ["'n' is 2 in the input 'a' and 3 in 'b'" in str(w.message) for w in caught]


def _beside(ort: Any) -> Any:
    path = written("model.onnx", FIXED)
    compiler(ort, path).compile_to_file()
    return (Path(path).parent / "model_ctx.onnx").exists()


def _unknown_key(ort: Any, method: str, made: Any) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(made, method)("session.intra_op.allow_spining", "0")
    return ["did you mean" in str(w.message) for w in caught]


def _unimplemented() -> bytes:
    return model(
        [node("Foo", ["x"], ["y"], domain="strange")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        domains={"strange": 1},
    ).SerializeToString()


_THREADS = (
    "import os\n"
    "tasks = '/proc/self/task'\n"
    "print(len(os.listdir(tasks)) if os.path.isdir(tasks) else 1)"
)

ITEMS = [
    Improvement(
        "InferenceSession",
        "a provider that cannot run is told by a RuntimeWarning with the reason",
        lambda ort: len(_warned(ort, ["CUDAExecutionProvider", "CPUExecutionProvider"])),
        1,
    ),
    Improvement(
        "InferenceSession",
        "strict mode refuses to run elsewhere than asked",
        lambda ort: _kind(_session_of(ort, ["CUDAExecutionProvider"], strict=True)),
        "EPFail",
    ),
    Improvement(
        "InferenceSession",
        "a mistake in the providers is an error, not a session on the host",
        lambda ort: _kind(_session_of(ort, [("CPUExecutionProvider", {})], [{}])),
        "ValueError",
    ),
    Improvement(
        "InferenceSession",
        "a misspelt provider is an error that names the near match",
        lambda ort: "did you mean" in _text(_session_of(ort, ["CUDAExecutionProvidr"])),
        True,
    ),
    Improvement(
        "InferenceSession",
        "nothing is printed to the standard output",
        lambda ort: _printed(_session_of(ort, ["CUDAExecutionProvidr"])),
        "",
    ),
    Improvement(
        "InferenceSession",
        "an unknown keyword is an error",
        lambda ort: _kind(_session_of(ort, no_such_keyword=1)),
        "TypeError",
    ),
    Improvement(
        "InferenceSession",
        "a session can be pickled: it is built again from its model and options",
        lambda ort: pickle.loads(pickle.dumps(session(ort))).run(None, {"x": X})[0].shape,
        [2, 3],
    ),
    Improvement(
        "InferenceSession",
        "who runs each node, and why others do not, can be asked",
        lambda ort: [node.op_type for node in session(ort, FIXED).explain().nodes],
        ["Mul"],
    ),
    Improvement(
        "disable_telemetry_events",
        "importing starts no thread",
        lambda ort: alone(ort, _THREADS),
        "1",
    ),
    Improvement(
        "InferenceSession.set_providers",
        "a failure leaves the session as it was",
        _survives,
        [2, 3],
    ),
    Improvement(
        "InferenceSession.set_providers",
        "a failure to read the model again leaves the session as it was",
        _swapped,
        [2, 3],
    ),
    Improvement(
        "InferenceSession.run",
        "an error about the element type names the input",
        lambda ort: "input: x" in _text(
            lambda: session(ort).run(None, {"x": X.astype(np.float64)})
        ),
        True,
    ),
    Improvement(
        "InferenceSession.run",
        "sizes that differ where the model has one name for them are told",
        _uneven,
        [True],
    ),
    Improvement(
        "InferenceSession.run",
        "every fault of the feed is told at once",
        lambda ort: [
            f"input: {name}" in _text(
                lambda: session(ort, BRANCHES).run(None, {"x": X, "shape": X})
            )
            for name in ("x", "shape")
        ],
        [True, True],
    ),
    Improvement(
        "InferenceSession.run",
        "arrays of the other byte order are read rightly",
        lambda ort: session(ort, FIXED).run(None, {"x": X.astype(">f4")})[0].tolist(),
        (2 * X).tolist(),
    ),
    Improvement(
        "InferenceSession.run",
        "bfloat16 goes in and out as ml_dtypes arrays",
        lambda ort: _through(ort, ml_dtypes.bfloat16, 16),
        ["bfloat16", np.ones((2, 3)).tolist()],
    ),
    Improvement(
        "InferenceSession.run",
        "floats of 8 bits go in and out as ml_dtypes arrays",
        lambda ort: _through(ort, ml_dtypes.float8_e4m3fn, 17),
        ["float8_e4m3fn", np.ones((2, 3)).tolist()],
    ),
    Improvement(
        "InferenceSession.run",
        "tensors of any library that speaks DLPack are taken as they are",
        lambda ort: session(ort, FIXED).run(None, {"x": _Tensor(X.copy())})[0].tolist(),
        (2 * X).tolist(),
    ),
    Improvement(
        "InferenceSession.get_provider_graph_assignment_info",
        "no config entry has to be set beforehand",
        lambda ort: len(session(ort, FIXED).get_provider_graph_assignment_info()),
        1,
    ),
    Improvement(
        "InferenceSession.run_async",
        "it needs no pool of several threads",
        lambda ort: session(ort, intra_op_num_threads=1).run_async(
            None, {"x": X}, lambda *_: None, None
        ),
        None,
    ),
    Improvement(
        "InferenceSession.run_with_ort_values",
        "arrays are taken too",
        lambda ort: session(ort).run_with_ort_values(None, {"x": X})[0].shape(),
        [2, 3],
    ),
    Improvement(
        "IOBinding.bind_output",
        "memory of the runtime's own grows with the output, without binding again",
        _rebound,
        [[2, 3], [5, 3]],
    ),
    Improvement(
        "IOBinding.bind_cpu_input",
        "tensors of any library that speaks DLPack can be bound",
        lambda ort: session(ort).io_binding().bind_cpu_input("x", _Tensor(X.copy())),
        None,
    ),
    Improvement(
        "OrtValue.update_inplace",
        "another shape or element type is refused",
        _unwritten,
        [True, True],
    ),
    Improvement(
        "OrtValue.numpy",
        "bfloat16 comes as an ml_dtypes array",
        lambda ort: str(
            ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
                np.full(2, 0x3F80, np.uint16), 16
            )
            .numpy()
            .dtype
        ),
        "bfloat16",
    ),
    Improvement(
        "OrtValue.from_dlpack",
        "NumPy reads values by DLPack, its newest version included",
        lambda ort: bool(value(ort).__dlpack__(max_version=(1, 0))),
        True,
    ),
    Improvement(
        "OrtDevice.make",
        "an unknown device is a ValueError, not a bare Exception",
        lambda ort: _kind(lambda: ort.OrtDevice.make("foo", 0)),
        "ValueError",
    ),
    Improvement(
        "RunOptions.only_execute_path_to_fetches",
        "nodes that what is asked for does not need are left out",
        _narrow,
        [4],
    ),
    Improvement(
        "SessionOptions.add_session_config_entry",
        "an unknown key warns with the near match",
        lambda ort: _unknown_key(
            ort, "add_session_config_entry", ort.SessionOptions()
        ),
        [True],
    ),
    Improvement(
        "SessionOptions.add_external_initializers",
        "initializers inside the model can be replaced as well",
        lambda ort: _replaced(ort),
        (5 * X).tolist(),
    ),
    Improvement(
        "ModelCompiler.compile_to_file",
        "without a path the model is written beside the one compiled",
        _beside,
        True,
    ),
    Improvement(
        "copy_tensors",
        "values are copied on the host too",
        lambda ort: _copied(ort),
        X.tolist(),
    ),
    Improvement(
        "get_available_providers",
        "what is available has a device here",
        lambda ort: sorted(
            {*ort.get_available_providers()} - {d.ep_name for d in ort.get_ep_devices()}
        ),
        [],
    ),
    Improvement(
        "capi.NotImplemented",
        "an operator that nobody runs is told with its types and each one's reason",
        lambda ort: "tensor(float)[2]" in _text(
            lambda: ort.InferenceSession(_unimplemented(), options(ort))
        ),
        True,
    ),
    Improvement(
        "capi.Fail",
        "exceptions have a base of their own, which is a RuntimeError",
        lambda ort: isinstance(_error(lambda: session(ort, "/nowhere")), RuntimeError),
        True,
    ),
]  # fmt: skip


def _error(use: Any) -> BaseException | None:
    try:
        use()
    except Exception as error:
        return error
    return None


def _copied(ort: Any) -> Any:
    target = value(ort, np.zeros_like(X))
    ort.copy_tensors([value(ort)], [target])
    return target.numpy().tolist()


def _replaced(ort: Any) -> Any:
    kept = value(ort, np.full(3, 5, np.float32))
    made = options(ort)
    made.add_external_initializers(["k"], [kept])
    return ort.InferenceSession(FIXED, made).run(None, {"x": X})[0].tolist()
