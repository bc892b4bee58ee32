"""Every check of this repository by name; `nox -l` lists them with their cost."""

import platform

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = [
    line.rsplit(" ", 1)[1]
    for line in PROJECT["project"]["classifiers"]
    if line.startswith("Programming Language :: Python :: 3.")
]
OURS = ["-c", "constraints.txt", "-e", ".", "-e", "plugins/ep-cpu"]
ON_ARM = [
    "tests/arm",
    *(
        f"tests/ep_cpu/codegen/test_{name}.py"
        for name in (
            "microkernel", "gemm", "strassen", "winograd", "depthwise", "attention",
            "reduction", "rows", "elementwise", "vmath",
        )
    ),
    "tests/ep_cpu/native/test_convolution.py",
]  # fmt: skip
BINDINGS = {"10": "10.16.1.11", "11": "11.4.0.106"}
"""Releases of TensorRT whose Python API is committed in tests/ep_tensorrt/surface."""
NATIVE = ["-p", "runtime_ep_cpu.native", "-p", "runtime_ep_cpu.codegen"]


def install(session: nox.Session, *groups: str) -> None:
    """Install our distributions and some third-party dependency groups."""
    wanted = [
        requirement
        for group in groups
        for requirement in nox.project.dependency_groups(PROJECT, group)
    ]
    session.install(*OURS, *wanted)
    without = ["-e", "plugins/ep-cuda", "-e", "plugins/ep-tensorrt"]
    session.install("--no-deps", *without)  # their libraries are large


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Unit, contract, property (few examples) and node tests. 5 min, 120 MB."""
    install(session, "test", "peers")
    session.run(
        "pytest", "-n", "auto", "-m", "not slow and not packaging", *session.posargs
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style and import contracts. 10 s, 15 MB."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on engine, façade, the CPU provider's native code, CUDA's. 60 s."""
    install(session, "types", "test")  # the kit is typed, too
    session.run("mypy", "core/runtime")
    session.run("mypy", *NATIVE)
    session.run("mypy", "-p", "runtime_ep_cuda")
    session.run("mypy", "-p", "runtime_ep_tensorrt")


@nox.session
def conformance(session: nox.Session) -> None:
    """Every ONNX node case through sessions, native and NumPy kernels. 2 min, 120 MB."""
    install(session, "test")
    session.run("pytest", "tests/conformance", *session.posargs)


@nox.session
def targets(session: nox.Session) -> None:
    """The CPU provider's tests and the node cases by code for AVX2. 8 min, 120 MB."""
    install(session, "test", "peers")
    session.env["RUNTIME_TEST_CPU"] = "native=required,target=avx2"
    paths = session.posargs or ["tests/ep_cpu", "tests/conformance"]
    session.run("pytest", "-n", "auto", "-m", "not slow", *paths)


@nox.session
def slow(session: nox.Session) -> None:
    """3,000 random graphs, 20,000-run memory slope, 2,000 mutants, 3 GB file. 8 min."""
    install(session, "test", "peers")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Libraries that import onnxruntime, on this runtime instead. 8 min, 6.5 GB (torch)."""
    install(session, "test", "peers", "clients")
    paths = ["tests/api/test_as_onnxruntime.py", "tests/clients"]
    session.run("pytest", *(session.posargs or paths))


@nox.session
def soak(session: nox.Session) -> None:
    """Random shapes, threads and sessions that come and go; memory's slope. 31 min."""
    install(session, "test")
    session.run("python", "tests/soak.py", *(session.posargs or ["30"]))


