"""Rules of the architecture that a reader may rely on."""

import ast
import inspect
import io
import re
import subprocess
import sys
import textwrap
import tokenize
from pathlib import Path

import runtime
import runtime.plugin
from runtime.api import keys

PACKAGE = Path(runtime.__file__).parent
ENGINE = sorted(PACKAGE.glob("*.py"))
PASSES = sorted((PACKAGE / "passes").glob("*.py"))


def code_lines(path):
    """Count the lines that hold code: no blanks, comments or docstrings."""
    source = path.read_text()
    strings = set()
    for item in ast.walk(ast.parse(source)):
        if not isinstance(item, ast.Expr) or not isinstance(item.value, ast.Constant):
            continue
        if isinstance(item.value.value, str):
            strings.update(range(item.lineno, item.end_lineno + 1))
    skipped = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT,
        tokenize.DEDENT, tokenize.ENDMARKER,
    }  # fmt: skip
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - strings)


def test_the_engine_stays_small():
    sizes = {path.name: code_lines(path) for path in ENGINE}
    assert sum(sizes.values()) <= 5711, sizes


def test_the_sessions_run_stays_short():
    from runtime.api.session import InferenceSession

    source = textwrap.dedent(inspect.getsource(InferenceSession.run))
    assert len(source.splitlines()) <= 15, source


def test_the_engine_holds_no_name_of_the_compatible_face():
    names = [
        "onnxruntime",
        "SessionOptions",
        "InferenceSession",
        "IOBinding",
        "OrtValue",
    ]
    names += [re.escape(key) for key in keys.SESSION_KEYS]
    pattern = re.compile("|".join(names))
    for path in (*ENGINE, *PASSES):
        if path.name == "__init__.py" and path.parent == PACKAGE:
            continue
        assert not pattern.search(path.read_text()), path


def test_the_provider_api_has_at_most_a_dozen_names():
    names = runtime.plugin.__all__
    assert len(names) <= 12
    assert all(
        getattr(runtime.plugin, name).__doc__ or name == "HOST" for name in names
    )


def test_every_module_opens_with_one_sentence():
    folders = [PACKAGE, Path("plugins"), Path("benchmarks"), Path("examples")]
    for folder in folders:
        for path in folder.rglob("*.py"):
            docstring = ast.get_docstring(ast.parse(path.read_text()))
            assert docstring, f"{path} has no docstring"


def _modules_after(statement):
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_importing_the_package_imports_neither_onnx_nor_a_provider():
    bare = _modules_after("pass")
    loaded = _modules_after("import runtime") - bare
    found = {name for name in loaded if not name.startswith("_")}
    heavy = {"onnx", "numpy", "ml_dtypes", "pluggy", "llvmlite", "runtime_ep_cpu"}
    assert not {name.partition(".")[0] for name in found} & heavy
    ours = {name for name in found if name.startswith("runtime")}
    assert ours == {"runtime", "runtime.version"}


def test_importing_the_session_class_imports_neither_onnx_nor_a_provider():
    found = _modules_after(
        "from runtime import InferenceSession, get_available_providers"
    )
    assert not {"onnx", "runtime_ep_cpu", "llvmlite", "torch"} & found


def test_importing_starts_no_thread_and_opens_no_socket():
    code = (
        "import socket, threading\n"
        "def no(*a, **k): raise AssertionError('socket opened')\n"
        "socket.socket = no\n"
        "import runtime\n"
        "for name in runtime.__all__: getattr(runtime, name)\n"
        "import runtime.backend, runtime.datasets, runtime.as_onnxruntime\n"
        "import runtime.capi.onnxruntime_pybind11_state as state\n"
        "for name in dir(state): getattr(state, name)\n"
        "runtime.get_available_providers(), runtime.get_ep_devices()\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
