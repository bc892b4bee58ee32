"""The host's stand-in for CUDA computes what a device would, and stops what it would not."""

import ml_dtypes
import numpy as np
import pytest
from double.launching import new, run
from runtime_ep_cuda.codegen.kernel import Kernel, Launch
from runtime_ep_cuda.tensor import Buffer, Tensor

F16, BF16 = np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)


def kernel(name, parameters, body, threads=256):
    """Return a kernel of one text; parameters are pairs of a word and a declaration."""
    declared = ", ".join(text for _, text in parameters)
    return Kernel(
        name,
        f'extern "C" __global__ void __launch_bounds__({threads}) {name}({declared}) '
        f"{{{body}}}",
        tuple(word for word, _ in parameters),
        threads,
    )


def mapped(driver, name, body, x, dtype, threads=64, blocks=1, **options):
    """Return y of a kernel ``(const X* x, Y* y, int n)`` over an array."""
    c = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float",
         "float64": "double", "int32": "int", "uint32": "unsigned", "int64": "long long",
         "uint16": "unsigned short"}  # fmt: skip
    x = np.asarray(x)
    parameters = (
        ("pointer", f"const {c[x.dtype.name]}* __restrict__ x"),
        ("pointer", f"{c[np.dtype(dtype).name]}* __restrict__ y"),
        ("i32", "int n"),
    )
    made = kernel(name, parameters, body, threads)
    source, target = new(x.dtype, x.shape), new(dtype, x.shape)
    launch = Launch(made, (blocks, 1, 1), (threads, 1, 1), (source, target, x.size))
    return run(driver, [launch], [(source, x)], [target], **options)[0]


EACH = (
    "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * 64) "
)


def every_half():
    return np.arange(1 << 16, dtype=np.uint16)


