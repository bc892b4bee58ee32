"""What makes no sense ends at once, in a result or in words, and touches no memory.

Each operator's call is spoiled in one place at a time: huge, negative and special
numbers, other ranks and lengths, attributes that do not exist.
"""

import contextlib
import resource
import signal

import pytest
from retyped import templates
from runtime.errors import EngineError
from spoiled import run, spoiled

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
