"""The migration page says what the rows of the parity tests say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_migration_page_is_current():
    peer = pytest.importorskip("onnxruntime")
    path = ROOT / "docs" / "generate_migration.py"
    spec = importlib.util.spec_from_file_location("generate_migration", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.PAGE.read_text(encoding="utf-8")
    if f"onnxruntime {peer.__version__} " not in written:
        pytest.skip(f"the page is of another release than {peer.__version__}")
    assert written == module.page(), "run python docs/generate_migration.py"
