"""The generated pages say what the code says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_generated_pages_are_current():
    path = ROOT / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, made in module.PAGES.items():
        written = (module.REFERENCE / name).read_text(encoding="utf-8")
        assert written == made(), "run python docs/generate.py"
