"""Large memory is a process's own, and begins where a large page does."""

import os

import pytest

pytest.importorskip("llvmlite")

from runtime_ep_cpu.native.plan import huge


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
@pytest.mark.parametrize("size", [4096, 4 << 20])
def test_what_a_child_writes_its_parent_does_not_see(size):
    memory = huge(size)
    memory[:] = 1
    child = os.fork()
    if not child:
        memory[:] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (memory == 1).all()


@pytest.mark.parametrize("size", [1, 1000, 2 << 20, (4 << 20) + 1])
def test_memory_is_as_large_as_asked_for_and_aligned(size):
    memory = huge(size)
    assert memory.nbytes == size
    assert memory.ctypes.data % (64 if size < 2 << 20 else 2 << 20) == 0
