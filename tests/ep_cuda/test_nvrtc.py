"""NVRTC compiles kernels in batches for every kind of GPU, and tells what they take."""

import pytest

pytest.importorskip("cupy", reason="CuPy is not installed; nox -s cuda has it")

from runtime.cache import CompileCache
from runtime_ep_cuda import nvrtc
from runtime_ep_cuda.codegen.kernel import Kernel

TEXT = """__device__ float helper(float v) { return v * NUMBER; }
extern "C" __global__ void __launch_bounds__(256)
scaled_NUMBER(const rt_f16* x, float* y, int n) {
  extern __shared__ float4 rt_shared[];
  __shared__ float kept[64];
  int i = blockIdx.x * 256 + threadIdx.x;
  kept[threadIdx.x & 63] = i;
  __syncthreads();
  if (i < n) y[i] = helper(rt_wide(x[i])) + kept[63 - (i & 63)];
}"""


def kernel(number):
    text = TEXT.replace("NUMBER", str(number))
    return Kernel(f"scaled_{number}", text, ("pointer", "pointer", "i32"))


@pytest.mark.parametrize("sm", [75, 80, 86, 89, 90, 100, 120])
def test_a_program_has_machine_code_for_a_gpu(sm):
    program = nvrtc.program_of([kernel(0), kernel(1)], sm)
    assert program.startswith(b"\x7fELF")
    assert b"scaled_0" in program
    assert b"scaled_1" in program


def test_a_newer_gpu_gets_what_its_driver_translates():
    assert b".entry scaled_0" in nvrtc.program_of([kernel(0)], 999)


def test_an_older_one_is_refused():
    with pytest.raises(RuntimeError, match="compute capability 7.5 and newer"):
        nvrtc.program_of([kernel(0)], 61)


def test_a_report_tells_registers_and_shared_memory():
    told = nvrtc.report(kernel(3), 90)
    assert 4 < told.registers < 32
    assert (told.spills, told.stack, told.shared) == (0, 0, 256)


def test_a_report_tells_spills():
    text = (
        'extern "C" __global__ void __launch_bounds__(1024) many(float* y, int n) {'
        "float v[200];"
        "for (int k = 0; k < 200; ++k) v[k] = y[k * n];"
        "for (int r = 0; r < n; ++r)"
        "  for (int k = 0; k < 200; ++k) v[k] = v[k] * v[(k + 7) % 200];"
        "for (int k = 0; k < 200; ++k) y[k * n] = v[k]; }"
    )
    told = nvrtc.report(Kernel("many", text, ("pointer", "i32"), 1024, True), 90)
    assert told.spills + told.stack > 0


def test_what_does_not_compile_is_told_with_its_line():
    wrong = Kernel("wrong", 'extern "C" __global__ void wrong() {\n  nonsense;\n}', ())
    with pytest.raises(RuntimeError, match=r"wrong\(2\).*nonsense"):
        nvrtc.program_of([wrong], 90)


def test_programs_are_kept_on_disk(tmp_path, monkeypatch):
    cache = CompileCache(tmp_path)
    kernels = [kernel(n) for n in range(6)]
    first = nvrtc.compiled(kernels, 90, cache)
    monkeypatch.setattr(nvrtc, "program_of", None)
    again = nvrtc.compiled(kernels, 90, cache)
    assert {p: sorted(n) for p, n in first} == {p: sorted(n) for p, n in again}


def test_kernels_with_the_same_helpers_compile_as_one_program():
    from test_texts import kernels

    assert nvrtc.program_of(kernels(), 90)
