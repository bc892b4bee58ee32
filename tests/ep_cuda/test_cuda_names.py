"""Every name of CuPy's that the driver uses exists, with as many parameters as it gives."""

import ast
import re
from pathlib import Path

import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed; nox -s cuda has it")

from cupy.cuda import driver, nvrtc, runtime  # noqa: E402
from runtime_ep_cuda import cuda as module  # noqa: E402

FOLDER = Path(module.__file__).parent
OWNERS = {
    "cuda.py": {
        "runtime": runtime,
        "self.runtime": runtime,
        "self._runtime": runtime,
        "self._driver": driver,
        "cuda": cupy.cuda,
        "self.xp.cuda": cupy.cuda,
        "self.xp": cupy,
    },
    "handles.py": {"driver.runtime": runtime, "self._driver.runtime": runtime},
    "current.py": {"runtime": runtime, "driver": driver, "self._driver": driver},
    "staging.py": {"self._runtime": runtime},
    "nvrtc.py": {"nvrtc": nvrtc},
}
OURS = {"current", "runtime", "library_lock", "building_lock", "cuda", "run"}
"""Attributes of our own objects that go by the same names."""


def uses():
    """Return each attribute of CuPy's modules, and the numbers of arguments it is given."""
    found = {}
    for name, owners in OWNERS.items():
        tree = ast.parse((FOLDER / name).read_text())
        calls = {id(n.func): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or node.attr in OURS:
                continue
            owner = owners.get(ast.unparse(node.value))
            if owner is None:
                continue
            call = calls.get(id(node))
            spread = call and any(isinstance(a, ast.Starred) for a in call.args)
            count = None if call is None or spread else len(call.args)
            found.setdefault((owner, node.attr), set()).add(count)
    return found


def test_many_names_are_found():
    assert len(uses()) > 40


@pytest.mark.parametrize(
    ("owner", "name", "counts"),
    [(*key, counts) for key, counts in uses().items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_cupy_has_what_is_used(owner, name, counts):
    found = getattr(owner, name)
    signature = (
        re.match(r"\w+\(([^()]*)\)", found.__doc__ or "") if callable(found) else None
    )
    if signature and not isinstance(found, type):
        parameters = [p for p in signature[1].split(",") if p.strip()]
        needed = [p for p in parameters if "=" not in p]
        for count in counts - {None}:
            assert len(needed) <= count <= len(parameters), found.__doc__


def test_attributes_of_devices_exist():
    text = (FOLDER / "cuda.py").read_text()
    names = set(re.findall(r'told\("(\w+)"\)', text))
    assert len(names) == 3
    for name in names:
        assert isinstance(getattr(runtime, name), int)


def test_a_kernel_launch_takes_eleven_numbers():
    assert driver.launchKernel.__doc__.count(",") == 10


def test_errors_are_runtime_errors_with_a_status():
    assert issubclass(runtime.CUDARuntimeError, RuntimeError)
    assert runtime.CUDARuntimeError(2).status == 2
