"""Compiles kernels for the host: one shared object, kept under the hash of its text."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from runtime_ep_cuda.codegen.kernel import Kernel

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++20", "-O1", "-w", "-fPIC", "-shared", "-ffp-contract=off",
    "-fno-strict-aliasing", "-fno-ipa-reference", "-fno-ipa-pure-const",
    "-U_FORTIFY_SOURCE", "-fsanitize=alignment,bounds",
    "-fsanitize-undefined-trap-on-error", f"-I{HERE}", f"-I{HERE / 'include'}",
)  # fmt: skip
LETTERS = {
    "pointer": "p", "i32": "i", "u32": "u", "i64": "l", "u64": "L", "f32": "f", "f64": "d",
}  # fmt: skip
_SHARED = re.compile(r"extern\s+__shared__\s+float4\s+rt_shared\s*\[\s*\]\s*;")
_OTHER_SHARED = re.compile(r"extern\s+__shared__")


def why_not() -> str:
    """Return why nothing can be compiled here, or an empty text."""
    if not sys.platform.startswith("linux"):
        return "the host double needs Linux"
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"the host double knows no stacks of {platform.machine()}"
    return "" if shutil.which("g++") else "there is no g++ to compile kernels with"


def compiled(kernels: Sequence[Kernel]) -> ctypes.CDLL:
    """Return a library in which each kernel has an entry ``shim_launch_<name>``."""
    text = unit(kernels)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    digest.update(_surroundings())
    return _loaded(digest.hexdigest(), text)


@cache
def _loaded(key: str, text: str) -> ctypes.CDLL:
    path = folder() / f"{key}.so"
    if not path.exists():
        _compile(text, path)
    return ctypes.CDLL(str(path))


def folder() -> Path:
    """Return where shared objects are kept for all tests of this user."""
    path = Path(tempfile.gettempdir()) / f"runtime-ep-cuda-double-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@cache
def _surroundings() -> bytes:
    """Return what the object depends on beside the kernels: the shim, the compiler."""
    texts = [path.read_bytes() for path in sorted(HERE.rglob("*.h"))]
    version = subprocess.run(["g++", "--version"], capture_output=True, check=True)
    return b"\0".join((*texts, version.stdout, " ".join(FLAGS).encode()))


def _compile(text: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        source, built = Path(temporary, "kernels.cc"), Path(temporary, "kernels.so")
        source.write_text(text)
        command = ["g++", *FLAGS, str(source), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the kernels do not compile:\n{done.stderr}\n{text}")
        built.replace(path)


def unit(kernels: Sequence[Kernel]) -> str:
    """Return the C++ of a shared object with these kernels.

    Nothing but the entries can be seen from outside, so that helpers of one name may be in
    several kernels, and shared variables get a section for each.
    """
    from runtime_ep_cuda.codegen.prelude import PRELUDE

    parts = ['#include "shim.h"', "namespace {", _section("shim_helpers"), PRELUDE]
    for number, kernel in enumerate(kernels):
        parts += [_section(f"shim_shared_{number}"), f"namespace kernel_{number} {{"]
        parts += [f'#line 1 "{kernel.name}"', _plain(kernel), "}"]
    parts.append("}")
    for number, kernel in enumerate(kernels):
        letters = "".join(LETTERS[word] for word in kernel.parameters)
        parts.append(
            f"SHIM_ENTRY(kernel_{number}, {kernel.name}, "
            f'"{letters}", shim_shared_{number})'
        )
    return "\n".join(parts) + "\n"


def _section(name: str) -> str:
    return f'#undef SHIM_SECTION\n#define SHIM_SECTION "{name}"'


def _plain(kernel: Kernel) -> str:
    """Return the text without the declaration of dynamic shared memory."""
    text = _SHARED.sub("", kernel.text)
    if _OTHER_SHARED.search(text):
        raise ValueError(
            f"{kernel.name}: dynamic shared memory is declared in one way only: "
            "extern __shared__ float4 rt_shared[];"
        )
    if "asm" in text and re.search(r"\basm\b", text):
        raise ValueError(f"{kernel.name}: kernels have no inline assembly")
    return text
