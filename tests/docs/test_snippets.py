"""Every Python program in the documentation runs, in order, and answers correctly."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import runtime as ort
from models import dense, dense_reference
from runtime.explain import forget_warnings

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def snippets(page):
    """Return a page's Python programs with the line each begins on."""
    text = page.read_text()
    return [
        (m.group(1), text[: m.start()].count("\n") + 1) for m in FENCE.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_of_a_page_run(page, tmp_path, monkeypatch, registered):
    registered()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(dense())
    scope = {"__name__": "docs"}
    try:
        for source, line in snippets(page):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ort.FallbackWarning)
                exec(compile("\n" * line + source, str(page), "exec"), scope)
    finally:
        for name in scope:
            if name.endswith("Provider"):
                ort.unregister_execution_provider(f"{name[:-8]}ExecutionProvider")


GUIDE = ROOT / "docs/how-to/choose-a-provider.md"
SETUP = "\n".join(source for source, _ in snippets(GUIDE)[:2])
PROGRAMS = [s for s, _ in snippets(GUIDE)[2:] if "ExecutionProvider" in s]


def foreign(program):
    """Return the providers a program asks for that this machine lacks."""
    names = set(re.findall(r'"(\w+ExecutionProvider)"', program))
    return names - set(ort.get_available_providers())


@pytest.mark.parametrize("program", [p for p in PROGRAMS if "strict" not in p])
def test_a_program_of_the_guide_answers_from_the_cpu_with_one_warning_each(
    program, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(dense())
    forget_warnings()
    scope = {}
    exec(SETUP, scope)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(program, scope)
    faults = [str(w.message) for w in caught if w.category is ort.FallbackWarning]
    asked = foreign(program)
    for name in asked:
        told = [fault for fault in faults if fault.startswith(name)]
        assert len(told) == 1
        assert "install" in told[0]
    others = [f for f in faults if not f.startswith(tuple(asked) or "\0")]
    expected = re.compile("device cuda|.* took little of the model")
    assert all(expected.match(fault) for fault in others)
    if "output" in scope:
        want = dense_reference(scope["input_data"])
        np.testing.assert_allclose(scope["output"][0], want, rtol=1e-5)


@pytest.mark.parametrize(
    "program", [p for p in PROGRAMS if foreign(p) and "strict" not in p]
)
def test_under_strict_a_program_of_the_guide_is_an_error(
    program, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNTIME_STRICT", "1")
    (tmp_path / "model.onnx").write_bytes(dense())
    scope = {}
    exec(SETUP, scope)
    missing = r"ExecutionProvider is (not in use|installed but not usable)"
    with pytest.raises(RuntimeError, match=missing):
        exec(program, scope)


def test_the_hooks_are_documented_with_their_exact_signatures():
    import inspect

    from runtime.plugin import ProviderSpec

    page = (ROOT / "docs/tutorials/write-a-provider.md").read_text()
    for name in ("get_capability", "compile", "data_transfer"):
        parameters = list(inspect.signature(getattr(ProviderSpec, name)).parameters)
        assert f"{name}({', '.join(parameters[1:])}) ->" in page
