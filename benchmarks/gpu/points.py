"""The part `points`: what only a device can tell about libraries and our kernels."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.gpu.here import ROOT, Place, device, environment, hasten, with_tests
from benchmarks.gpu.timing import Bench, flops, span

Found = dict[str, Any]
LIMIT = 1 << 28


def points(place: Place) -> Found:
    """Answer one question after another; one that fails is told, and the next is asked."""
    with_tests()
    bench = Bench(device(), place.dry)
    hasten(bench.driver, 6, 2)
    found: Found = {}
    questions: list[Callable[[Bench, Place], Any]] = [
        carried_plan, replays, host_cost, threads, products, depthwise, stem, exact, rows,
    ]  # fmt: skip
    for question in questions:
        place.save(found)
        if place.left() < 0:
            found[question.__name__] = {"error": "no time was left"}
            continue
        try:
            with bench.memory():
                found[question.__name__] = question(bench, place)
        except Exception as error:
            where = traceback.format_exc().splitlines()[-3].strip()
            told = f"{type(error).__name__}: {error} ({where})"
            found[question.__name__] = {"error": told[:600]}
    return found


def image(precision: str = "float16") -> Any:
    """Return a convolution as they are in the middle of ResNet-50."""
    from library.specs import convolution

    tf32 = precision == "tf32"
    dtype = "float32" if tf32 else precision
    return convolution(
        (8, 128, 28, 28), (128, 128, 3, 3), pads=1, dtype=dtype, tf32=tf32
    )


def carried_plan(bench: Bench, place: Place) -> Found:
    """Does a plan load and run that was built without a device, and is it right?

    One is built for the device's own properties, one for those that were made up.
    """
    if place.dry:
        return {"skipped": "the double has no cuDNN"}
    operation, sm = image(), bench.driver.properties.sm
    texts = {
        "own properties": place.folder / f"sm_{sm}.json",
        "made up": ROOT / f"tests/ep_cuda/library/devices/sm_{sm}.json",
    }
    found: Found = {}
    for name, text in texts.items():
        blob = place.folder / "plan.bin"
        blob.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.gpu.deviceless", text, sm, blob]
        built = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env={**_environment(place)},
            capture_output=True,
            text=True,
            timeout=90,
        )
        if built.returncode or not blob.exists():
            found[name] = {"error": f"not built: {built.stderr[-300:]}"}
            continue
        saved = blob.read_bytes()
        candidate = bench.driver.restore(operation, saved)
        if candidate is None:
            found[name] = {"bytes": len(saved), "loads": False}
            continue
        seconds = bench.seconds(bench.calling(operation, candidate))
        error = difference(bench, operation, candidate)
        found[name] = {
            "bytes": len(saved), "loads": True, "us": 1e6 * seconds, "error": error,
        }  # fmt: skip
    return found


def _environment(place: Place) -> dict[str, str]:
    import os

    return {**os.environ, **environment(place.folder)}


def difference(bench: Bench, operation: Any, candidate: Any) -> float:
    """Return a candidate's largest error against NumPy's float64, relative."""
    from double.evaluate import evaluate
    from runtime_ep_cuda.operations import specs_of

    rng, arrays, pointers = np.random.default_rng(1), [], []
    for spec in specs_of(operation):
        flat = rng.standard_normal(span(spec) // np.dtype(spec.dtype).itemsize)
        flat = flat.astype(spec.dtype)
        pointers.append(bench.take(flat.nbytes))
        bench.driver.upload(pointers[-1], flat, bench.stream)
        steps = [step * flat.itemsize for step in spec.strides]
        arrays.append(np.lib.stride_tricks.as_strided(flat, spec.shape, steps))
    candidate.run(pointers, bench.take(candidate.workspace), bench.stream)
    got = np.empty(span(specs_of(operation)[-1]), np.uint8)
    bench.driver.download(got, pointers[-1], bench.stream)
    y = specs_of(operation)[-1]
    steps = [step * np.dtype(y.dtype).itemsize for step in y.strides]
    view = np.ndarray(y.shape, y.dtype, got, 0, steps).astype(np.float64)
    want = np.asarray(evaluate(operation, arrays[:-1])).astype(np.float64)
    return float(np.abs(view - want).max() / np.abs(want).max())


def replays(bench: Bench, place: Place) -> Found:
    """What does a recorded graph cost, by its number of small kernels?"""
    from runtime_ep_cuda.codegen.movement import copy

    x = bench.tensor("float32", (1, 256))
    run = bench.launching(copy(x, bench.tensor("float32", (1, 256))))
    found: Found = {}
    for count in (1, 2) if place.dry else (1, 10, 50, 100, 200, 400):
        with bench.driver.recording(bench.stream) as recorded:
            for _ in range(count):
                run()
        (graph,) = recorded
        cost = bench.host_seconds(lambda graph=graph: graph.launch(bench.stream), 50)
        begin, end = bench.driver.event(), bench.driver.event()
        bench.driver.record(begin, bench.stream)
        for _ in range(10):
            graph.launch(bench.stream)
        bench.driver.record(end, bench.stream)
        bench.driver.synchronize(bench.stream)
        whole = bench.driver.elapsed(begin, end) / 10
        began = time.perf_counter()
        graph.launch(bench.stream)
        bench.driver.synchronize(bench.stream)
        waited = time.perf_counter() - began
        found[str(count)] = {
            "us": 1e6 * whole, "us a node": 1e6 * whole / count, "us of the host": 1e6 * cost,
            "us launched and waited for": 1e6 * waited,
        }  # fmt: skip
    return found


def host_cost(bench: Bench, place: Place) -> Found:
    """What does beginning one piece of work cost the host?"""
    from library.specs import product
    from runtime_ep_cuda.codegen.movement import copy

    x = bench.tensor("float32", (1, 256))
    kernel = bench.launching(copy(x, bench.tensor("float32", (1, 256))))
    found: Found = {"our kernel": 1e6 * bench.host_seconds(kernel)}
    for name, operation in {
        "convolution": image(),
        "product": product((1, 128, 64), (1, 64, 64)),
    }.items():
        for candidate in bench.driver.candidates(operation, LIMIT)[:8]:
            library = f"{name} by {candidate.name.split('_')[0].split(' ')[0]}"
            if library not in found:
                run = bench.calling(operation, candidate)
                found[library] = 1e6 * bench.host_seconds(run)
    return {f"us, {name}": value for name, value in found.items()}


def threads(bench: Bench, place: Place) -> Found:
    """Does building plans let other threads of Python go on?"""
    from library.specs import convolution

    if place.dry:
        return {"skipped": "the double builds nothing"}
    from runtime_ep_cuda import cudnn

    told = bench.driver.properties

    def operations(start: int) -> list[Any]:
        return [
            convolution(
                (4, 64 + 8 * (start + i), 20, 20), (72, 64 + 8 * (start + i), 3, 3)
            )
            for i in range(4)
        ]

    def build(operation: Any) -> int:
        with bench.driver.current:
            made = cudnn.Device(told.sm, told.multiprocessors, most=2)
            return len(cudnn.candidates(made, operation, LIMIT))

    build(operations(40)[0])
    began = time.perf_counter()
    for operation in operations(0):
        build(operation)
    alone = time.perf_counter() - began
    ticks, stop = 0, [False]

    def tick() -> int:
        count = 0
        while not stop[0]:
            time.sleep(0.001)
            count += 1
        return count

    with ThreadPoolExecutor(5) as pool:
        other = pool.submit(tick)
        began = time.perf_counter()
        list(pool.map(build, operations(10)))
        together = time.perf_counter() - began
        stop[0] = True
        ticks = other.result()
    return {
        "s one after another": alone, "s by four threads": together,
        "others' share of time": ticks * 0.001 / together,
    }  # fmt: skip


def timed(bench: Bench, operation: Any, most: int = 8) -> list[Found]:
    """Return the libraries' candidates with their times, in their order."""
    found = []
    for candidate in bench.driver.candidates(operation, LIMIT)[:most]:
        try:
            with bench.memory():
                seconds = bench.seconds(bench.calling(operation, candidate))
        except RuntimeError as error:
            found.append({"by": candidate.name, "error": str(error)[:200]})
            continue
        speed = flops(operation) / seconds / 1e12
        found.append({"by": candidate.name, "us": 1e6 * seconds, "TFLOP/s": speed})
    return found