def floats_to_round():
    """Return floats around every boundary of both narrow types."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 40000, dtype=np.uint32)
    halves = np.concatenate(
        [every_half().view(t).astype(np.float32) for t in (F16, BF16)]
    )
    ties = (
        halves.view(np.uint32)[:, None] + [0, 0x7FFF, 0x8000, 0x8001, 0x1000]
    ).ravel()
    special = np.float32(
        [0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.99, 65520, 1e-8]
    )
    every = np.concatenate([bits, ties.astype(np.uint32)[::7]]).view(np.float32)
    return np.concatenate([special, every])


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_floats_round_to_the_nearest_and_ties_to_even(driver, dtype):
    x = floats_to_round()
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(dtype)
    y = mapped(driver, f"narrow_{dtype}", EACH + "y[i] = x[i];", x, dtype, blocks=8)
    nan = np.isnan(x)
    np.testing.assert_array_equal(
        y.view(np.uint16)[~nan], expected.view(np.uint16)[~nan]
    )
    assert (y.view(np.uint16)[nan] == 0x7FFF).all()


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_doubles_are_rounded_once(driver, dtype):
    near = 1 + np.float64([2**-11, 2**-9, 2**-8]) * np.float64([[1], [3]])
    x = np.concatenate([near.ravel() * s for s in (1, 1 + 2**-40, 1 - 2**-40)])
    with np.errstate(over="ignore"):
        halves = x.astype(np.float16)
    body = EACH + "y[i] = x[i];"
    y = mapped(driver, f"from_double_{dtype}", body, x, dtype)
    if dtype == F16:
        np.testing.assert_array_equal(y, halves)
    distance = np.abs(y.astype(np.float64) - x)
    every = np.arange(0x7000, dtype=np.uint16).view(dtype).astype(np.float64)
    best = np.array([np.nanmin(np.abs(every - v)) for v in x])
    np.testing.assert_array_equal(distance, best)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_narrow_floats_widen_exactly(driver, dtype):
    x = every_half().view(dtype)
    y = mapped(driver, f"widen_{dtype}", EACH + "y[i] = x[i];", x, np.float32, blocks=8)
    np.testing.assert_array_equal(y, x.astype(np.float32))


def test_lanes_exchange_what_they_hold(driver):
    body = """
    int lane = threadIdx.x & 31, v = x[threadIdx.x];
    int a = __shfl_xor_sync(0xffffffffu, v, 5);
    int b = __shfl_down_sync(0xffffffffu, v, 3);
    int c = __shfl_up_sync(0xffffffffu, v, 2, 8);
    int d = __shfl_sync(0xffffffffu, v, 9, 16);
    unsigned odd = __ballot_sync(0xffffffffu, v & 1);
    y[threadIdx.x] = a * 7 + b * 11 + c * 13 + d * 17 + (int)(odd % 1000) * 19 + lane;
    """
    rng = np.random.default_rng(1)
    x = rng.integers(0, 1000, 96, dtype=np.int32)
    y = mapped(driver, "exchange", body, x, np.int32, threads=96)
    expected = []
    for warp in x.reshape(3, 32):
        odd = sum(int(v & 1) << lane for lane, v in enumerate(warp))
        for lane in range(32):
            a = warp[lane ^ 5]
            b = warp[lane + 3] if lane + 3 < 32 else warp[lane]
            c = warp[lane - 2] if lane % 8 >= 2 else warp[lane]
            d = warp[lane // 16 * 16 + 9]
            value = a * 7 + b * 11 + c * 13 + d * 17 + odd % 1000 * 19 + lane
            expected.append(value)
    np.testing.assert_array_equal(y, expected)


def test_lanes_of_eight_bytes_and_parts_of_a_warp_exchange(driver):
    body = """
    double v = x[threadIdx.x];
    unsigned mask = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
    if (threadIdx.x < 16) for (int m = 8; m; m >>= 1) v += __shfl_xor_sync(mask, v, m);
    else v = __shfl_sync(mask, v, 31);
    y[threadIdx.x] = v;
    """
    x = np.arange(32, dtype=np.float64) ** 2
    y = mapped(driver, "parts", body, x, np.float64, threads=32)
    np.testing.assert_array_equal(y[:16], np.full(16, x[:16].sum()))
    np.testing.assert_array_equal(y[16:], np.full(16, x[31]))


def test_threads_meet_at_barriers_over_shared_memory(driver):
    body = """
    extern __shared__ float4 rt_shared[];
    __shared__ float total;
    float* line = (float*)rt_shared;
    for (int row = 0; row < 3; ++row) {
      line[threadIdx.x] = x[row * blockDim.x + threadIdx.x];
      __syncthreads();
      for (int half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) line[threadIdx.x] += line[threadIdx.x + half];
        __syncthreads();
      }
      if (threadIdx.x == 0) total = line[0];
      __syncthreads();
      y[row * blockDim.x + threadIdx.x] = total;
      __syncthreads();
    }
    """
    made = kernel(
        "tree", (("pointer", "const float* x"), ("pointer", "float* y")), body
    )
    x = np.arange(3 * 128, dtype=np.float32).reshape(3, 128)
    source, target = new("float32", x.shape), new("float32", x.shape)
    launch = Launch(made, (1, 1, 1), (128, 1, 1), (source, target), 128 * 4)
    (y,) = run(driver, [launch], [(source, x)], [target])
    np.testing.assert_array_equal(y, np.broadcast_to(x.sum(1, keepdims=True), x.shape))


def test_a_missing_barrier_shows_in_the_order_of_threads(driver):
    body = """
    __shared__ float line[64];
    line[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = line[63 - threadIdx.x];
    """
    with pytest.raises(AssertionError, match="order of threads"):
        mapped(driver, "raced", body, np.ones(64, np.float32), np.float32)


def test_shared_memory_begins_as_nan_in_every_block(driver):
    body = """
    __shared__ float once[1];
    y[blockIdx.x] = once[0];
    once[0] = 1;
    """
    y = mapped(
        driver, "unset", body, np.zeros(5, np.float32), np.float32, threads=1, blocks=5
    )
    assert np.isnan(y).all()


def test_intrinsics_of_integers(driver):
    body = (
        EACH
        + """{
      unsigned v = x[i];
      y[i] = __umulhi(v, 0x9e3779b9u) ^ __clz(v) ^ __popc(v) << 8 ^ __ffs(v) << 16
           ^ __brev(v) ^ min(v, 77u);
    }"""
    )
    x = np.random.default_rng(2).integers(0, 1 << 32, 500, dtype=np.uint32)
    x[:3] = 0, 1, 0xFFFFFFFF

    def one(v):
        text = f"{v:032b}"
        clz = 32 - v.bit_length()
        ffs = (v & -v).bit_length()
        high = v * 0x9E3779B9 >> 32
        return (
            high
            ^ clz
            ^ v.bit_count() << 8
            ^ ffs << 16
            ^ int(text[::-1], 2)
            ^ min(v, 77)
        )

    y = mapped(driver, "integers", body, x, np.uint32)
    np.testing.assert_array_equal(y, np.array([one(int(v)) for v in x], np.uint32))


def test_conversions_of_floats_clamp(driver):
    body = EACH + "y[i] = __float2int_rn(x[i]);"
    x = np.float32([0.5, 1.5, -2.5, 3e9, -3e9, np.inf, -np.inf, np.nan])
    y = mapped(driver, "clamped", body, x, np.int32)
    top, bottom = 2**31 - 1, -(2**31)
    np.testing.assert_array_equal(y, [0, 2, -2, top, bottom, top, bottom, 0])


def test_atomic_operations_count_every_thread(driver):
    body = """
    if (threadIdx.x == 0 && blockIdx.x == 0) { }
    atomicAdd(&y[0], x[threadIdx.x]);
    atomicMax(&y[1], x[threadIdx.x] + (int)blockIdx.x);
    """
    made = kernel("counted", (("pointer", "const int* x"), ("pointer", "int* y")), body)
    source, target = new("int32", (64,)), new("int32", (2,))
    launch = Launch(made, (3, 1, 1), (64, 1, 1), (source, target))
    x = np.arange(64)
    (y,) = run(driver, [launch], [(source, x), (target, [0, -1])], [target])
    np.testing.assert_array_equal(y, [3 * x.sum(), 63 + 2])


def refused(driver, name, body, match, threads=64, size=64, shared=0, **changed):
    made = kernel(
        name, (("pointer", "const float* x"), ("pointer", "float* y")), body, threads
    )
    source, target = new("float32", (size,)), new("float32", (size,))
    arguments = changed.get("arguments", (source, target))
    grid, block = changed.get("grid", (1, 1, 1)), changed.get("block", (threads, 1, 1))
    launch = Launch(made, grid, block, arguments, shared)
    x = np.ones(size, np.float32)
    with pytest.raises((RuntimeError, AssertionError), match=match):
        run(driver, [launch], [(source, x)], [target], both=False)


def test_accesses_outside_of_an_allocation_are_stopped(driver):
    refused(driver, "before", "y[-70 - (int)threadIdx.x] = 1;", "written|outside")
    refused(driver, "behind", "y[64 + threadIdx.x] = 1;", "outside", size=64)
    refused(
        driver, "just_behind", "y[61 + (int)threadIdx.x / 16] = 1;", "written", size=63
    )
    refused(driver, "read_behind", "y[0] = x[64];", "outside", threads=1)
    refused(driver, "nowhere", "*(float*)8 = 1;", "outside", threads=1)


def test_what_a_device_traps_on_is_stopped(driver):
    misaligned = "*(float4*)y = *(const float4*)(x + 1);"
    refused(driver, "misaligned", misaligned, "misaligned", threads=1)
    indexed = "__shared__ float s[4]; s[threadIdx.x] = 1; y[0] = s[0];"
    refused(driver, "indexed", indexed, "index outside")
    stuck = "if (threadIdx.x < 32) __syncthreads(); else __syncwarp(~0u);" + (
        "if (threadIdx.x >= 32) __shfl_sync(threadIdx.x & 1 ? ~0u : 1u, 1, 0);"
    )
    refused(driver, "stuck", stuck, "mask|never come")
    behind = "extern __shared__ float4 rt_shared[]; ((float*)rt_shared)[9] = 1;"
    refused(driver, "behind_shared", behind, "behind the dynamic", shared=36)


def test_a_launch_that_no_device_takes_is_refused(driver):
    refused(driver, "large", "", "compiled for 64", block=(128, 1, 1))
    refused(driver, "empty_grid", "", "no device launches", grid=(0, 1, 1))
    refused(driver, "wide_grid", "", "no device launches", grid=(1, 1 << 16, 1))
    refused(driver, "much_shared", "", "bytes shared", shared=1 << 20)
    refused(driver, "few", "", "1 arguments for 2", arguments=(new("float32", (1,)),))


def test_signatures_are_held_against_the_parameters(driver):
    wrong = Kernel(
        "wrong", 'extern "C" __global__ void wrong(long long n) {}', ("i32",)
    )
    with pytest.raises(RuntimeError, match="wrong: other parameters"):
        driver.load([wrong], None)


def test_strided_tensors_keep_what_lies_between_them(driver):
    body = "y[2 * threadIdx.x] = x[3 * threadIdx.x];"
    made = kernel(
        "strided", (("pointer", "const float* x"), ("pointer", "float* y")), body
    )
    dtype = np.dtype("float32")
    source = Tensor(Buffer(400), dtype, (8,), (3,), 5)
    target = Tensor(Buffer(200), dtype, (8,), (2,), 1)
    x = np.arange(8, dtype=np.float32)
    launch = Launch(made, (1, 1, 1), (8, 1, 1), (source, target))
    (y,) = run(driver, [launch], [(source, x)], [target])
    np.testing.assert_array_equal(y, x)
    nudged = Launch(made, (1, 1, 1), (9, 1, 1), (source, target))
    with pytest.raises(AssertionError, match="a gap was written"):
        run(driver, [nudged], [(source, x)], [target])
