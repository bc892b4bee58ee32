"""Writes down what TensorRT's Python bindings offer: ``python dump.py FOLDER OUT.json``.

FOLDER is where ``pip install --no-deps --target FOLDER tensorrt-cu13-bindings==…`` has put
them. The vendor's libraries are not needed: gcc makes three that export what the bindings
look for and do nothing. A process of its own imports the bindings over these; nothing of
TensorRT is ever constructed in it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
PACKAGE = "tensorrt_bindings"
OVERRIDES = {
    "IOutputAllocator": (
        "reallocate_output",
        "reallocate_output_async",
        "notify_shape",
    ),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "ILogger": ("log",),
}
"""Methods that the library calls on classes of Python; the binary holds their names."""
SPECIAL = ("__init__", "__bool__", "__len__", "__getitem__", "__iter__", "__call__")


def surface(folder: Path) -> dict[str, Any]:
    """Return the surface of the bindings in a folder."""
    with tempfile.TemporaryDirectory() as place:
        make_stubs(folder, place)
        printed = subprocess.run(
            [sys.executable, "-I", __file__, "--here", str(folder)],
            env={**os.environ, "LD_LIBRARY_PATH": place},
            check=True,
            capture_output=True,
        ).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def make_stubs(folder: Path, place: str) -> None:
    """Make the libraries that the bindings in a folder look for, in another folder."""
    major = version_of(folder).partition(".")[0]
    for name in LIBRARIES:
        library, source = f"{place}/lib{name}.so.{major}", HERE / f"stubs/{name}.c"
        command = ["gcc", "-shared", "-fPIC", "-w", "-o", library, str(source)]
        subprocess.run(command, check=True)


def version_of(folder: Path) -> str:
    """Return the version of the bindings in a folder, by the distribution's name."""
    (info,) = folder.glob("tensorrt_*_bindings-*.dist-info")
    return info.name.removesuffix(".dist-info").rpartition("-")[2]


def written(found: dict[str, Any]) -> str:
    """Return a surface as text: a line for each class, so that changes can be read."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}"
        for name, entry in found["classes"].items()
    ]
    head = f'{{"version": {json.dumps(found["version"])},\n"functions": '
    head += json.dumps(found["functions"], separators=(",", ":"))
    return head + ',\n"classes": {\n' + ",\n".join(lines) + "\n}}\n"


# within the process that imports the bindings


def described(folder: Path) -> dict[str, Any]:
    """Import the bindings and describe every class and function."""
    sys.path.insert(0, str(folder))
    bindings = __import__(PACKAGE)
    (binary,) = (folder / PACKAGE).glob("tensorrt*.so")
    data = binary.read_bytes()
    classes: dict[str, Any] = {}
    _collect(vars(bindings), "", classes)
    for name, methods in OVERRIDES.items():
        kept = [m for m in methods if b"\0" + m.encode() + b"\0" in data]
        classes[name]["overrides"] = kept
    functions = {
        name: signatures(name, value.__doc__ or "")
        for name, value in vars(bindings).items()
        if type(value).__name__ in ("builtin_function_or_method", "PyCapsule")
    }
    return {
        "version": bindings.__version__,
        "functions": dict(sorted(functions.items())),
        "classes": dict(sorted(classes.items())),
    }


def _collect(names: Any, prefix: str, classes: dict[str, Any]) -> None:
    """Add the classes among some names, and those within them."""
    for name, found in names.items():
        ours = isinstance(found, type) and found.__module__.startswith(PACKAGE)
        if not ours or name.startswith("_"):
            continue
        whole = prefix + name
        if whole in classes or (prefix and found.__qualname__ != whole):
            continue
        classes[whole] = _entry(found)
        _collect(vars(found), f"{whole}.", classes)


def _entry(found: type) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    bases = [b.__name__ for b in found.__bases__ if b.__module__.startswith(PACKAGE)]
    if bases:
        entry["bases"] = bases
    members = getattr(found, "__members__", None)
    if members is not None:
        entry["members"] = {name: int(member) for name, member in members.items()}
    methods, properties = {}, {}
    for name, value in vars(found).items():
        if name.startswith("_") and name not in SPECIAL:
            continue
        if isinstance(value, property):
            properties[name] = "read and write" if value.fset else "read"
        elif callable(value) and not isinstance(value, type):
            methods[name] = signatures(name, value.__doc__ or "")
    entry |= {"methods": dict(sorted(methods.items()))} if methods else {}
    entry |= {"properties": dict(sorted(properties.items()))} if properties else {}
    return entry


def signatures(name: str, doc: str) -> list[list[str]]:
    """Return the parameters of each overload, a default after ``=``; types are left out.

    A class that Python cannot construct has an ``__init__`` without any.
    """
    found = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\) ->", doc, re.MULTILINE)
    return [_parameters(text) for text in found if text != "*args, **kwargs"]


def _parameters(text: str) -> list[str]:
    parameters, depth, word = [], 0, ""
    for letter in text:
        depth += letter in "[(<"
        depth -= letter in "])>"
        if letter == "," and depth == 0:
            parameters.append(_parameter(word))
            word = ""
        else:
            word += letter
    if word.strip():
        parameters.append(_parameter(word))
    return [parameter for parameter in parameters if parameter != "self"]


def _parameter(word: str) -> str:
    name = word.partition(":")[0].strip()
    default = word.rpartition(" = ")[2].strip() if " = " in word else None
    return name if default is None else f"{name}={default}"


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        print(json.dumps(described(Path(sys.argv[2]))))  # noqa: T201
    else:
        folder, out = map(Path, sys.argv[1:3])
        out.write_text(written(surface(folder)))
