"""A libcuda that has no device: cuDNN compiles kernels with it and loads none of them.

cuDNN's engines that compile at run time need ``libcuda.so.1`` to be there, and ask it to
load what they have compiled. Here loading succeeds with a handle that stands for nothing;
everything that would need a device says that there is none.
"""

import shutil
import subprocess

NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE."""

LOADS = (
    "cuLibraryLoadData", "cuLibraryLoadFromFile", "cuLibraryGetKernel",
    "cuKernelGetFunction", "cuModuleLoadData", "cuModuleGetFunction",
)  # fmt: skip
"""Functions that write a handle to where their first argument points."""

SUCCEEDS = ("cuKernelSetAttribute", "cuLibraryUnload", "cuModuleUnload")

FAILS = (
    "cuCtxGetCurrent", "cuCtxGetLimit", "cuCtxPopCurrent", "cuCtxPushCurrent",
    "cuDeviceGet", "cuDeviceGetCount", "cuDriverGetVersion", "cuGetErrorName",
    "cuGetErrorString", "cuGetProcAddress", "cuGetProcAddress_v2", "cuInit",
    "cuLaunchCooperativeKernel", "cuLaunchKernel", "cuLaunchKernelEx", "cuLinkAddData",
    "cuLinkComplete", "cuLinkCreate", "cuLinkDestroy",
    "cuOccupancyMaxPotentialClusterSize", "cuStreamGetCtx", "cuTensorMapEncodeIm2col",
    "cuTensorMapEncodeTiled",
)  # fmt: skip


def source():
    """The library as C."""
    handle = "*handle = (void *)0x1000; return 0;"
    lines = [f"int {name}(void **handle) {{ {handle} }}" for name in LOADS]
    lines += [f"int {name}(void) {{ return 0; }}" for name in SUCCEEDS]
    lines += [f"int {name}(void) {{ return {NO_DEVICE}; }}" for name in FAILS]
    lines += ["int cuKernelGetAttribute(int *value) { *value = 0; return 0; }"]
    return "\n".join(lines) + "\n"


def why_not():
    """Why it cannot be built here, if it cannot."""
    return "" if shutil.which("gcc") else "gcc is not installed"


def build(folder):
    """Build ``libcuda.so.1`` in a folder; return its path."""
    text, library = folder / "libcuda.c", folder / "libcuda.so.1"
    text.write_text(source())
    named = "-Wl,-soname,libcuda.so.1"
    command = ["gcc", "-shared", "-fPIC", named, "-o", str(library), str(text)]
    subprocess.run(command, check=True)
    return library