@nox.session
def packaging(session: nox.Session) -> None:
    """Wheels, extras, uv and a third-party plugin in fresh environments. 5 min, 300 MB."""
    install(session, "test")
    session.install("build", "uv")
    session.run("pytest", "tests/packaging", "-m", "packaging", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every snippet of the documentation; check the generated pages. 1 min."""
    install(session, "test")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def openvino(session: nox.Session) -> None:
    """The OpenVINO provider on the real engine: its tests and the kit. 6 min, 200 MB."""
    install(session, "test", "peers")
    session.install("-c", "constraints.txt", "-e", "plugins/ep-openvino")
    session.run("pytest", "tests/ep_openvino", *session.posargs)


@nox.session(python="3.12")
def coreml(session: nox.Session) -> None:
    """Core ML packages made, read back and evaluated; on a Mac run. 25 min, 150 MB."""
    install(session, "test", "types")
    session.install("-c", "constraints.txt", "-e", "plugins/ep-coreml")
    session.run("mypy", "-p", "runtime_ep_coreml")
    session.run("pytest", "-n", "auto", *(session.posargs or ["tests/ep_coreml"]))
    if platform.system() == "Darwin":
        xfails = ("--xfails", "tests/ep_coreml/xfails.txt")
        session.run("runtime", "ep", "test", "coreml:MLComputeUnits=CPUOnly", *xfails)


@nox.session
def cuda(session: nox.Session) -> None:
    """Kernels by NVRTC for all GPUs, cuDNN's plans without one. 40 min, 1.6 GB."""
    install(session, "test", "types")
    session.install("-c", "constraints.txt", "-e", "plugins/ep-cuda")
    session.run("mypy", "-p", "runtime_ep_cuda")
    session.run(
        "pytest",
        "-n",
        "auto",
        "--dist",
        "loadfile",
        *(session.posargs or ["tests/ep_cuda"]),
    )


@nox.session
def tensorrt(session: nox.Session) -> None:
    """TensorRT's real bindings over stub libraries, the provider on a double. 5 min.

    150 MB.
    """
    install(session, "test", "peers")
    folder = session.create_tmp()
    for major, version in BINDINGS.items():
        wanted = f"tensorrt-cu13-bindings=={version}"
        session.install("--no-deps", "--target", f"{folder}/{major}", wanted)
    session.env["RUNTIME_TENSORRT_BINDINGS"] = folder
    session.run("pytest", *(session.posargs or ["tests/ep_tensorrt"]))


@nox.session
def estimators(session: nox.Session) -> None:
    """scikit-learn, LightGBM and XGBoost models against themselves. 5 min, 500 MB."""
    install(session, "test", "peers", "sklearn")
    session.run("pytest", "tests/ep_cpu/test_estimators.py", *session.posargs)


@nox.session
def arm(session: nox.Session) -> None:
    """Kernels and small models by NEON code, in an emulator on Linux. 30 min, 250 MB.

    On an Arm processor by that.
    """
    install(session, "test")
    session.install("pip")
    run = ["python", "tests/arm/machine.py", f"{session.cache_dir}/arm"]
    if platform.machine() in ("aarch64", "arm64"):
        run = ["python"]
    session.run(*run, "-m", "pytest", *(session.posargs or ON_ARM))


@nox.session
def models(session: nox.Session) -> None:
    """Models exported by both torch exporters, against torch. 6 min, 700 MB (torch)."""
    install(session, "test", "peers")
    session.install("torch", "onnxscript")
    session.run("pytest", "tests/models", *session.posargs)


@nox.session
def pools(session: nox.Session) -> None:
    """A Predictor in a process pool and in Ray Data. 3 min, 250 MB (ray)."""
    install(session, "test")
    session.install("ray[data]")
    session.run("pytest", "tests/pools", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Models beside their peers; writes benchmarks/results. 30 min, 200 MB."""
    install(session, "peers")
    session.install("-c", "constraints.txt", "openvino")
    session.run("python", "-m", "benchmarks", *session.posargs)
    if not session.posargs:
        session.run("python", "-m", "benchmarks.load")


@nox.session
def operators(session: nox.Session) -> None:
    """Write docs/reference/operators.md anew. 5 s."""
    install(session)
    session.run("python", "docs/generate.py")


@nox.session
def nightly(session: nox.Session) -> None:
    """Everything, with many property examples. 60 min."""
    session.env["HYPOTHESIS_PROFILE"] = "nightly"
    for name in (
        "lint", "types", "tests", "conformance", "slow", "packaging", "docs", "models",
        "openvino", "coreml", "cuda", "tensorrt", "estimators", "pools", "bench",
    ):  # fmt: skip
        session.notify(name)
