"""Every example's kernels compile for every architecture, without spills where claimed."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from codegen.examples import collected
from runtime_ep_cuda.codegen.prelude import PRELUDE

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
TOGETHER = 24
"""Kernels in one program: few enough for an error to be found."""

if not find_spec("cupy") or not find_spec("nvidia"):
    pytest.skip("NVRTC and its headers are not installed", allow_module_level=True)

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


@pytest.fixture(scope="module")
def kernels():
    """Return the kernels of all examples, each once."""
    found = {}
    for example in collected():
        for kernel in example.kernels:
            assert found.setdefault(kernel.name, kernel) == kernel
    return list(found.values())


def headers():
    """Return the folders of CUDA's headers, as pip installs them."""
    import nvidia

    roots = [Path(root) for root in nvidia.__path__]
    return [str(path) for root in roots for path in root.glob("cu*/include")]


def compiled(text, architecture):
    """Compile for an architecture; return what the assembler tells."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, "kernels.cu", (), ())
    options = [f"-arch=sm_{architecture}", "-std=c++17", "--ptxas-options=-v"]
    options += [f"-I{folder}" for folder in headers()]
    try:
        nvrtc.compileProgram(program, tuple(options))
        assert nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    return nvrtc.getProgramLog(program)


def spilled(log):
    """Return the names of kernels that spill registers."""
    found, name = set(), ""
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            name = entry[1]
        elif (spills := _SPILLS.search(line)) and any(map(int, spills.groups())):
            found.add(name)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_and_spills_only_where_it_says_so(kernels, architecture):
    allowed = {kernel.name for kernel in kernels if kernel.spills}
    texts = [
        PRELUDE + "\n".join(kernel.text for kernel in kernels[start : start + TOGETHER])
        for start in range(0, len(kernels), TOGETHER)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = pool.map(lambda text: compiled(text, architecture), texts)
        found = set().union(*map(spilled, logs))
    assert found <= allowed