def fastest(found: list[Found], word: str = "") -> Found | None:
    """Return the fastest candidate, of those with a word in their name."""
    able = [each for each in found if "us" in each and word in each["by"]]
    return min(able, key=lambda each: each["us"], default=None)


def products(bench: Bench, place: Place) -> Found:
    """Which library multiplies faster, by shape and precision?"""
    from library.specs import product

    shapes = {
        "BERT, 128 tokens": (128, 768, 3072),
        "BERT, 8 × 128 tokens": (1024, 768, 768),
        "GPT-2, one token": (1, 768, 2304),
        "GPT-2, one token's logits": (1, 768, 50264),
        "ViT, 8 images": (1576, 768, 3072),
    }
    if place.dry:
        shapes = {"small": (4, 8, 16)}
    found: Found = {}
    for name, (m, k, n) in shapes.items():
        for dtype in ("float16", "bfloat16", "float32"):
            operation = product(
                (1, m, k), (1, k, n), dtype=dtype, tf32=dtype == "float32"
            )
            each = timed(bench, operation)
            lt = fastest(each, "cublasLt")
            others = [c for c in each if "cublasLt" not in c["by"]]
            found[f"{name}, {dtype}"] = {"cublasLt": lt, "cuDNN": fastest(others)}
    return found


def depthwise(bench: Bench, place: Place) -> Found:
    """Is our depthwise kernel faster than cuDNN's engines?"""
    from library.specs import convolution
    from runtime_ep_cuda.codegen import depthwise as family
    from runtime_ep_cuda.codegen.windows import Slide

    shapes = [
        (1, 96, 112, 3, 2),
        (8, 144, 56, 3, 1),
        (8, 384, 14, 7, 1),
        (32, 576, 14, 3, 1),
    ]
    found: Found = {}
    for n, c, size, kernel, stride in [(1, 8, 6, 3, 1)] if place.dry else shapes:
        pad, after = kernel // 2, (size - 1) // stride + 1
        for dtype in ("float16", "float32"):
            order = (0, 2, 3, 1)
            x = bench.tensor(dtype, (n, c, size, size), order)
            y = bench.tensor(dtype, (n, c, after, after), order)
            w = bench.tensor(dtype, (kernel, kernel, c))
            window = Slide.of((kernel, kernel), (stride,) * 2, (), (pad,) * 4)
            ours = bench.seconds(bench.launching(family.depthwise(x, w, y, window)))
            operation = convolution(
                (n, c, size, size), (c, 1, kernel, kernel), pads=pad, strides=stride,
                groups=c, dtype=dtype,
            )  # fmt: skip
            found[f"{n}×{c}×{size}², {kernel}×{kernel}/{stride}, {dtype}"] = {
                "ours, us": 1e6 * ours,
                "ours, GB/s": (x.nbytes + y.nbytes) / ours / 1e9,
                "cuDNN": fastest(timed(bench, operation)),
            }
    return found


