"""What makes no sense ends at once, in a result or in words, and touches no memory.

Each operator's call is spoiled in one place at a time: huge, negative and special
numbers, other ranks and lengths, attributes that do not exist.
"""

import contextlib
import resource
import signal

import onnx
import pytest
from evaluate import run_graph
from retyped import schemas, templates
from runtime.errors import EngineError
from runtime.model import from_proto
from spoiled import spoiled

pytestmark = pytest.mark.filterwarnings("error")

SECONDS = 5
KILOBYTES = 400_000
OPERATORS = sorted(templates())
INTERNAL = (
    "NoneType",
    "object at 0x",
    "has no attribute",
    "is not iterable",
    "unsupported operand",
    "to unpack",
    "tuple index",
    "list index",
    "C long",
    "zip()",
    "0-dimensional arrays",
    "0-d array",
    "no len()",
    "float infinity",
    "float NaN",
)


@contextlib.contextmanager
def deadline(what):
    def late(*_):
        raise TimeoutError(f"{what} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(call):
    node = onnx.NodeProto()
    node.CopyFrom(call.node)
    names = [f"x{n}" if x is not None else "" for n, x in enumerate(call.inputs)]
    node.input[:] = names
    graph = onnx.helper.make_graph(
        [node],
        "spoiled",
        [onnx.ValueInfoProto(name=name) for name in names if name],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    imports = [onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version())]
    if node.domain:
        version = schemas()[node.domain, node.op_type].since_version
        imports.append(onnx.helper.make_opsetid(node.domain, version))
    model = onnx.helper.make_model(graph, opset_imports=imports)
    given = [item for item in call.inputs if item is not None]
    return run_graph(from_proto(model).graph, given)


def check_words(error, call):
    told = str(error)
    cause = error.__cause__
    assert isinstance(cause, (ValueError, IndexError, MemoryError, OSError, type(None)))
    assert not any(leak in told for leak in INTERNAL), f"{call.what}: {told}"
    reason = told.split("': ", 1)[-1].split(" (inputs")[0]
    assert len(reason) > 12, f"{call.what}: {told}"


@pytest.mark.parametrize("key", OPERATORS, ids=":".join)
def test_nonsense_ends_in_words_and_at_once(key):
    calls = 0
    for call in spoiled(key):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with deadline(call.what):
            try:
                run(call)
            except EngineError as error:
                check_words(error, call)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < KILOBYTES, call.what
        calls += 1
    assert calls or not templates()[key].inputs