def stem(bench: Bench, place: Place) -> Found:
    """How many channels shall a picture have for its first convolution?"""
    from library.specs import convolution

    found: Found = {}
    for batch in (1,) if place.dry else (1, 8):
        for channels in (3, 4, 8):
            size = 12 if place.dry else 224
            operation = convolution(
                (batch, channels, size, size), (64, channels, 7, 7), pads=3, strides=2
            )
            found[f"{batch} × {channels}"] = fastest(timed(bench, operation))
    return found


def exact(bench: Bench, place: Place) -> Found:
    """What does true float32 cost a convolution, and which engines have it?"""
    if place.dry:
        return {"float32": len(bench.driver.candidates(image("float32"), LIMIT))}
    return {name: timed(bench, image(name)) for name in ("float32", "tf32", "float16")}


def rows(bench: Bench, place: Place) -> Found:
    """How near to the bandwidth are our softmax and pooling, and torch's?"""
    from runtime_ep_cuda.codegen.expression import SAME
    from runtime_ep_cuda.codegen.pooling import max_pool
    from runtime_ep_cuda.codegen.rows import softmax
    from runtime_ep_cuda.codegen.windows import Slide

    scale = 1 if place.dry else 64
    found: Found = {}
    for dtype in ("float16", "float32"):
        x = bench.tensor(dtype, (scale * 12, 2 * scale, 128))
        y = bench.tensor(dtype, x.shape)
        seconds = bench.seconds(bench.launching(softmax(SAME, [x], y, -1)))
        found[f"softmax of {x.shape} {dtype}"] = _speed(x.nbytes + y.nbytes, seconds)
        side = 8 if place.dry else 112
        order = (0, 2, 3, 1)
        x = bench.tensor(dtype, (8, 64, side, side), order)
        y = bench.tensor(dtype, (8, 64, side // 2, side // 2), order)
        window = Slide.of((3, 3), (2, 2), (), (1, 1, 0, 0))
        seconds = bench.seconds(bench.launching(max_pool(x, y, window)))
        found[f"max_pool of {x.shape} {dtype}"] = _speed(x.nbytes + y.nbytes, seconds)
    return found


def _speed(size: int, seconds: float) -> Found:
    return {"us": 1e6 * seconds, "GB/s": size / seconds / 1e9}
